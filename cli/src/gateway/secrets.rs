//! Files and variables that a gateway names on the machine where it runs, credentials and certificates: whether they are there,
//! whether others may read what is secret, and whether they are what they are named as.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use waykeeper::config::Segment;
use waykeeper::config::policy::ListedKey;
use waykeeper::identity::{KeyHash, MAX_KEY};

use super::certificates::{self, Flaw};
use super::clusters::SYSTEM_CA;
use super::credentials::{Credential, From};
use super::tls::{ClientTls, Identity};
use super::{Agent, Gateway, Limiter};
use crate::readable::unreadable;

/// What others than the owner's group may not have of a secret.
const ANYBODY_READS: u32 = 0o004;

const UNTIL: &str = "until it is, requests for this agent are answered 503 agent_unreachable";

/// Nobody can give a variable to a process that runs.
const UNTIL_ANEW: &str = "set it, and start Envoy or `waykeeper run` again; until then requests for this agent are answered 503 \
                          agent_unreachable";

/// Ends what is said of a file without which nothing is given to Envoy.
const NEEDED: &str = "Envoy does not start without it";

/// The same of one that is there.
const UNTIL_MENDED: &str =
    "until that is mended, `waykeeper run` answers requests for this agent 503 agent_unreachable";

/// How long a credential may be, as a key of a caller's.
const MOST_OF_KEY: usize = MAX_KEY;
/// And a credentials file of AWS's.
const MOST_OF_AWS: usize = 64 * 1024;

/// What stands in a file that a credential is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// What goes into a header, and nothing else.
    Key,
    /// Credentials in AWS's own form.
    Aws,
    /// Something that a patch names.
    Other,
}

/// What is wrong with one of them.
pub(crate) struct Doubt {
    /// The field that names it.
    pub(crate) path: Vec<Segment>,
    pub(crate) message: String,
    pub(crate) weight: Weight,
}

/// How much is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It may come, or is doubtful only.
    Doubtful,
    /// A pipe or the like, for which Envoy would wait in vain where it is to start now.
    Stops,
    /// Envoy takes nothing with this.
    Refused,
    /// It is what it must not be.
    Wrong,
}

/// All doubts, in the order in which they are found.
struct Doubts<'a> {
    found: Vec<Doubt>,
    /// The keys that callers are known by.
    keys: &'a [ListedKey],
    look_up: &'a dyn Fn(&str) -> Option<OsString>,
    /// What is wrong with certificates that were looked into: agents may share one.
    judged: HashMap<&'a Identity, Vec<Flaw>>,
}

/// All that is wrong with what is looked for on this machine, whose environment `look_up` knows.
pub(crate) fn doubts<'a>(
    gateway: &'a Gateway,
    keys: &'a [ListedKey],
    look_up: &'a dyn Fn(&str) -> Option<OsString>,
) -> Vec<Doubt> {
    let mut doubts = Doubts {
        found: Vec::new(),
        keys,
        look_up,
        judged: HashMap::new(),
    };
    for (index, listener) in gateway.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else {
            continue;
        };
        let place = [field("listen"), Segment::Item(index), field("tls")];
        doubts.identity(&place, &tls.identity);
        doubts.authorities(&place, "client_ca", tls.client_ca.as_deref());
    }
    let validator = gateway.validator.as_ref();
    if let Some(tls) = validator.and_then(|it| it.upstream.tls.as_ref()) {
        doubts.client(&["clients", "validator", "tls"].map(field), tls);
    }
    let limiter = gateway.limiter.as_ref().and_then(Limiter::upstream);
    if let Some(tls) = limiter.and_then(|upstream| upstream.tls.as_ref()) {
        doubts.client(&["fleet", "limiter", "tls"].map(field), tls);
    }
    for agent in &gateway.agents {
        doubts.agent(agent);
    }
    doubts.found
}

/// Whether something is told of files of TLS with which Envoy takes nothing.
pub(crate) fn keep_all_from_envoy(gateway: &Gateway) -> bool {
    doubts(gateway, &[], &|_| None)
        .iter()
        .any(|doubt| doubt.weight == Weight::Refused || doubt.message.ends_with(NEEDED))
}

/// Whether Envoy would take nothing with this certificate and key, as far as that is known without it.
pub(super) fn is_unusable(identity: &Identity) -> bool {
    [&identity.certificate, &identity.key]
        .into_iter()
        .any(|file| unreadable(file).is_some())
        || certificates::of_identity(identity)
            .iter()
            .any(|flaw| flaw.refused)
}

/// The same of a file of authorities.
pub(super) fn is_unusable_ca(file: &str) -> bool {
    unreadable(file).is_some()
        || certificates::of_authorities("ca", file).is_some_and(|flaw| flaw.refused)
}

