//! Problem details (RFC 9457), with the `error` member that clients of OpenAI's and Anthropic's interfaces parse.

use super::form::{Form, grpc_web_body};
use super::refusal::Terms;
use super::{Refusal, RpcIds, retry_after, rpc};
use crate::host::LocalReply;
use crate::text::json::Writer;

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

const JSON: &str = "application/json";

/// Where Anthropic's clients read a request's id. `x-request-id` is Envoy's to set.
const REQUEST_ID: &str = "request-id";

/// What a reply must know of the request that it goes to.
#[derive(Clone, Copy, Default)]
pub struct ReplyTo<'a> {
    /// `x-request-id`.
    pub request_id: Option<&'a [u8]>,
    /// In which form the caller reads it.
    pub form: Form,
    /// It speaks MCP, and waits for answers to these messages.
    pub rpc: Option<&'a RpcIds>,
    /// Whole seconds until its limits would let it through; 0 if they do.
    pub wait: u64,
}

/// What is said of a refusal.
struct Problem<'a> {
    terms: &'a Terms,
    detail: &'a str,
    instance: Option<&'a str>,
    violated_policies: Option<&'a [&'a str]>,
    /// To whom it is said in the shape of OpenAI's and Anthropic's interfaces too: which parameter was wrong, if one was.
    error: Option<Option<&'static str>>,
}

impl Problem<'_> {
    #[inline(never)]
    fn written(&self) -> String {
        let Self { terms, detail, .. } = self;
        let mut json = Writer::default();
        json.open('{').name("type");
        match self.violated_policies {
            Some(_) => json.text(QUOTA_EXCEEDED),
            None => json.text(&["urn:waykeeper:problem:", terms.code].concat()),
        };
        json.name("title").text(terms.title);
        json.name("status").number(terms.status.into());
        json.name("detail").text(detail);
        if let Some(instance) = self.instance {
            json.name("instance").text(instance);
        }
        if let Some(names) = self.violated_policies {
            json.name("violated-policies")
                .texts(&mut names.iter().copied());
        }
        if let Some(parameter) = self.error {
            json.name("error").open('{').name("message").text(detail);
            json.name("type").text(terms.error_type);
            json.name("param").text_or_null(parameter);
            json.name("code").text(terms.code).close('}');
        }
        json.close('}');
        json.end()
    }
}

