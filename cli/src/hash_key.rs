//! `waykeeper hash-key`: what stands in a configuration instead of a key. The key is read from standard input, never
//! from the arguments, which other users of a machine can see and shells remember.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use waykeeper::identity::MAX_KEY;

use crate::Outcome;

/// Reads a key and prints its SHA-256.
pub(crate) fn run() -> io::Result<Outcome> {
    let mut bytes = Vec::new();
    // One more than a longest key with its line's end, so that a longer one is seen to be longer.
    io::stdin()
        .lock()
        .take(MAX_KEY as u64 + 3)
        .read_to_end(&mut bytes)?;
    match hash(&bytes) {
        Ok(hash) => {
            writeln!(io::stdout().lock(), "{hash}")?;
            Ok(Outcome::Good)
        }
        Err(message) => {
            writeln!(io::stderr().lock(), "{message}")?;
            Ok(Outcome::Faulty)
        }
    }
}

/// The hash in hex of a key, of which one line's end is no part.
fn hash(input: &[u8]) -> Result<String, String> {
    let key = input
        .strip_suffix(b"\n")
        .map_or(input, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if key.is_empty() {
        return Err("no key on standard input".to_owned());
    }
    if key.len() > MAX_KEY {
        return Err(format!("the key is longer than {MAX_KEY} characters"));
    }
    if let Some(position) = key.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(format!(
            "character {} of the key is not visible ASCII; such keys are always refused",
            position + 1
        ));
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(key) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}
