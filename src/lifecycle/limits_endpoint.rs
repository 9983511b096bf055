//! Where callers ask how their limits stand, and where an operator gives a client a fresh start: the gateway's own answers, behind
//! the gate and by the caller's key like any route's.

mod question;

use std::rc::Rc;

use serde::Serialize;

use super::failure::Failure;
use super::request::Request;
use super::walk::Walk;
use crate::config::Policy;
use crate::config::policy::{ListedKey, PlanId, RouteId};
use crate::host::{Host, LocalReply};
use crate::identity::{Client, KeyHash, Knowledge};
use crate::limits::fleet::{OfClient, Wanted};
use crate::limits::{Asked, Caller, Left, Limits, Reset, Whose};
use crate::reply::Refusal;
use crate::state::StateError;
use crate::text::paths::split_query;

use question::Question;

/// What becomes of a request that is answered here, in metrics and the access log.
pub(super) const OUTCOME: &str = "answered";

/// An answer of the gateway's own: this JSON, for nobody else.
pub(super) fn answer(body: Vec<u8>) -> LocalReply {
    LocalReply {
        status: 200,
        grpc_status: None,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body,
        details: ["waykeeper_", OUTCOME].concat(),
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    /// How limits stand.
    Left,
    /// A fresh start.
    Reset,
}

impl Matter {
    fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Left => &["GET", "HEAD"],
            Self::Reset => &["POST"],
        }
    }
}

/// What a request for this path asks, if it is one of the endpoint's own. Routes that have the path as their prefix keep it.
pub(super) fn matter(policy: &Policy, path: &[u8]) -> Option<Matter> {
    let endpoint = policy.limits_endpoint.as_ref()?;
    let rest = path.strip_prefix(endpoint.path.as_bytes())?;
    let matter = match split_query(rest).0 {
        b"" => Matter::Left,
        b"/reset" => Matter::Reset,
        _ => return None,
    };
    let (path, _) = split_query(path);
    let taken = |prefix: &str| prefix.as_bytes() == path;
    let mut routes = policy.routes.iter();
    (!routes.any(|route| taken(&route.prefix))).then_some(matter)
}

/// A client, and what of it nobody knows here.
struct About {
    client: Rc<Client>,
    not_known: Vec<&'static str>,
    /// It is the caller itself.
    own: bool,
}

#[derive(Serialize)]
struct LeftAnswer<'a> {
    client: &'a str,
    plan: Option<&'a str>,
    team: Option<&'a str>,
    organisation: Option<&'a str>,
    #[serde(flatten)]
    left: Left,
    /// Which limits are counted for all gateways, and nothing is known of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_fleet: Vec<InFleet>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_known: &'a [&'static str],
}

#[derive(Serialize)]
struct InFleet {
    name: String,
    why: &'static str,
}

#[derive(Serialize)]
struct ResetAnswer<'a> {
    client: &'a str,
    /// Where counts began anew.
    done_in: &'a [&'static str],
    #[serde(flatten)]
    reset: Reset,
    /// Which limits are counted for all gateways, and were not reset there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_fleet: Vec<InFleet>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_known: &'a [&'static str],
}

impl<H: Host> Walk<H> {
    /// Answers what is asked about limits.
    pub(super) async fn answer_about_limits(
        &self,
        request: &Request,
        matter: Matter,
    ) -> Result<LocalReply, Refusal> {
        let methods = matter.methods();
        if !methods.iter().any(|it| it.as_bytes() == request.method()) {
            let methods = methods.iter().map(|it| (*it).to_owned());
            return Err(Refusal::MethodNotAllowed(methods.collect()));
        }
        let asker = self.identify(request, true).await?;
        let asker = asker.ok_or(Refusal::MissingKey)?;
        self.common.facts.borrow_mut().client = Some(Rc::clone(&asker));
        let question = Question::read(request.path().unwrap_or_default())?;
        let about = self.about(&asker, matter, &question)?;
        let body = match matter {
            Matter::Left => self.left(request, &about).await?,
            Matter::Reset => {
                self.reset(request, &about, &question.limits, &asker)
                    .await?
            }
        };
        Ok(answer(body))
    }

