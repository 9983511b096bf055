//! In which cell a limit is counted, and under which tag: what it is counted per leads to both.

use std::cell::OnceCell;

use sha2::{Digest, Sha256};

use super::Rule;
use super::fleet::key_of;
use super::subject::{Asked, Caller};
use crate::config::policy::{self, Limit, Policy, Subject};
use crate::host::CellName;
use crate::state::{Grid, Hashed, SeededHash, State, counters};
use crate::text::hex;

/// By which those are drawn for whom a limit is in force already. It is the same in every gateway, so that all draw the same
/// ones.
const DRAWN_BY: &[u8; 16] = b"waykeeper shares";

/// Where limits are counted, and the names of what they are counted per, which stay when a configuration orders them anew.
#[derive(Debug)]
pub(super) struct Places {
    counters: Grid,
    /// For what callers choose: addresses, names of tools, and values of headers. Who floods it puts out nothing of the other table.
    address_counters: Grid,
    hash: SeededHash,
    routes: Vec<String>,
    agents: Vec<String>,
    plans: Vec<String>,
}

/// Which cell a limit is counted in.
#[derive(Debug)]
pub(super) enum Place {
    /// Always the same one.
    Fixed(Hashed),
    /// The caller's.
    Caller,
    /// The caller's on this route.
    CallerOnRoute(Box<[u8]>),
    /// That of the address, whoever calls from there.
    Address,
    /// That of all of these together.
    Subjects(Box<[Subject]>),
}

/// A request that limits are asked about, and the hash of its caller once that was needed.
pub(super) struct Asking<'a> {
    pub(super) asked: Asked<'a>,
    caller: OnceCell<Hashed>,
}

impl<'a> Asking<'a> {
    #[inline]
    pub(super) fn new(asked: Asked<'a>) -> Self {
        Self {
            asked,
            caller: OnceCell::new(),
        }
    }
}

impl Place {
    /// Where a limit is counted. `route`: it is that route's. `apart`: counters of a client on that route have a cell of
    /// their own.
    #[inline]
    pub(super) fn new(places: &Places, limit: &Limit, route: Option<&str>, apart: bool) -> Self {
        let of_route = route.map(str::as_bytes);
        match (limit.each.subjects(), of_route) {
            ([], _) => Self::Fixed(places.hash.of(&[b"all"])),
            ([Subject::Route], Some(route)) => Self::Fixed(places.hash.of(&[b"route", route])),
            ([Subject::Client, Subject::Route], Some(route)) if apart => {
                Self::CallerOnRoute(route.into())
            }
            ([Subject::Client, Subject::Route], Some(_)) | ([Subject::Client], _) => Self::Caller,
            ([Subject::Address], _) => Self::Address,
            (subjects, _) => Self::Subjects(subjects.into()),
        }
    }
}

/// What is longer is told by its hash.
const LONGEST_TOLD: usize = 256;

impl Places {
    #[inline]
    pub(super) fn new(policy: &Policy, state: &State) -> Self {
        Self {
            counters: state.counters,
            address_counters: state.address_counters,
            hash: state.hash,
            routes: (policy.routes.iter().map(|it| it.name.clone())).collect(),
            agents: (policy.agents.iter().map(|it| it.name.clone())).collect(),
            plans: (policy.plans.iter().map(|it| it.name.clone())).collect(),
        }
    }

    /// The names of the routes, each at the place that its id says.
    pub(super) fn routes(&self) -> &[String] {
        &self.routes
    }

    /// The same of the agents.
    pub(super) fn agents(&self) -> &[String] {
        &self.agents
    }

    /// What tells a limit's records from those of other limits of the same subject. `scope` is whose limit it is: a plan's, a
    /// client's, or first of all a route's.
    pub(super) fn salt(&self, limit: &Limit, scope: &[&str]) -> u64 {
        let Limit {
            name,
            each,
            rate,
            algorithm,
            ..
        } = limit;
        // A limit that is counted in another way, or in other windows, is another limit.
        let windows = match algorithm {
            policy::Algorithm::TokenBucket => None,
            policy::Algorithm::SlidingWindow | policy::Algorithm::FixedWindow { .. } => {
                Some(format!("{algorithm:?} {:?}", rate.period))
            }
        };
        let kind = each.to_string();
        let mut parts = vec![b"limit".as_slice(), kind.as_bytes(), name.as_bytes()];
        parts.extend(windows.iter().map(String::as_bytes));
        parts.extend(scope.iter().map(|part| part.as_bytes()));
        self.hash.of(&parts).tag
    }

    /// The cell and the tag by which a rule counts a request. `None`: the request lacks what it is counted per.
    #[inline]
    pub(super) fn of(&self, rule: &Rule, asking: &Asking<'_>) -> Option<(CellName, u64)> {
        let (kind, name) = asking.asked.caller.subject();
        let of_caller = match asking.asked.caller {
            Caller::Client(_) => &self.counters,
            Caller::Address(_) => &self.address_counters,
        };
        let (grid, hashed) = match &rule.place {
            Place::Fixed(hashed) => (&self.counters, *hashed),
            Place::Caller => {
                let hashed = asking.caller.get_or_init(|| self.hash.of(&[kind, name]));
                (of_caller, *hashed)
            }
            Place::CallerOnRoute(route) => (of_caller, self.hash.of(&[kind, name, route])),
            Place::Address => {
                let address = asking.asked.address?;
                (&self.address_counters, self.hash.of(&[b"address", address]))
            }
            Place::Subjects(subjects) => self.of_subjects(subjects, &asking.asked)?,
        };
        let tag = counters::tag(rule.salt, hashed.tag);
        Some((grid.locate(hashed.cell), tag))
    }