/// The reply that tells a caller of its refusal; `headers` stand in it beside the refusal's own.
#[must_use]
pub fn local_reply(
    refusal: &Refusal,
    to: ReplyTo<'_>,
    headers: Vec<(&'static str, String)>,
) -> LocalReply {
    let terms = refusal.terms();
    let detail = refusal.detail();
    let violated_policies: Option<Vec<_>> = match refusal {
        Refusal::RateLimited(limits, _) => Some(limits.iter().map(|it| it.name.as_str()).collect()),
        Refusal::TooManyInFlight(limit) => Some(vec![limit.name.as_str()]),
        _ => None,
    };
    let id = to.request_id.map(String::from_utf8_lossy);
    let problem = Problem {
        terms: &terms,
        detail: &detail,
        instance: id.as_deref(),
        violated_policies: violated_policies.as_deref(),
        error: to
            .rpc
            .is_none()
            .then(|| matches!(refusal, Refusal::UnknownAgent).then_some("x-agent")),
    };
    // Envoy puts its own in place of gRPC's.
    let (status, content_type) = match to.form {
        // Of the official clients some tell their callers nothing of an error but with 200.
        _ if to
            .rpc
            .is_some_and(|ids| refusal.is_an_answer() && ids.are_known()) =>
        {
            (200, JSON)
        }
        _ if to.rpc.is_some() => (terms.status, JSON),
        Form::Problem | Form::Grpc => (terms.status, "application/problem+json"),
        Form::GrpcWeb(content_type) => (200, content_type),
    };
    let mut all = vec![("content-type", content_type.to_owned())];
    match refusal {
        Refusal::MethodNotAllowed(methods) => all.push(("allow", methods.join(", "))),
        Refusal::UpgradeRequired => all.extend([
            ("upgrade", "websocket".to_owned()),
            ("connection", "upgrade".to_owned()),
        ]),
        Refusal::MissingKey => {
            all.push(("www-authenticate", "Bearer realm=\"waykeeper\"".to_owned()))
        }
        Refusal::InvalidKey | Refusal::ExpiredKey => all.push((
            "www-authenticate",
            "Bearer realm=\"waykeeper\", error=\"invalid_token\"".to_owned(),
        )),
        _ => {}
    }
    if refusal.is_for_now() {
        all.extend(retry_after::headers(refusal.retry_after().max(to.wait)));
    }
    if let Some(id) = &id {
        all.push((REQUEST_ID, id.to_string()));
    }
    all.extend(headers);
    LocalReply {
        status,
        grpc_status: (to.form == Form::Grpc).then_some(terms.grpc),
        headers: all,
        body: match (to.form, to.rpc) {
            (_, Some(ids)) => rpc::body(refusal, terms.status, ids, &detail, &problem.written()),
            (Form::Problem, None) => problem.written().into_bytes(),
            // It becomes the status message, which is for people.
            (Form::Grpc, None) => detail.as_bytes().to_vec(),
            (Form::GrpcWeb(content_type), None) => grpc_web_body(content_type, terms.grpc, &detail),
        },
        details: format!("waykeeper_{}", terms.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::FullLimit;

    fn body(reply: &LocalReply) -> serde_json::Value {
        serde_json::from_slice(&reply.body).unwrap_or_default()
    }

    #[test]
    fn a_full_limit_is_told_in_every_shape_that_clients_read() {
        let refusal = Refusal::RateLimited(
            vec![FullLimit {
                name: "plan".to_owned(),
                per: "client".to_owned(),
            }],
            2,
        );
        let reply = local_reply(
            &refusal,
            ReplyTo {
                request_id: Some(b"id\""),
                ..ReplyTo::default()
            },
            Vec::new(),
        );
        assert_eq!((reply.status, reply.grpc_status), (429, None));
        assert!(reply.headers.contains(&("retry-after", "2".to_owned())));
        assert!(reply.headers.contains(&(REQUEST_ID, "id\"".to_owned())));
        assert_eq!(
            body(&reply),
            serde_json::json!({
                "type": QUOTA_EXCEEDED,
                "title": "Rate limit exceeded",
                "status": 429,
                "detail": "The limit \"plan\" (per client) is reached. Try again in 2 seconds.",
                "instance": "id\"",
                "violated-policies": ["plan"],
                "error": {
                    "message": "The limit \"plan\" (per client) is reached. Try again in 2 seconds.",
                    "type": "rate_limit_error",
                    "param": null,
                    "code": "rate_limited",
                },
            })
        );
    }

    #[test]
    fn a_wait_of_more_than_a_minute_is_not_to_be_slept_through() {
        let not_again = |seconds, wait| {
            let refusal = Refusal::RateLimited(Vec::new(), seconds);
            let to = ReplyTo {
                wait,
                ..ReplyTo::default()
            };
            let reply = local_reply(&refusal, to, Vec::new());
            let header = ("x-should-retry", "false".to_owned());
            reply.headers.contains(&header)
        };
        assert!(!not_again(60, 0));
        assert!(not_again(61, 0));
        assert!(not_again(1, 61));
    }

    #[test]
    fn a_method_that_is_not_allowed_is_told_which_ones_are() {
        let refusal = Refusal::MethodNotAllowed(vec!["GET".to_owned(), "HEAD".to_owned()]);
        let reply = local_reply(&refusal, ReplyTo::default(), Vec::new());
        assert!(reply.headers.contains(&("allow", "GET, HEAD".to_owned())));
        assert_eq!(reply.details, "waykeeper_method_not_allowed");
    }

    #[test]
    fn grpc_callers_get_the_status_of_their_own_protocol() {
        let status = |refusal| {
            local_reply(
                &refusal,
                ReplyTo {
                    form: Form::Grpc,
                    ..ReplyTo::default()
                },
                Vec::new(),
            )
            .grpc_status
        };
        assert_eq!(status(Refusal::RateLimited(Vec::new(), 1)), Some(8));
        assert_eq!(status(Refusal::InvalidKey), Some(16));
        assert_eq!(status(Refusal::Forbidden), Some(7));
        assert_eq!(status(Refusal::ValidatorUnavailable), Some(14));
    }

    #[test]
    fn every_refusal_for_now_says_when_to_try_again() {
        for refusal in [
            Refusal::GatewayUnavailable,
            Refusal::ValidatorUnavailable,
            Refusal::UnknownPlan,
            Refusal::NoAgent,
            Refusal::LimitsUnavailable,
            Refusal::RateLimited(Vec::new(), 0),
        ] {
            let reply = local_reply(&refusal, ReplyTo::default(), Vec::new());
            assert!(
                reply.headers.contains(&("retry-after", "1".to_owned())),
                "{refusal:?}"
            );
        }
    }
}