    /// Who is asked about: the caller itself, or whom an operator names.
    fn about(
        &self,
        asker: &Rc<Client>,
        matter: Matter,
        question: &Question,
    ) -> Result<About, Refusal> {
        let policy = &self.shared.compiled.policy;
        let Some(id) = &question.client else {
            if matter == Matter::Left {
                return Ok(About {
                    client: Rc::clone(asker),
                    not_known: Vec::new(),
                    own: true,
                });
            }
            self.check_operator(asker)?;
            return Err(bad("Whose limits are to be reset is said by client."));
        };
        self.check_operator(asker)?;
        if matter == Matter::Left && !question.limits.is_empty() {
            return Err(bad("Only a reset takes limit."));
        }
        let (mut client, mut not_known) = self.known(id, question.key.map(KeyHash))?;
        let plan_of = |name: &String| {
            let place = policy.plans.iter().position(|plan| plan.name == *name);
            let unknown = || bad(&format!("There is no plan {name}."));
            place.map(PlanId).ok_or_else(unknown)
        };
        if let Some(name) = &question.plan {
            client.plan = Some(plan_of(name)?);
            not_known.retain(|it| *it != "plan");
        }
        for (name, said, its) in [
            ("team", &question.team, &mut client.team),
            (
                "organisation",
                &question.organisation,
                &mut client.organisation,
            ),
        ] {
            if said.is_some() {
                its.clone_from(said);
                not_known.retain(|it| *it != name);
            }
        }
        Ok(About {
            client: Rc::new(client),
            not_known,
            own: false,
        })
    }

    fn check_operator(&self, asker: &Client) -> Result<(), Refusal> {
        let endpoint = self.shared.compiled.policy.limits_endpoint.as_ref();
        let role = endpoint.and_then(|it| it.operator_role.as_ref());
        match role {
            Some(role) if asker.roles.contains(role) => Ok(()),
            _ => Err(Refusal::Forbidden),
        }
    }

    /// What is known of a client by its id, and by the hash of its key if that is said; and what is not.
    fn known(
        &self,
        id: &str,
        key: Option<KeyHash>,
    ) -> Result<(Client, Vec<&'static str>), Refusal> {
        let (host, compiled) = (&*self.shared.host, &self.shared.compiled);
        let listed = compiled.policy.clients.keys.iter();
        let mut listed = listed.filter(|it| it.client.id == id);
        let one = listed.next();
        let others: Vec<&ListedKey> = listed.collect();
        let alike = |one: &&ListedKey| others.iter().all(|it| it.client == one.client);
        let by = key.or_else(|| Some(KeyHash(one.filter(alike)?.sha256)));
        let found = by.map(|key| compiled.identity.of_key(host, &key, host.now()));
        let several = key.is_none() && !others.is_empty();
        let mut not_known = vec!["address"];
        if let Some(Knowledge::Client(found)) = found {
            if found.id != id {
                return Err(bad("The key is that of another client."));
            }
            if several {
                not_known.push("key");
            }
            return Ok((Client::clone(&found), not_known));
        }
        let client = Client {
            id: id.to_owned(),
            key: key.map(|key| key.id()).unwrap_or_default(),
            ..Client::default()
        };
        not_known.extend(["plan", "own_limits", "team", "organisation", "roles"]);
        if key.is_none() {
            not_known.push("key");
        }
        Ok((client, not_known))
    }

