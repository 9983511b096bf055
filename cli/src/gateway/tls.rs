//! The fields of `tls`: of a listener, by which callers know the gateway; and of an agent or the validator, by which the
//! gateway knows them.

use waykeeper::config::{Fields, Spot, check_host};

pub(super) const SERVER_FIELDS: &[&str] = &["certificate", "key", "client_ca"];
pub(super) const CLIENT_FIELDS: &[&str] = &["sni", "ca", "certificate", "key"];

/// How a listener speaks TLS. All are paths of files that Envoy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerTls {
    pub(crate) identity: Identity,
    /// Callers must have a certificate of one of these.
    pub(crate) client_ca: Option<String>,
}

/// How Envoy speaks TLS with a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientTls {
    /// The name asked for and verified, where it is not the host's.
    pub(crate) sni: Option<String>,
    /// Who may vouch for the service; the system's unless written.
    pub(crate) ca: Option<String>,
    /// What the gateway shows of itself.
    pub(crate) identity: Option<Identity>,
}

/// A certificate, with those between it and its root, and its private key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A listener's.
pub(super) fn server(spot: &Spot<'_>) -> Option<ServerTls> {
    let fields = spot.fields(SERVER_FIELDS)?;
    let certificate = fields.need("certificate").and_then(|spot| file(&spot));
    let key = fields.need("key").and_then(|spot| file(&spot));
    let client_ca = file_of(&fields, "client_ca");
    Some(ServerTls {
        identity: Identity {
            certificate: certificate?,
            key: key?,
        },
        client_ca,
    })
}

/// That of an agent or the validator.
pub(super) fn client(spot: &Spot<'_>) -> Option<ClientTls> {
    let fields = spot.fields(CLIENT_FIELDS)?;
    let sni = fields
        .get("sni")
        .and_then(|spot| spot.checked(name))
        .map(str::to_ascii_lowercase);
    let written = |field| fields.get(field).is_some();
    let identity = if written("certificate") || written("key") {
        let certificate = fields.need("certificate").and_then(|spot| file(&spot));
        let key = fields.need("key").and_then(|spot| file(&spot));
        certificate
            .zip(key)
            .map(|(certificate, key)| Identity { certificate, key })
    } else {
        None
    };
    Some(ClientTls {
        sni,
        ca: file_of(&fields, "ca"),
        identity,
    })
}

fn file_of(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.get(name).and_then(|spot| file(&spot))
}

/// The path of a file, as Envoy will find it.
pub(super) fn file(spot: &Spot<'_>) -> Option<String> {
    spot.checked(path).map(str::to_owned)
}

pub(super) fn path(text: &str) -> Result<(), String> {
    const LONGEST: usize = 4095;
    if !text.starts_with('/') {
        return Err(
            "write the whole path, from / on: Envoy reads the file, wherever it is started"
                .to_owned(),
        );
    }
    // Among them what some readers of YAML take for the end of a line.
    let odd = |character: char| {
        character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    if text.len() > LONGEST || text.chars().any(odd) {
        return Err(format!(
            "is no path; it is at most {LONGEST} bytes without control characters"
        ));
    }
    Ok(())
}

/// A name that a certificate may be made out to.
fn name(text: &str) -> Result<(), String> {
    check_host(text)?;
    if text.contains([':', '[']) {
        return Err("must be a name, without a port".to_owned());
    }
    Ok(())
}
