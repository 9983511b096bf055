//! Where callers ask which models they may use: the gateway's own answer, in OpenAI's shape or in Anthropic's, by the caller's key.

use std::rc::Rc;

use super::limits_endpoint::answer;
use super::request::Request;
use super::walk::Walk;
use crate::config::Policy;
use crate::host::{Host, LocalReply};
use crate::identity::Client;
use crate::reply::Refusal;
use crate::routing::Asker;
use crate::text::escapes::decoded;
use crate::text::json::quoted;
use crate::text::paths::{split_once, split_query};

/// Said of when a model was made, of which nothing is known.
const MADE: &str = "1970-01-01T00:00:00Z";

/// How many models Anthropic's interface tells at once, unless the caller says so, and at most.
const USUAL_PAGE: usize = 20;
const LARGEST_PAGE: usize = 1000;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// All models.
    All,
    /// The one of this name.
    One(Vec<u8>),
}

/// What a request asks about models, if that path is the gateway's own. Other methods are for routes.
#[inline]
pub(super) fn question(policy: &Policy, method: &[u8], path: &[u8]) -> Option<Question> {
    let endpoint = policy.models_endpoint.as_ref()?;
    if !matches!(method, b"GET" | b"HEAD") {
        return None;
    }
    let rest = path.strip_prefix(endpoint.path.as_bytes())?;
    match split_query(rest).0 {
        b"" | b"/" => Some(Question::All),
        [b'/', name @ ..] => Some(Question::One(decoded(name, |_| true))),
        _ => None,
    }
}

/// Which part of the list is asked for.
#[derive(Debug, Default)]
struct Page {
    limit: Option<usize>,
    after: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
}

impl<H: Host> Walk<H> {
    /// Answers what is asked about models.
    pub(super) async fn answer_about_models(
        &self,
        request: &Request,
        question: Question,
    ) -> Result<LocalReply, Refusal> {
        let client = self.identify(request, true).await?;
        let client = client.ok_or(Refusal::MissingKey)?;
        self.common.facts.borrow_mut().client = Some(Rc::clone(&client));
        let models = self.models_of(&client);
        let of_anthropic = request.headers().get("anthropic-version").is_some();
        let mut body = String::new();
        match question {
            Question::One(name) => {
                let mut models = models.iter();
                let model = models.find(|model| model.as_bytes() == name);
                write(
                    &mut body,
                    model.ok_or(Refusal::ModelNotFound)?,
                    of_anthropic,
                );
            }
            Question::All if of_anthropic => {
                let page = Page::read(request.path().unwrap_or_default())?;
                let (models, has_more) = page.of(&models)?;
                list(&mut body, "{\"data\":[", models, true);
                let id = |name: Option<&&str>| {
                    name.map_or_else(|| "null".to_owned(), |name| quoted(name))
                };
                for (about, what) in [
                    ("],\"has_more\":", has_more.to_string()),
                    (",\"first_id\":", id(models.first())),
                    (",\"last_id\":", id(models.last())),
                ] {
                    body.extend([about, &what]);
                }
                body.push('}');
            }
            Question::All => {
                list(&mut body, "{\"object\":\"list\",\"data\":[", &models, false);
                body.push_str("]}");
            }
        }
        Ok(answer(body.into()))
    }

    /// The models that a client may use, in the order of their names.
    fn models_of(&self, client: &Client) -> Vec<&str> {
        let compiled = &self.shared.compiled;
        let asker = Asker {
            plan: client.plan,
            team: client.team.as_deref(),
            roles: &client.roles,
        };
        let catalogue = compiled.catalogue.as_ref();
        let models = catalogue.map(|it| it.models_of(&compiled.policy, asker));
        models.unwrap_or_default()
    }
}

fn list(body: &mut String, before: &str, models: &[&str], of_anthropic: bool) {
    body.push_str(before);
    for (place, model) in models.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        write(body, model, of_anthropic);
    }
}

fn write(body: &mut String, model: &str, of_anthropic: bool) {
    let name = quoted(model);
    let name = name.as_str();
    if of_anthropic {
        body.extend([
            "{\"type\":\"model\",\"id\":",
            name,
            ",\"display_name\":",
            name,
            ",\"created_at\":\"",
            MADE,
            "\"}",
        ]);
    } else {
        body.extend([
            "{\"id\":",
            name,
            ",\"object\":\"model\",\"created\":0,\"owned_by\":\"waykeeper\"}",
        ]);
    }
}

impl Page {
    fn read(path: &[u8]) -> Result<Self, Refusal> {
        let mut page = Self::default();
        let query = split_query(path).1.unwrap_or_default();
        for parameter in query.split(|byte| *byte == b'&') {
            let (name, value) = split_once(parameter, b'=');
            let value = decoded(value.unwrap_or_default(), |_| true);
            match name {
                b"limit" => {
                    let limit = str::from_utf8(&value).ok().and_then(|it| it.parse().ok());
                    let limit = limit.filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                    page.limit =
                        Some(limit.ok_or_else(|| {
                            bad("The parameter limit is a number from 1 to 1000.")
                        })?);
                }
                b"after_id" => page.after = Some(value),
                b"before_id" => page.before = Some(value),
                _ => {}
            }
        }
        Ok(page)
    }

    /// The models of this page, and whether there are more the same way.
    fn of<'m, 'a>(&self, models: &'m [&'a str]) -> Result<(&'m [&'a str], bool), Refusal> {
        let place = |id: &[u8]| {
            let place = models.iter().position(|model| model.as_bytes() == id);
            place.ok_or_else(|| bad("The list has no model with this after_id or before_id."))
        };
        let start = match &self.after {
            Some(after) => place(after)? + 1,
            None => 0,
        };
        let end = match &self.before {
            Some(before) => place(before)?,
            None => models.len(),
        };
        let all = models.get(start..end).unwrap_or_default();
        let limit = self.limit.unwrap_or(USUAL_PAGE);
        // Behind what came before, or the last ones before what came after.
        let page = match (all.len().checked_sub(limit), &self.before) {
            (Some(first), Some(_)) => all.get(first..),
            _ => all.get(..limit),
        };
        Ok((page.unwrap_or(all), all.len() > limit))
    }
}

fn bad(why: &str) -> Refusal {
    Refusal::BadQuery(why.to_owned())
}
