//! Problem details (RFC 9457), with the `error` member that clients of OpenAI's and Anthropic's interfaces parse.

use serde::Serialize;

use super::form::{Form, grpc_web_body};
use super::{Refusal, RpcIds, retry_after, rpc};
use crate::host::LocalReply;

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

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorMember<'a>>,
}

#[derive(Serialize)]
struct ErrorMember<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
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
    let violated_policies = match refusal {
        Refusal::RateLimited(limits, _) => Some(limits.iter().map(|it| it.name.as_str()).collect()),
        Refusal::TooManyInFlight(limit) => Some(vec![limit.name.as_str()]),
        _ => None,
    };
    let id = to.request_id.map(String::from_utf8_lossy);
    let problem = Problem {
        r#type: match violated_policies {
            Some(_) => QUOTA_EXCEEDED.to_owned(),
            None => format!("urn:waykeeper:problem:{}", terms.code),
        },
        title: terms.title,
        status: terms.status,
        detail: &detail,
        instance: id.as_deref(),
        violated_policies,
        error: to.rpc.is_none().then_some(ErrorMember {
            message: &detail,
            r#type: terms.error_type,
            param: matches!(refusal, Refusal::UnknownAgent).then_some("x-agent"),
            code: terms.code,
        }),
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
            (_, Some(ids)) => {
                let data = serde_json::to_string(&problem).unwrap_or_default();
                rpc::body(refusal, terms.status, ids, &detail, &data)
            }
            (Form::Problem, None) => serde_json::to_vec(&problem).unwrap_or_default(),
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