/// What a gateway takes a file for; one that stands in a header anywhere has to be fit for that.
pub(crate) fn holds(gateway: &Gateway, file: &Path) -> Holds {
    let upstreams = gateway
        .agents
        .iter()
        .filter_map(|agent| agent.upstream.as_ref());
    let of_file = upstreams.filter_map(|upstream| match &upstream.credential {
        Some(Credential::InHeader {
            from: From::File(it),
            ..
        }) if Path::new(it) == file => Some(Holds::Key),
        Some(Credential::Aws { file: Some(it), .. }) if Path::new(it) == file => Some(Holds::Aws),
        _ => None,
    });
    of_file
        .reduce(|one, other| if one == Holds::Key { one } else { other })
        .unwrap_or(Holds::Other)
}

/// Why a file is not to be shown to an agent as it is, in words that go behind its name.
pub(crate) fn unfit(file: &Path, holds: Holds, keys: &[ListedKey]) -> Option<String> {
    match fit(file, holds) {
        Err(wrong) => Some(wrong),
        Ok(held) if holds == Holds::Key => is_callers_key(&held, keys),
        Ok(_) => None,
    }
}

/// What is in such a file, without the line's end behind it that Envoy takes away; or what is wrong with it.
fn fit(file: &Path, holds: Holds) -> Result<Vec<u8>, String> {
    if let Some(wrong) = unreadable(file) {
        return Err(wrong);
    }
    let most = match holds {
        Holds::Key => MOST_OF_KEY,
        Holds::Aws => MOST_OF_AWS,
        Holds::Other => return Ok(Vec::new()),
    };
    let mut held = begin_of(file, most)?;
    let end = held.iter().rposition(|byte| !b"\r\n".contains(byte));
    held.truncate(end.map_or(0, |end| end + 1));
    let wrong = if held.is_empty() {
        "is not filled: it is empty".to_owned()
    } else if held.len() > most {
        format!("is too long for a credential: it has more than {most} bytes")
    } else if holds == Holds::Aws {
        let text = held.to_ascii_lowercase();
        let has = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
        if has(b"aws_access_key_id") && has(b"aws_secret_access_key") {
            return Ok(held);
        }
        "is no credentials file of AWS's: aws_access_key_id or aws_secret_access_key is missing"
            .to_owned()
    } else if held.starts_with("\u{feff}".as_bytes()) {
        "begins with a byte order mark, which would be part of the credential".to_owned()
    } else if held
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        "fits no header: a line's end or another control character is within it".to_owned()
    } else if held.trim_ascii() != held {
        "begins or ends with a blank or a tab, which no header keeps".to_owned()
    } else {
        return Ok(held);
    };
    Err(wrong)
}

/// Looks whether a credential is a key that callers are known by: the provider would be shown that, and whoever has the
/// provider's could call.
fn is_callers_key(credential: &[u8], keys: &[ListedKey]) -> Option<String> {
    let credential = credential.trim_ascii();
    // Somebody may have written the scheme before it.
    let last = credential.rsplit(|byte| *byte == b' ').next();
    let hashes = [Some(credential), last].map(|it| it.map(|it| KeyHash::of(it).0));
    let is_this = |key: &&ListedKey| hashes.contains(&Some(key.sha256));
    let key = keys.iter().find(is_this)?;
    Some(format!(
        "holds the gateway key of client {}, not the provider's key",
        key.client.id
    ))
}

// === impl Doubts ===

impl<'a> Doubts<'a> {
    fn add(&mut self, place: &[Segment], name: &str, message: String, weight: Weight) {
        let path = [place, &[field(name)]].concat();
        self.found.push(Doubt {
            path,
            message,
            weight,
        });
    }

    fn flaw(&mut self, place: &[Segment], flaw: Flaw) {
        let weight = match flaw.refused {
            true => Weight::Refused,
            false => Weight::Doubtful,
        };
        self.add(place, flaw.field, flaw.message, weight);
    }

    /// Tells of a file that cannot be read, without which Envoy takes nothing.
    fn needed(&mut self, place: &[Segment], name: &str, file: &str) -> bool {
        let Some(wrong) = unreadable(file) else {
            return true;
        };
        let weight = match is_other(file) {
            true => Weight::Stops,
            false => Weight::Doubtful,
        };
        let message = format!("{file} {wrong}; {NEEDED}");
        self.add(place, name, message, weight);
        false
    }

    fn identity(&mut self, place: &[Segment], identity: &'a Identity) {
        let Identity { certificate, key } = identity;
        let there = self.needed(place, "certificate", certificate);
        if self.needed(place, "key", key) && there {
            let judged = self.judged.entry(identity);
            let flaws = judged.or_insert_with(|| certificates::of_identity(identity));
            for flaw in flaws.clone() {
                self.flaw(place, flaw);
            }
        }
        if let Some(wrong) = others_read(key) {
            self.add(place, "key", format!("{key}: {wrong}"), Weight::Doubtful);
        }
    }