    #[inline(never)]
    fn of_subjects(&self, subjects: &[Subject], asked: &Asked<'_>) -> Option<(&Grid, Hashed)> {
        let chosen_by_callers = |subject: &Subject| match subject {
            Subject::Address | Subject::Tool | Subject::Header(_) => true,
            Subject::Client => matches!(asked.caller, Caller::Address(_)),
            _ => false,
        };
        let grid = if subjects.iter().any(chosen_by_callers) {
            &self.address_counters
        } else {
            &self.counters
        };
        Some((grid, self.hash_of(subjects, asked)?))
    }

    /// True if a rule is in force for the subject of this request: always for the same ones, and for those of a smaller share
    /// also in a larger one.
    #[inline(never)]
    pub(super) fn draws(&self, rule: &Rule, asked: &Asked<'_>) -> bool {
        let subjects = match &rule.place {
            Place::Subjects(subjects) => subjects,
            Place::Address => [Subject::Address].as_slice(),
            Place::Fixed(_) | Place::Caller | Place::CallerOnRoute(_) => {
                [Subject::Client].as_slice()
            }
        };
        self.is_drawn(subjects, &rule.name, rule.enforce, asked)
    }

    /// True if a limit of this name is in force for these subjects of a request, as it is for so many per cent of all.
    pub(super) fn is_drawn(
        &self,
        subjects: &[Subject],
        name: &str,
        enforce: u8,
        asked: &Asked<'_>,
    ) -> bool {
        let Some(mut parts) = self.parts(subjects, asked) else {
            return false;
        };
        parts.push(name.as_bytes());
        let drawn = SeededHash::new(*DRAWN_BY).of(&parts).tag % 100;
        drawn < u64::from(enforce)
    }

    /// The hash of what these subjects of a request are together. `None`: one of them is not there.
    pub(super) fn hash_of(&self, subjects: &[Subject], asked: &Asked<'_>) -> Option<Hashed> {
        Some(self.hash.of(&self.parts(subjects, asked)?))
    }

    /// By which a message is told from others: nobody can foresee it.
    #[inline]
    pub(super) fn hash_of_bytes(&self, bytes: &[u8]) -> Hashed {
        self.hash.of(&[b"message", bytes])
    }

    /// What kind of subject one is, and its name, as another service is told of it. One that is not there has no name.
    pub(super) fn in_words(&self, subject: &Subject, asked: &Asked<'_>) -> (String, String) {
        let parts = self.parts(std::slice::from_ref(subject), asked);
        let name = parts.as_deref().and_then(|parts| parts.get(1)).copied();
        let name = name.unwrap_or_default();
        let of_address = matches!(subject, Subject::Address)
            || *subject == Subject::Client && matches!(asked.caller, Caller::Address(_));
        let name = if of_address || *subject == Subject::Key {
            // Neither is text.
            hex::encoded(name)
        } else {
            // What a caller sends need not be either, and must not make a question larger than the other service takes.
            let text = str::from_utf8(name).ok();
            let short = text.filter(|text| text.len() <= LONGEST_TOLD);
            let hashed = || format!("sha256:{}", hex::encoded(&Sha256::digest(name)));
            short.map_or_else(hashed, str::to_owned)
        };
        (key_of(subject), name)
    }

    /// What tells a limit's entries among those in flight from those of other limits of the same subject.
    pub(super) fn salt_in_flight(&self, name: &str, each: &str, scope: &[&str]) -> u64 {
        let mut parts = vec![b"in flight".as_slice(), each.as_bytes(), name.as_bytes()];
        parts.extend(scope.iter().map(|part| part.as_bytes()));
        self.hash.of(&parts).tag
    }

    /// What kind of subject each is, and its name. `None`: one of them is not there.
    fn parts<'a>(&'a self, subjects: &[Subject], asked: &Asked<'a>) -> Option<Vec<&'a [u8]>> {
        fn named(names: &[String], place: Option<usize>) -> Option<&[u8]> {
            names.get(place?).map(String::as_bytes)
        }
        let mut parts = Vec::with_capacity(2 * subjects.len() + 1);
        for subject in subjects {
            let (kind, name): (&[u8], &[u8]) = match subject {
                Subject::Key => (b"key", asked.key?),
                Subject::Client => asked.caller.subject(),
                Subject::Team => (b"team", asked.team?.as_bytes()),
                Subject::Organisation => (b"organisation", asked.organisation?.as_bytes()),
                Subject::Address => (b"address", asked.address?),
                Subject::Route => (b"route", named(&self.routes, asked.route.map(|it| it.0))?),
                Subject::Agent => (b"agent", named(&self.agents, asked.agent.map(|it| it.0))?),
                Subject::Plan => (b"plan", named(&self.plans, asked.plan.map(|it| it.0))?),
                Subject::Tool => (b"tool", asked.tool?),
                Subject::Header(name) => (b"header", asked.header(name).unwrap_or_default()),
            };
            parts.extend([kind, name]);
        }
        Some(parts)
    }

    /// True if a limit counts a request by what it is, see [`policy::Scope`].
    #[inline(never)]
    pub(super) fn applies(&self, scope: &policy::Scope, asked: &Asked<'_>) -> bool {
        let route = asked.route.and_then(|id| self.routes.get(id.0));
        asked.meets(scope, route.map(String::as_str))
    }
}
