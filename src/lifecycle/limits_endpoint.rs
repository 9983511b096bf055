//! Where callers ask how their limits stand, and where an operator gives a client a fresh start: the gateway's own answers, behind
//! the gate and by the caller's key like any route's.

use std::rc::Rc;

use super::failure::Failure;
use super::request::Request;
use super::walk::Walk;
use crate::config::Policy;
use crate::config::policy::{ListedKey, PlanId, RouteId};
use crate::host::{Host, LocalReply};
use crate::identity::{Client, KeyHash, Knowledge};
use crate::limits::fleet::{OfClient, Wanted};
use crate::limits::{Asked, Caller, Limits, Whose};
use crate::reply::Refusal;
use crate::state::StateError;
use crate::text::json::Writer;
use crate::text::names::{NAME, is_name};
use crate::text::paths::{split_once, split_query};
use crate::text::{escapes, hex};

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

/// So many limits may be named in one question.
const MOST_NAMES: usize = 32;

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
#[inline]
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

/// What an operator says of the client that is asked about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Question {
    client: Option<String>,
    plan: Option<String>,
    team: Option<String>,
    organisation: Option<String>,
    key: Option<[u8; 32]>,
    limits: Vec<String>,
}

impl Question {
    fn read(path: &[u8]) -> Result<Self, Refusal> {
        let mut question = Self::default();
        let query = split_query(path).1.unwrap_or_default();
        let parameters = query.split(|byte| *byte == b'&');
        for parameter in parameters.filter(|it| !it.is_empty()) {
            let (name, value) = split_once(parameter, b'=');
            let value = escapes::decoded(value.unwrap_or_default(), |_| true);
            let value = String::from_utf8(value).unwrap_or_default();
            question.take(name, value)?;
        }
        let alone = question.client.is_none() && question != Self::default();
        if alone {
            return Err(bad(
                "The parameters of the query say more of a client: they need client.",
            ));
        }
        Ok(question)
    }

    fn take(&mut self, name: &[u8], value: String) -> Result<(), Refusal> {
        let slot = match name {
            b"client" => &mut self.client,
            b"plan" => &mut self.plan,
            b"team" => &mut self.team,
            b"organisation" => &mut self.organisation,
            b"key_sha256" => {
                let hash = hex::decoded(&value).filter(|_| self.key.is_none());
                self.key = hash;
                return match hash {
                    Some(_) => Ok(()),
                    None => Err(bad(
                        "The parameter key_sha256 is the SHA-256 of one key, as 64 hex digits.",
                    )),
                };
            }
            b"limit" if self.limits.len() < MOST_NAMES => {
                self.limits.push(value);
                return Ok(());
            }
            b"limit" => return Err(bad("The query names too many limits.")),
            _ => {
                return Err(bad(
                    "The query takes client, plan, team, organisation, key_sha256 and limit, and nothing else.",
                ));
            }
        };
        if slot.is_some() || !is_name(&value) {
            let name = String::from_utf8_lossy(name);
            return Err(bad(&format!(
                "The parameter {name} stands there once, and is {NAME}."
            )));
        }
        *slot = Some(value);
        Ok(())
    }
}

/// A client, and what of it nobody knows here.
struct About {
    client: Rc<Client>,
    not_known: Vec<&'static str>,
    /// It is the caller itself.
    own: bool,
}

/// Writes which limits are counted for all gateways, of which nothing is known or which were not reset there; and what else is not
/// known. Where there is nothing to say of one of these, it is left out.
#[inline(never)]
fn write_unknown(json: &mut Writer, them: &[(String, &'static str)], not_known: &[&str]) {
    if !them.is_empty() {
        json.name("in_fleet").open('[');
        for (name, why) in them {
            json.open('{').name("name").text(name);
            json.name("why").text(why).close('}');
        }
        json.close(']');
    }
    if !not_known.is_empty() {
        json.name("not_known").texts(&mut not_known.iter().copied());
    }
    json.close('}');
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
        let mut json = Writer::default();
        json.open('{').name("client").text(&client.id);
        for (name, value) in [
            ("plan", plan.map(|plan| &plan.name)),
            ("team", client.team.as_ref()),
            ("organisation", client.organisation.as_ref()),
        ] {
            json.name(name).text_or_null(value.map(String::as_str));
        }
        left.write(&mut json);
        write_unknown(&mut json, &in_fleet, &about.not_known);
        Ok(json.end().into_bytes())
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
        let mut json = Writer::default();
        json.open('{').name("client").text(id);
        json.name("done_in").texts(&mut done_in.iter().copied());
        reset.write(&mut json);
        write_unknown(&mut json, &in_fleet, &about.not_known);
        Ok(json.end().into_bytes())
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
fn in_fleet(them: &OfClient) -> Vec<(String, &'static str)> {
    let unknown = them.unknown().into_iter();
    unknown.map(|(name, why)| (name, why.word())).collect()
}

fn bad(why: &str) -> Refusal {
    Refusal::BadQuery(why.to_owned())
}