    fn authorities(&mut self, place: &[Segment], name: &'static str, file: Option<&str>) {
        if let Some(file) = file
            && self.needed(place, name, file)
            && let Some(flaw) = certificates::of_authorities(name, file)
        {
            self.flaw(place, flaw);
        }
    }

    fn client(&mut self, place: &[Segment], tls: &'a ClientTls) {
        match tls.ca.as_deref() {
            Some(ca) => self.authorities(place, "ca", Some(ca)),
            // The system's own holds many, of which some may have gone.
            None => {
                self.needed(place, "ca", SYSTEM_CA);
            }
        }
        if let Some(identity) = &tls.identity {
            self.identity(place, identity);
        }
    }

    fn agent(&mut self, agent: &'a Agent) {
        let Some(upstream) = &agent.upstream else {
            return;
        };
        let place = [field("agents"), field(&agent.name)];
        match &upstream.credential {
            Some(Credential::InHeader {
                from: From::Env(name),
                ..
            }) => match (self.look_up)(name).filter(|value| !value.is_empty()) {
                Some(value) => self.callers_key(&place, &value.into_vec()),
                None => {
                    let message = format!("the variable {name} is not set; {UNTIL_ANEW}");
                    self.add(&place, "credential", message, Weight::Doubtful);
                }
            },
            Some(Credential::InHeader {
                from: From::File(file),
                ..
            }) => self.credential(&place, file, Holds::Key),
            Some(Credential::Aws {
                file: Some(file), ..
            }) => self.credential(&place, file, Holds::Aws),
            _ => {}
        }
        if let Some(tls) = &upstream.tls {
            self.client(&[&place[..], &[field("tls")]].concat(), tls);
        }
        let picker = agent.picker.as_ref();
        if let Some(tls) = picker.and_then(|picker| picker.upstream.tls.as_ref()) {
            self.client(&[&place[..], &["picker", "tls"].map(field)].concat(), tls);
        }
    }

    /// One that is not there may come later. What it holds is never shown.
    fn credential(&mut self, place: &[Segment], file: &str, holds: Holds) {
        let until = match fs::metadata(file).is_ok_and(|it| it.len() > 0) {
            true => UNTIL_MENDED,
            false => UNTIL,
        };
        match fit(Path::new(file), holds) {
            Ok(held) => {
                if let Some(wrong) = others_read(file) {
                    let message = format!("{file}: {wrong}");
                    self.add(place, "credential", message, Weight::Doubtful);
                }
                self.callers_key(place, &held);
            }
            // Of a pipe Envoy would wait for what nobody writes.
            Err(wrong) if is_other(file) => {
                self.add(
                    place,
                    "credential",
                    format!("{file} {wrong}"),
                    Weight::Stops,
                );
            }
            Err(wrong) => {
                let message = format!("{file} {wrong}; {until}");
                self.add(place, "credential", message, Weight::Doubtful);
                // One with a blank behind it is one all the same.
                if let Ok(held) = begin_of(Path::new(file), MOST_OF_KEY) {
                    self.callers_key(place, &held);
                }
            }
        }
    }

    fn callers_key(&mut self, place: &[Segment], credential: &[u8]) {
        if let Some(message) = is_callers_key(credential, self.keys) {
            self.add(place, "credential", message, Weight::Wrong);
        }
    }
}

/// As much of a file as may be in it, and some more; or what is wrong with it, in words that go behind its name.
fn begin_of(file: &Path, most: usize) -> Result<Vec<u8>, String> {
    let mut held = Vec::new();
    // It may have become a pipe since it was looked at.
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let read = File::options()
        .read(true)
        .custom_flags(without_waiting)
        .open(file)
        .and_then(|it| it.take(most as u64 + 64).read_to_end(&mut held));
    match read {
        Ok(_) => Ok(held),
        Err(error) => Err(format!("is not readable: {error}")),
    }
}

/// Whether it is there, and no file.
fn is_other(file: &str) -> bool {
    fs::metadata(file).is_ok_and(|it| !it.is_file())
}

fn field(name: &str) -> Segment {
    Segment::Field(name.to_owned())
}

/// Whether anybody on this machine may read a secret; one that is not there nobody can.
fn others_read(file: &str) -> Option<&'static str> {
    let mode = fs::metadata(file)
        .ok()
        .filter(fs::Metadata::is_file)?
        .permissions()
        .mode();
    (mode & ANYBODY_READS != 0)
        .then_some("everybody on this machine may read it; chmod o-r takes that away")
}
