//! TLS of those who ask: who the limiter is, and whose word says who may ask. Files that are replaced are read again for the next
//! connection, so that a certificate is renewed without a restart.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::say;
use crate::pem;

/// The files, and what was read from them last.
pub(super) struct Tls {
    files: Files,
    last: Mutex<(Changed, TlsAcceptor)>,
}

/// As PEM.
pub(super) struct Files {
    pub(super) certificate: String,
    pub(super) key: String,
    /// Who may vouch for those who ask. `None`: anybody may ask.
    pub(super) client_ca: Option<String>,
}

/// When each file was written last.
type Changed = Vec<Option<SystemTime>>;

impl Tls {
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn new(files: Files) -> Result<Self, String> {
        let changed = files.changed();
        let last = Mutex::new((changed, files.read()?));
        Ok(Self { files, last })
    }

    /// For the next connection. Files that cannot be used are told of once, and what was read before goes on.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.files.changed();
        if changed != last.0 {
            last.0 = changed;
            match self.files.read() {
                Ok(acceptor) => {
                    last.1 = acceptor;
                    say("the certificate is read anew");
                }
                Err(why) => say(&format!("{why}: the former certificate goes on")),
            }
        }
        last.1.clone()
    }
}

impl Files {
    fn changed(&self) -> Changed {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        let files = files.into_iter().flatten();
        files
            .map(|file| fs::metadata(file).and_then(|it| it.modified()).ok())
            .collect()
    }

    fn read(&self) -> Result<TlsAcceptor, String> {
        let chain = pem::certificates(&self.certificate)?;
        let key = pem::key(&self.key)?;
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                let (added, _) = roots.add_parsable_certificates(pem::certificates(file)?);
                if added == 0 {
                    return Err(format!("{file}: holds no certificate"));
                }
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                let verifier = verifier.map_err(|error| format!("{file}: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key);
        let mut config =
            config.map_err(|error| format!("{} and {}: {error}", self.certificate, self.key))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
