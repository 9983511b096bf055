//! Files of PEM, as they are read wherever TLS is looked at. Nothing of a key is ever shown.

use std::fs;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::readable::unreadable;

/// The certificates in a file, in their order; at least one.
///
/// # Errors
/// Why there are none, with the file's name.
pub(crate) fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = bytes(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{file}: holds no certificate")),
        Ok(found) => Ok(found),
        Err(_) => Err(format!("{file}: is no PEM of certificates")),
    }
}

/// The first private key in a file.
///
/// # Errors
/// The same.
pub(crate) fn key(file: &str) -> Result<PrivateKeyDer<'static>, String> {
    let key = PrivateKeyDer::from_pem_slice(&bytes(file)?);
    key.map_err(|_| format!("{file}: holds no private key, or one behind a password"))
}

fn bytes(file: &str) -> Result<Vec<u8>, String> {
    if let Some(wrong) = unreadable(file) {
        return Err(format!("{file} {wrong}"));
    }
    fs::read(file).map_err(|error| format!("{file}: {error}"))
}
