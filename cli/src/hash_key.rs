//! `waykeeper hash-key`: what stands in a configuration instead of a key. The key is read from standard input, never
//! from the arguments, which other users of a machine can see and shells remember.

use std::io::{self, Read, Write};

use waykeeper::identity::{Credential, KeyHash, MAX_KEY, NoKey};
use waykeeper::text::hex;

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
    match Credential::read(key) {
        Ok(_) => Ok(hex::encoded(&KeyHash::of(key).0)),
        Err(NoKey::Empty) => Err("no key on standard input".to_owned()),
        Err(NoKey::TooLong) => Err(format!("the key is longer than {MAX_KEY} characters")),
        Err(NoKey::NotVisible(at)) => Err(format!(
            "character {} of the key is not visible ASCII; such keys are always refused",
            at + 1
        )),
    }
}
