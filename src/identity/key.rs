//! What a key is, and what is kept of it.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest, Sha256};

use crate::state::keys::HASH_BYTES;

/// The longest key, in bytes: tokens of identity providers that are opaque to others have thousands.
pub const MAX_KEY: usize = 4096;

/// A key as it was presented: 1 to [`MAX_KEY`] visible ASCII characters. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// The bytes as a key.
    ///
    /// # Errors
    /// When no key looks like that.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Self, NoKey> {
        match bytes.len() {
            0 => return Err(NoKey::Empty),
            1..=MAX_KEY => {}
            _ => return Err(NoKey::TooLong),
        }
        if let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_graphic()) {
            return Err(NoKey::NotVisible(at));
        }
        let text = String::from_utf8(bytes.to_vec());
        text.map(Self)
            .map_err(|error| NoKey::NotVisible(error.utf8_error().valid_up_to()))
    }

    /// The secret itself: to be hashed, or told to the validator, and nothing else.
    #[must_use]
    #[inline]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// There are none.
    Empty,
    /// There are more than [`MAX_KEY`].
    TooLong,
    /// The one at this place is no visible ASCII.
    NotVisible(usize),
}

/// SHA-256 of a key: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; HASH_BYTES]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What tells a key from the others of its client, where they are counted.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyId([u8; 16]);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(…)")
    }
}

impl KeyId {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl KeyHash {
    /// What tells the key from others: the beginning of its hash.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(self.0.first_chunk().copied().unwrap_or_default())
    }

    /// The hash of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let hash = digest(key);
        clear_stack();
        hash
    }
}

/// A call of its own, and its frames below those of the caller, so that [`clear_stack`] reaches them.
#[inline(never)]
fn digest(key: &[u8]) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
}

/// Writes over what an earlier call has left on the stack: the hash works on copies of the key's pieces. (What is freed
/// from the heap the filter's allocator clears.)
#[inline(never)]
fn clear_stack() {
    /// More than the frames of SHA-256 take.
    const REACH: usize = 2048;
    black_box(&mut [0u8; REACH]);
}
