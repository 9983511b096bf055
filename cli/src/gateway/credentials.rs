//! By what an agent knows who calls: a credential of the gateway's or of the caller's own. Where it is kept is written, never
//! what it is.

use std::collections::BTreeSet;

use waykeeper::config::{Spot, check_key_header};

use super::Gateway;
use super::providers::{BEARER, Form, Provider};
use super::tls::file;

pub(super) const FIELDS: &[&str] = &["file", "env", "caller", "header", "scheme"];

/// What an agent is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// It stands in a header, in lower case.
    InHeader {
        header: String,
        scheme: Option<String>,
        from: From,
    },
    /// Requests are signed for this region of AWS, with what stands in a file as AWS's own programs read it; without one with
    /// what those would find.
    Aws {
        region: String,
        file: Option<String>,
    },
}

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// A file that Envoy reads.
    File(String),
    /// A variable of Envoy's environment.
    Env(String),
    /// A header of the request, in lower case.
    Caller(String),
}

// === impl Credential ===

impl Credential {
    /// Where it comes from, if that is a header of the caller's.
    pub(crate) fn callers_header(&self) -> Option<&str> {
        match self {
            Self::InHeader {
                from: From::Caller(header),
                ..
            } => Some(header),
            _ => None,
        }
    }

    /// The file of one for AWS.
    pub(super) fn into_file(self) -> Option<String> {
        match self {
            Self::Aws { file, .. } => file,
            Self::InHeader { .. } => None,
        }
    }

    /// Whether it is the gateway's, and may be missing.
    pub(crate) fn is_kept(&self) -> bool {
        self.callers_header().is_none()
    }
}

// === impl Gateway ===

impl Gateway {
    /// What Envoy's environment is to hold, each once.
    pub(crate) fn needed_variables(&self) -> Vec<String> {
        let upstreams = self
            .agents
            .iter()
            .filter_map(|agent| agent.upstream.as_ref());
        let credentials = upstreams.filter_map(|upstream| upstream.credential.as_ref());
        let needed = credentials.filter_map(|credential| match credential {
            Credential::InHeader {
                from: From::Env(name),
                ..
            } => Some(name.clone()),
            Credential::Aws { file: None, .. } => Some(
                "what AWS's programs look for (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, …)"
                    .to_owned(),
            ),
            _ => None,
        });
        let needed: BTreeSet<String> = needed.collect();
        needed.into_iter().collect()
    }
}

/// The credential that is written of an agent.
pub(super) fn credential(
    spot: &Spot<'_>,
    provider: Option<&Provider>,
    key_headers: &[&str],
) -> Option<Credential> {
    let form = provider.map_or(BEARER, |provider| provider.credential);
    let fields = spot.fields(FIELDS)?;
    if form == Form::Aws {
        for name in ["env", "caller", "header", "scheme"] {
            if let Some(spot) = fields.get(name) {
                spot.fault(
                    "has no meaning for AWS, where requests are signed: write a credentials file as file, or leave credential \
                     out and Envoy looks where AWS's programs do (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, …)",
                );
            }
        }
        return Some(Credential::Aws {
            region: String::new(),
            file: fields.need("file").and_then(|spot| file(&spot)),
        });
    }
    let Form::Header(usual_header, usual_scheme) = form else {
        return None;
    };
    let written = ["file", "env", "caller"].map(|name| fields.get(name));
    if written.iter().flatten().count() != 1 {
        fields.fault("must have exactly one of file, env and caller");
    }
    let [from_file, env, caller] = written;
    let header_of = |spot: &Spot<'_>| spot.checked(check_key_header).map(str::to_ascii_lowercase);
    let header = fields.get("header").map(|spot| header_of(&spot));
    // Another header has no scheme unless one is written.
    let usual_scheme = usual_scheme.filter(|_| header.is_none());
    let scheme = match fields.get("scheme") {
        Some(spot) => spot.checked(scheme).map(str::to_owned),
        None => usual_scheme.map(str::to_owned),
    };
    let from = from_file
        .and_then(|spot| file(&spot).map(From::File))
        .or_else(|| env.and_then(|spot| spot.checked(variable).map(str::to_owned).map(From::Env)))
        .or_else(|| {
            let spot = caller?;
            let header = header_of(&spot)?;
            if key_headers.iter().any(|key| key.eq_ignore_ascii_case(&header)) {
                spot.fault("is a header in which the gateway looks for its own key (clients.key_sources); take another one");
            }
            Some(From::Caller(header))
        });
    Some(Credential::InHeader {
        header: header.unwrap_or_else(|| Some(usual_header.to_owned()))?,
        scheme,
        from: from?,
    })
}

pub(super) fn variable(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().unwrap_or(b'0');
    // What stands here may be the credential itself.
    if text.len() > 256 || !text.bytes().all(legal) || first.is_ascii_digit() {
        return Err(
            "must be the name of a variable: letters, digits and _, such as OPENAI_PROVIDER_KEY"
                .to_owned(),
        );
    }
    Ok(())
}

fn scheme(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err("is no scheme; it is a word such as Bearer".to_owned())
    }
}

/// A region of AWS.
pub(super) fn region(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!("{text:?} is no region, such as eu-central-1"))
    }
}
