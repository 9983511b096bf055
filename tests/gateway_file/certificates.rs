//! Certificates of a test: authorities of its own, and what they sign, as files for Envoy and as the other end wants them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// An authority, with its certificate in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
    directory: PathBuf,
}

/// A certificate and its key, each in a file.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whoever signed it.
    issuer: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).expect("write");
        let directory = directory.to_owned();
        Self {
            issuer,
            file,
            directory,
        }
    }

    /// A certificate for this name or address.
    pub(crate) fn sign(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |kind: &str| self.directory.join(format!("{name}.{kind}.pem"));
        let identity = Identity {
            certificate: file("certificate"),
            key: file("key"),
            issuer: self.issuer.der().clone(),
        };
        std::fs::write(&identity.certificate, certificate.pem()).expect("write");
        std::fs::write(&identity.key, key.serialize_pem()).expect("write");
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&identity.key, own).expect("a mode");
        identity
    }
}

impl Identity {
    fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_file(&self.certificate).expect("PEM");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("PEM");
        (vec![certificate], key)
    }

    fn issuers(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.clone()).expect("an authority");
        roots
    }

    /// A server that is called so and offers these protocols.
    pub(crate) fn server(&self, protocols: &[&str]) -> ServerConfig {
        let (chain, key) = self.chain();
        let config = ServerConfig::builder().with_no_client_auth();
        offering(
            config.with_single_cert(chain, key).expect("a server"),
            protocols,
        )
    }

    /// The same, for callers that the same authority has signed.
    pub(crate) fn server_for_known(&self, protocols: &[&str]) -> ServerConfig {
        let (chain, key) = self.chain();
        let verifier = WebPkiClientVerifier::builder(Arc::new(self.issuers())).build();
        let config =
            ServerConfig::builder().with_client_cert_verifier(verifier.expect("a verifier"));
        offering(
            config.with_single_cert(chain, key).expect("a server"),
            protocols,
        )
    }

    /// A caller that trusts this one's authority; with a certificate of its own, if it has one.
    pub(crate) fn caller(&self, own: Option<&Identity>, protocols: &[&str]) -> ClientConfig {
        let config = ClientConfig::builder().with_root_certificates(self.issuers());
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.chain();
                config.with_client_auth_cert(chain, key).expect("a caller")
            }
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config
    }
}

fn offering(mut config: ServerConfig, protocols: &[&str]) -> ServerConfig {
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}
