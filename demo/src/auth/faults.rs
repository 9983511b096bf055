//! How the auth service fails on request: in which way, and for how many calls or how long.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::keys::Client;
use crate::text;

/// An answer of this size is beyond what a validator may say (16 KiB).
const TOO_BIG: usize = 17 * 1024;

/// The longest answer that `PUT /demo/faults` may order.
const MAX_BIG: usize = 64 << 20;

/// A way to fail, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    kind: FaultKind,
    lasts: Lasts,
}

/// A way to fail.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// The right answer, but later.
    Slow {
        /// How much later.
        delay: Duration,
    },
    /// Another status than the right one.
    Status {
        /// From 200 to 599.
        status: u16,
        /// Sent as it stands.
        body: String,
    },
    /// 200 and a body that is no answer.
    Nonsense {
        /// Sent as it stands, as `application/json`.
        body: String,
    },
    /// 200 and an answer that would be right, were it not so long.
    TooBig {
        /// How long, at least.
        bytes: usize,
    },
    /// 200 and an answer in which one name holds what no name may hold.
    BadName {
        /// Where the name stands.
        field: Field,
        /// The name.
        name: String,
    },
    /// No answer; the connection stays open.
    Hang,
    /// No answer; the connection is closed.
    HangUp,
}

/// A place of an answer where a name stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// `client_id`.
    #[default]
    ClientId,
    /// `plan`.
    Plan,
    /// `team`.
    Team,
    /// `roles`.
    Roles,
}

/// Until when a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lasts {
    UntilCleared,
    Calls(u64),
    For(Duration),
}

/// A fault as `PUT /demo/faults` takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    kind: Kind,
    delay: Option<String>,
    status: Option<u16>,
    body: Option<String>,
    bytes: Option<usize>,
    field: Option<Field>,
    name: Option<String>,
    calls: Option<u64>,
    r#for: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    None,
    Slow,
    Status,
    Nonsense,
    TooBig,
    BadName,
    Hang,
    HangUp,
}

/// The fault in force, if any, and how much of it is left.
#[derive(Debug, Default)]
pub(super) struct Faults(Option<InForce>);

#[derive(Debug)]
struct InForce {
    kind: FaultKind,
    calls_left: Option<u64>,
    ends: Option<Instant>,
}

// === impl Fault ===

impl Fault {
    /// A fault that lasts until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            lasts: Lasts::UntilCleared,
        }
    }

    /// The right answer after `delay`.
    pub fn slow(delay: Duration) -> Self {
        Self::new(FaultKind::Slow { delay })
    }

    /// This status with a short error as its body.
    pub fn status(status: u16) -> Self {
        Self::new(FaultKind::Status {
            status,
            body: r#"{"error":"asked to fail"}"#.to_owned(),
        })
    }

    /// 200 and HTML.
    pub fn nonsense() -> Self {
        Self::new(FaultKind::Nonsense {
            body: "<html>no JSON here</html>".to_owned(),
        })
    }

    /// 200 and this body.
    pub fn body(body: &str) -> Self {
        Self::new(FaultKind::Nonsense {
            body: body.to_owned(),
        })
    }

    /// A right answer of 17 KiB.
    pub fn too_big() -> Self {
        Self::new(FaultKind::TooBig { bytes: TOO_BIG })
    }

    /// A right answer but for the name in `field`, which holds spaces and a line break.
    pub fn bad_name(field: Field) -> Self {
        Self::new(FaultKind::BadName {
            field,
            name: "no such\nname".to_owned(),
        })
    }

    /// No answer at all.
    pub fn hang() -> Self {
        Self::new(FaultKind::Hang)
    }

    /// A closed connection in place of an answer.
    pub fn hang_up() -> Self {
        Self::new(FaultKind::HangUp)
    }

    /// The same fault for the next `calls` calls only.
    #[must_use]
    pub fn for_calls(self, calls: u64) -> Self {
        Self {
            lasts: Lasts::Calls(calls),
            ..self
        }
    }

    /// The same fault for so long only, from when it is set.
    #[must_use]
    pub fn for_time(self, time: Duration) -> Self {
        Self {
            lasts: Lasts::For(time),
            ..self
        }
    }

    /// Reads what `PUT /demo/faults` takes; `None` is the end of all faults.
    pub(super) fn read(json: &[u8]) -> Result<Option<Self>, String> {
        let order: Order = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        order.read()
    }
}

