//! TLS as Envoy would speak it with a service, and what may be wrong with that in words.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::{ClientTls, Host, Http, SYSTEM_CA};
use crate::pem;

/// Speaks TLS over a connection; says whether HTTP/2 was agreed on.
pub(crate) async fn connect(
    stream: TcpStream,
    tls: &ClientTls,
    host: &Host,
    http: Http,
) -> Result<(TlsStream<TcpStream>, bool), String> {
    let name = tls.sni.clone().unwrap_or_else(|| host.bare());
    let asked = ServerName::try_from(name.clone()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(configuration(tls, http)?));
    let stream = connector.connect(asked, stream).await;
    let stream = stream.map_err(|error| in_words(&error, &name, ca(tls)))?;
    let (_, session) = stream.get_ref();
    let second = session.alpn_protocol() == Some(b"h2");
    Ok((stream, second))
}

fn ca(tls: &ClientTls) -> &str {
    tls.ca.as_deref().unwrap_or(SYSTEM_CA)
}

fn configuration(tls: &ClientTls, http: Http) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls_graviola::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(pem::certificates(ca(tls))?);
    if added == 0 {
        return Err(format!("{}: holds no certificate", ca(tls)));
    }
    let builder = builder.with_root_certificates(roots);
    let mut configuration = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = pem::key(&identity.key)?;
            let chain = pem::certificates(&identity.certificate)?;
            let made = builder.with_client_auth_cert(chain, key);
            made.map_err(|error| format!("{}: {error}", identity.certificate))?
        }
    };
    configuration.alpn_protocols = match http {
        Http::One => vec![b"http/1.1".to_vec()],
        Http::Two => vec![b"h2".to_vec()],
        Http::Offered => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(configuration)
}

/// What is wrong, in words that say what to change.
fn in_words(error: &io::Error, name: &str, ca: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("its certificate is signed by nobody in {ca}: name its authority in tls.ca")
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => {
            // Each is shown as what kind of name it is, around the name.
            let name_of = |shown: &String| shown.split('"').nth(1).unwrap_or(shown).to_owned();
            let presented: Vec<_> = presented.iter().map(name_of).collect();
            let presented = presented.join(", ");
            format!(
                "its certificate is for {presented}, not for {name}: name one of these in tls.sni"
            )
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired".to_owned(),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => "its certificate is not valid yet".to_owned(),
        Some(rustls::Error::InvalidMessage(_)) => {
            "speaks no TLS: its url is one of http, or the port another".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert),
        Some(other) => format!("TLS fails: {other}"),
        None => format!("TLS fails: {error}"),
    }
}

fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "asks for a certificate of the gateway's: write tls.certificate and tls.key".to_owned()
        }
        AlertDescription::NoApplicationProtocol => {
            "offers none of the HTTP versions that are asked for".to_owned()
        }
        AlertDescription::UnrecognisedName => {
            "does not know the name that it is asked for: see tls.sni".to_owned()
        }
        other => format!("ends TLS with the alert {other:?}"),
    }
}

/// The alert that comes over a connection on which nothing is said. In TLS 1.3 a server judges its client after what that takes
/// for the end of the handshake; whoever goes on speaking may meet a closed connection before he has heard it.
pub(super) async fn late_alert(mut stream: TlsStream<TcpStream>) -> Option<String> {
    let error = stream.read(&mut [0]).await.err()?;
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(refused(*alert)),
        _ => None,
    }
}
