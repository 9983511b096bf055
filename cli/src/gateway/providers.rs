//! What is publicly known of those who host models, and of servers of one's own: where they are, what their paths begin with,
//! how they want to be told who pays. Each is one entry here.

use waykeeper::config::{Fields, Spot};

use super::agents::Endpoint;
use super::credentials;
use super::url::Url;

/// A service that is known by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// What its paths begin with in place of `/v1`, unless a url that is written has a path; empty: with nothing else.
    pub(crate) base: &'static str,
    /// Paths of its own beside those, which are left as they are.
    pub(crate) native: Option<Native>,
    pub(crate) credential: Form,
    /// Whether it answers nobody without one.
    pub(crate) needs_credential: bool,
    /// Sent where the caller sends none.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Unless a url is written.
    At(&'static str),
    /// In each of its regions, which stands between these two.
    InRegion(&'static str, &'static str),
    /// Everybody has a place of their own there, such as this one.
    Own(&'static str),
}

/// Paths of a provider's that are not OpenAI's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Native {
    pub(crate) prefix: &'static str,
    /// The header in which the credential stands there, if that is another.
    pub(crate) credential: Option<&'static str>,
}

/// How a credential travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In a header, behind the name of a scheme if it has one.
    Header(&'static str, Option<&'static str>),
    /// Each request is signed (AWS Signature Version 4).
    Aws,
}

/// The usual form.
pub(crate) const BEARER: Form = Form::Header("authorization", Some("Bearer"));

const OPENAI: Provider = Provider {
    name: "openai",
    place: Place::At("https://api.openai.com"),
    base: "/v1",
    native: None,
    credential: BEARER,
    needs_credential: true,
    headers: &[],
};

const LOCAL: Provider = Provider {
    name: "vllm",
    place: Place::At("http://127.0.0.1:8000"),
    // Their paths are OpenAI's, and beside them their own.
    base: "",
    needs_credential: false,
    ..OPENAI
};

pub(crate) const PROVIDERS: [Provider; 9] = [
    OPENAI,
    Provider {
        name: "anthropic",
        place: Place::At("https://api.anthropic.com"),
        credential: Form::Header("x-api-key", None),
        headers: &[("anthropic-version", "2023-06-01")],
        ..OPENAI
    },
    Provider {
        name: "gemini",
        place: Place::At("https://generativelanguage.googleapis.com"),
        base: "/v1beta/openai",
        native: Some(Native {
            prefix: "/v1beta",
            credential: Some("x-goog-api-key"),
        }),
        ..OPENAI
    },
    Provider {
        name: "mistral",
        place: Place::At("https://api.mistral.ai"),
        ..OPENAI
    },
    Provider {
        name: "groq",
        place: Place::At("https://api.groq.com"),
        base: "/openai/v1",
        native: Some(Native {
            prefix: "/openai",
            credential: None,
        }),
        ..OPENAI
    },
    Provider {
        name: "azure-openai",
        place: Place::Own("https://RESOURCE.openai.azure.com"),
        base: "/openai/v1",
        native: Some(Native {
            prefix: "/openai",
            credential: None,
        }),
        credential: Form::Header("api-key", None),
        ..OPENAI
    },
    Provider {
        name: "bedrock",
        place: Place::InRegion("https://bedrock-runtime.", ".amazonaws.com"),
        base: "",
        credential: Form::Aws,
        // Where none is written Envoy looks where AWS's own programs do.
        needs_credential: false,
        ..OPENAI
    },
    Provider {
        name: "ollama",
        place: Place::At("http://127.0.0.1:11434"),
        ..LOCAL
    },
    LOCAL,
];

/// Their names, as they are written.
pub(crate) const NAMES: [&str; 9] = {
    let mut names = [""; 9];
    let mut index = 0;
    while index < PROVIDERS.len() {
        names[index] = PROVIDERS[index].name;
        index += 1;
    }
    names
};

/// The one that is named.
pub(super) fn provider(spot: &Spot<'_>) -> Option<&'static Provider> {
    let choices = PROVIDERS
        .each_ref()
        .map(|provider| (provider.name, provider));
    spot.choice(&choices)
}

/// Where a provider is.
pub(super) fn place(
    fields: &Fields<'_>,
    provider: &Provider,
    region: Option<&str>,
) -> Vec<Endpoint> {
    let url = match provider.place {
        Place::At(url) => url.to_owned(),
        Place::InRegion(before, behind) => match region {
            Some(region) => format!("{before}{region}{behind}"),
            // That is told.
            None => return Vec::new(),
        },
        Place::Own(example) => {
            fields.fault(format!(
                "needs a url: everybody has a place of their own at {}, such as {example}",
                provider.name
            ));
            return Vec::new();
        }
    };
    let url = Url::parse(&url).ok();
    url.map(|url| Endpoint { url, weight: 1 })
        .into_iter()
        .collect()
}

/// The region in which requests are signed for a provider.
pub(super) fn region(fields: &Fields<'_>, provider: Option<&Provider>) -> Option<String> {
    let signed = provider.is_some_and(|provider| provider.credential == Form::Aws);
    if !signed {
        if let Some(spot) = fields.get("region") {
            spot.fault("has no meaning but with provider: bedrock");
        }
        return None;
    }
    if let Some(spot) = fields.get("endpoints") {
        spot.fault("cannot be: requests are signed for one host; write a url");
    }
    let spot = fields.need("region")?;
    spot.checked(credentials::region).map(str::to_owned)
}
