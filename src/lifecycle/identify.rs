//! Who calls, as far as anybody knows, and whether that is somebody for whom the route is.

use std::rc::Rc;

use super::failure::Failure;
use super::request::Request;
use super::walk::Walk;
use crate::config::policy::Route;
use crate::host::Host;
use crate::identity::{Client, Credential, Found, KeyHash, Knowledge, find_key};
use crate::reply::Refusal;

impl<H: Host> Walk<H> {
    /// Who calls. `None`: no key came, and none is needed.
    pub(super) async fn identify(
        &self,
        request: &Request,
        key_needed: bool,
    ) -> Result<Option<Rc<Client>>, Refusal> {
        let shared = &self.shared;
        let sources = &shared.compiled.policy.clients.key_sources;
        let credential = match find_key(sources, request.presented()) {
            Found::Key(credential) => credential,
            Found::Malformed => return Err(Refusal::InvalidKey),
            Found::Missing if key_needed => return Err(Refusal::MissingKey),
            Found::Missing => return Ok(None),
        };
        let (host, identity) = (&*shared.host, &shared.compiled.identity);
        let mut knowledge = identity.look_up(host, &credential, host.now());
        let known = knowledge != Knowledge::Unknown;
        shared.telemetry.remembered(host, known);
        if !known {
            knowledge = self.ask(credential).await?;
        }
        match knowledge {
            Knowledge::Client(client) => Ok(Some(client)),
            Knowledge::Invalid => Err(Refusal::InvalidKey),
            Knowledge::Expired => Err(Refusal::ExpiredKey),
            Knowledge::UnknownPlan(name) => Err(self.failed(Failure::UnknownPlan(name))),
            Knowledge::Unknown => Err(self.failed(Failure::Unanswered)),
        }
    }

    /// What the validator says of a key. Where none can be asked, a key that nobody knows proves nobody.
    async fn ask(&self, credential: Credential) -> Result<Knowledge, Refusal> {
        let Some(questions) = &self.shared.keys else {
            return Ok(Knowledge::Invalid);
        };
        let (host, identity) = (&*self.shared.host, &self.shared.compiled.identity);
        let key = KeyHash::of(credential.secret().as_bytes());
        let now = (host.now(), self.shared.ticks.get());
        let asked = questions.ask(&key, self.id, now, || identity.ask(host, &credential));
        drop(credential);
        let answer = asked.map_err(|error| self.failed(Failure::Unasked(error)))?;
        Ok(answer.await)
    }

    pub(super) fn authorize(
        &self,
        client: Option<Rc<Client>>,
        route: &Route,
    ) -> Result<(), Refusal> {
        let allowed = client
            .as_ref()
            .is_none_or(|client| client.has_one_of(&route.roles));
        self.common.facts.borrow_mut().client = client;
        if allowed {
            Ok(())
        } else {
            Err(Refusal::Forbidden)
        }
    }
}