    async fn left(&self, request: &Request, about: &About) -> Result<Vec<u8>, Refusal> {
        let host = &*self.shared.host;
        let mut them = self.of_limits(request, about, |limits, whose| {
            Ok(limits.of_client_in_fleet(whose, Wanted::Left))
        })?;
        self.look_in_fleet(&mut them).await;
        let mut left = self.of_limits(request, about, |limits, whose| limits.left(host, whose))?;
        let in_fleet = in_fleet(&them);
        left.more |= them.more();
        left.limits.extend(them.into_left());
        let client = &*about.client;
        let plans = &self.shared.compiled.policy.plans;
        let plan = client.plan.and_then(|id| plans.get(id.0));
        Ok(json(&LeftAnswer {
            client: &client.id,
            plan: plan.map(|plan| plan.name.as_str()),
            team: client.team.as_deref(),
            organisation: client.organisation.as_deref(),
            left,
            in_fleet,
            not_known: &about.not_known,
        }))
    }

    async fn reset(
        &self,
        request: &Request,
        about: &About,
        names: &[String],
        asker: &Client,
    ) -> Result<Vec<u8>, Refusal> {
        let host = &*self.shared.host;
        let mut them = self.of_limits(request, about, |limits, whose| {
            Ok(limits.of_client_in_fleet(whose, Wanted::Reset(names)))
        })?;
        let mut reset = self.of_limits(request, about, |limits, whose| {
            limits.reset(host, whose, names, &them)
        })?;
        if let Some(name) = &reset.unknown {
            return Err(bad(&format!(
                "No limit {name:?} is known to bind this client."
            )));
        }
        let (telemetry, id) = (&self.shared.telemetry, &about.client.id);
        telemetry.limits_reset(&asker.id, id, names, "this process");
        let asking = || telemetry.limits_reset(&asker.id, id, names, "the fleet");
        self.reset_in_fleet(&mut them, asking).await?;
        let in_fleet = in_fleet(&them);
        reset.more |= them.more();
        let before = reset.limits.len();
        reset.limits.extend(them.into_reset());
        let done_in: &[_] = match reset.limits.len() > before {
            true => &["process", "fleet"],
            false => &["process"],
        };
        Ok(json(&ResetAnswer {
            client: id,
            done_in,
            reset,
            in_fleet,
            not_known: &about.not_known,
        }))
    }

    /// Asks the limits about a client.
    fn of_limits<T>(
        &self,
        request: &Request,
        about: &About,
        ask: impl FnOnce(&Limits, &Whose<'_>) -> Result<T, StateError>,
    ) -> Result<T, Refusal> {
        let compiled = &self.shared.compiled;
        let client = &*about.client;
        let is_known = |what| !about.not_known.contains(&what);
        let (roles_known, key_known) = (is_known("roles"), is_known("key"));
        let uses = |id: RouteId| {
            let route = compiled.route(id);
            route.is_some_and(|route| !roles_known || client.has_one_of(&route.roles))
        };
        // Where the other one calls from nobody knows.
        let address = match about.own {
            true => self.address(request).ok(),
            false => None,
        };
        let asked = Asked {
            key: key_known.then(|| client.key.as_bytes()),
            plan: client.plan,
            own: client.limits.as_ref(),
            team: client.team.as_deref(),
            organisation: client.organisation.as_deref(),
            address: address.as_deref(),
            headers: Some(request.headers()),
            ..Asked::by(Caller::Client(&client.id))
        };
        let whose = Whose {
            asked,
            uses: &uses,
            in_shadow: !about.own,
        };
        let done = ask(&compiled.limits, &whose);
        done.map_err(|error| self.failed(Failure::Limits(error)))
    }
}

/// Of which of them nothing is known, or which were not reset.
fn in_fleet(them: &OfClient) -> Vec<InFleet> {
    let unknown = them.unknown().into_iter();
    let unknown = unknown.map(|(name, why)| InFleet {
        name,
        why: why.word(),
    });
    unknown.collect()
}

fn bad(why: &str) -> Refusal {
    Refusal::BadQuery(why.to_owned())
}

fn json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}
