//! What is publicly known of those who host models, and of servers of one's own: where they are, what their paths begin with,
//! how they want to be told who pays. Each is one entry here.

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