// === impl Order ===

impl Order {
    fn read(self) -> Result<Option<Fault>, String> {
        self.fits()?;
        let fault = match self.kind {
            Kind::None => return Ok(None),
            Kind::Slow => Fault::slow(text::duration(
                &self.delay.ok_or("kind slow needs a delay, such as `2s`")?,
            )?),
            Kind::Status => {
                let status = self
                    .status
                    .ok_or("kind status needs a status, such as 500")?;
                if !(200..=599).contains(&status) {
                    return Err("status must be from 200 to 599".to_owned());
                }
                match self.body {
                    Some(body) => Fault::new(FaultKind::Status { status, body }),
                    None => Fault::status(status),
                }
            }
            Kind::Nonsense => self
                .body
                .as_deref()
                .map_or_else(Fault::nonsense, Fault::body),
            Kind::TooBig => match self.bytes {
                Some(bytes) if bytes > MAX_BIG => {
                    return Err(format!("bytes must be at most {MAX_BIG}"));
                }
                Some(bytes) => Fault::new(FaultKind::TooBig { bytes }),
                None => Fault::too_big(),
            },
            Kind::BadName => {
                let field = self.field.unwrap_or_default();
                match self.name {
                    Some(name) => Fault::new(FaultKind::BadName { field, name }),
                    None => Fault::bad_name(field),
                }
            }
            Kind::Hang => Fault::hang(),
            Kind::HangUp => Fault::hang_up(),
        };
        match (self.calls, self.r#for) {
            (None, None) => Ok(Some(fault)),
            (Some(calls), None) => Ok(Some(fault.for_calls(calls))),
            (None, Some(time)) => Ok(Some(fault.for_time(text::duration(&time)?))),
            (Some(_), Some(_)) => Err("give calls or for, not both".to_owned()),
        }
    }

    /// A field that its kind would ignore is a mistake of whoever wrote it.
    fn fits(&self) -> Result<(), String> {
        let (kind, lasting) = (self.kind, self.kind != Kind::None);
        let fields = [
            ("delay", self.delay.is_some(), kind == Kind::Slow),
            ("status", self.status.is_some(), kind == Kind::Status),
            (
                "body",
                self.body.is_some(),
                matches!(kind, Kind::Status | Kind::Nonsense),
            ),
            ("bytes", self.bytes.is_some(), kind == Kind::TooBig),
            ("field", self.field.is_some(), kind == Kind::BadName),
            ("name", self.name.is_some(), kind == Kind::BadName),
            ("calls", self.calls.is_some(), lasting),
            ("for", self.r#for.is_some(), lasting),
        ];
        match fields.iter().find(|(_, given, fits)| *given && !fits) {
            Some((field, ..)) => Err(format!("`{field}` does not go with this kind")),
            None => Ok(()),
        }
    }
}

// === impl Faults ===

impl Faults {
    /// From now on, this fault and no other.
    pub(super) fn set(&mut self, fault: Fault, now: Instant) {
        let (calls_left, ends) = match fault.lasts {
            Lasts::UntilCleared => (None, None),
            Lasts::Calls(calls) => (Some(calls), None),
            // A time beyond the clock's end never ends.
            Lasts::For(time) => (None, now.checked_add(time)),
        };
        self.0 = Some(InForce {
            kind: fault.kind,
            calls_left,
            ends,
        });
    }

    /// From now on, no fault.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// How the call that arrives now shall fail, if it shall.
    pub(super) fn take(&mut self, now: Instant) -> Option<FaultKind> {
        let fault = self.0.as_mut()?;
        let over = fault.calls_left == Some(0) || fault.ends.is_some_and(|end| end <= now);
        if over {
            self.0 = None;
            return None;
        }
        if let Some(calls) = &mut fault.calls_left {
            *calls -= 1;
        }
        Some(fault.kind.clone())
    }
}

// === impl Field ===

impl Field {
    /// Puts `name` into this place of an answer.
    pub(super) fn set(self, client: &mut Client, name: String) {
        match self {
            Self::ClientId => client.client_id = name,
            Self::Plan => client.plan = Some(name),
            Self::Team => client.team = Some(name),
            Self::Roles => client.roles = vec![name],
        }
    }
}
