//! The reasons to refuse a request, and what each is called in HTTP, gRPC and the error shapes of AI clients.

use std::borrow::Cow;
use std::fmt;

use super::RpcFault;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The gateway is not able to look at the request.
    GatewayUnavailable,
    /// The path could be read another way by an agent.
    BadPath,
    /// No route takes the path.
    NoRoute,
    /// The route takes other methods: these.
    MethodNotAllowed(Vec<String>),
    /// A WebSocket, or another protocol, on a route that carries none.
    UpgradeNotAllowed,
    /// No WebSocket on a route that carries nothing else.
    UpgradeRequired,
    /// Limits are full: these. The seconds say when one more request fits.
    RateLimited(Vec<FullLimit>, u64),
    /// So many requests are in flight already that this one has no place among them.
    TooManyInFlight(FullLimit),
    /// The limits could not be looked at, so the request may not pass.
    LimitsUnavailable,
    /// No key where one is needed.
    MissingKey,
    /// The key proves nobody.
    InvalidKey,
    /// The key has expired.
    ExpiredKey,
    /// Nobody could say whose key it is.
    ValidatorUnavailable,
    /// The client has a plan that the configuration does not know.
    UnknownPlan,
    /// The client has none of the roles that are needed.
    Forbidden,
    /// The query is not one that is understood: why.
    BadQuery(String),
    /// The body, by which the agent is chosen or which the route changes, cannot be read: why.
    BadBody(String),
    /// The body is none of MCP, or its headers say something else: why.
    BadMessage(RpcFault, String),
    /// The route takes these versions of A2A only.
    VersionNotSupported(String),
    /// The client may not call that tool, or use that method: why.
    ToolForbidden(String),
    /// None of the route's servers has what is called, or the method is not passed on to several: why.
    NotOffered(RpcFault, String),
    /// None of the route's servers has answered.
    ServersUnavailable,
    /// No rule of the route takes the request.
    NoRule,
    /// No agent of the route serves the model that is asked for.
    ModelNotFound,
    /// No agent of the route has the capabilities that are asked for.
    UnknownCapability,
    /// `x-agent` names none of the route's agents.
    UnknownAgent,
    /// No agent of the route takes unnamed requests.
    NoAgent,
    /// All agents that could answer rest; the first is to be asked again in so many seconds.
    AgentsResting(u64),
    /// The session is not one that the agent has named to this client.
    UnknownSession,
    /// The body is larger than the route allows: more than so many bytes.
    BodyTooLarge(u64),
    /// The body did not arrive in time.
    RequestTimeout,
    /// The request is larger than may be held until it is known who calls: more than so many bytes.
    HeldTooLarge(u64),
    /// The agent did not answer in time, or was silent for too long.
    AgentTimeout,
    /// The agent's answer is one that its caller might not be allowed to see, and cannot be read.
    UnreadableAnswer,
    /// It is larger than may be held: more than so many bytes.
    AnswerTooLarge(u64),
}

/// A limit that is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullLimit {
    /// Its name.
    pub name: String,
    /// What it is counted per, in words.
    pub per: String,
}

impl fmt::Display for FullLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" (per {})", self.name, self.per)
    }
}

/// What a refusal is called on the wire.
pub(super) struct Terms {
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) title: &'static str,
    /// `error.type`, as clients of OpenAI's and Anthropic's interfaces know it.
    pub(super) error_type: &'static str,
    /// The status of gRPC.
    pub(super) grpc: u8,
}

impl Refusal {
    /// The word for it, in answers, metrics and the access log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.terms().code
    }

    pub(super) fn terms(&self) -> Terms {
        let terms = |code, status, title, error_type, grpc| Terms {
            code,
            status,
            title,
            error_type,
            grpc,
        };
        match self {
            Self::GatewayUnavailable => terms(
                "gateway_unavailable",
                503,
                "Service Unavailable",
                "api_error",
                14,
            ),
            Self::BadPath => terms("bad_path", 400, "Bad path", INVALID_REQUEST, 3),
            Self::NoRoute => terms("no_route", 404, "No such route", "not_found_error", 12),
            Self::MethodNotAllowed(_) => terms(
                "method_not_allowed",
                405,
                "Method not allowed",
                INVALID_REQUEST,
                12,
            ),
            Self::UpgradeNotAllowed => terms(
                "upgrade_not_allowed",
                400,
                "Upgrade not allowed",
                INVALID_REQUEST,
                3,
            ),
            Self::UpgradeRequired => terms(
                "upgrade_required",
                426,
                "Upgrade required",
                INVALID_REQUEST,
                12,
            ),
            Self::RateLimited(..) => terms(
                "rate_limited",
                429,
                "Rate limit exceeded",
                "rate_limit_error",
                8,
            ),
            Self::TooManyInFlight(_) => terms(
                "too_many_in_flight",
                429,
                "Too many requests at once",
                "rate_limit_error",
                8,
            ),
            Self::LimitsUnavailable => terms(
                "limits_unavailable",
                503,
                "Limits unavailable",
                "api_error",
                14,
            ),
            Self::MissingKey => terms("missing_key", 401, "Key missing", AUTHENTICATION, 16),
            Self::InvalidKey => terms("invalid_key", 401, "Key invalid", AUTHENTICATION, 16),
            Self::ExpiredKey => terms("expired_key", 401, "Key expired", AUTHENTICATION, 16),
            Self::ValidatorUnavailable => terms(
                "validator_unavailable",
                503,
                "Key validation unavailable",
                "api_error",
                14,
            ),
            Self::UnknownPlan => terms("unknown_plan", 503, "Plan unknown", "api_error", 14),
            Self::Forbidden => terms("forbidden", 403, "Forbidden", "permission_error", 7),
            Self::BadQuery(_) => terms("bad_query", 400, "Bad query", INVALID_REQUEST, 3),
            Self::BadBody(_) => terms("bad_body", 400, "Bad body", INVALID_REQUEST, 3),
            Self::BadMessage(RpcFault::Header, _) => terms(
                "header_mismatch",
                400,
                "Header mismatch",
                INVALID_REQUEST,
                3,
            ),
            Self::BadMessage(..) => terms("bad_message", 400, "Bad message", INVALID_REQUEST, 3),
            Self::VersionNotSupported(_) => terms(
                "version_not_supported",
                400,
                "Version not supported",
                INVALID_REQUEST,
                9,
            ),
            Self::ToolForbidden(_) => terms(
                "tool_forbidden",
                403,
                "Tool forbidden",
                "permission_error",
                7,
            ),
            Self::NotOffered(..) => terms("not_offered", 404, "Not offered", "not_found_error", 12),
            Self::ServersUnavailable => terms(
                "servers_unavailable",
                503,
                "No server available",
                "overloaded_error",
                14,
            ),
            Self::NoRule => terms("no_rule", 404, "No such rule", "not_found_error", 12),
            Self::ModelNotFound => terms(
                "model_not_found",
                404,
                "Model not found",
                "not_found_error",
                5,
            ),
            Self::UnknownCapability => terms(
                "unknown_capability",
                400,
                "Capability unknown",
                INVALID_REQUEST,
                3,
            ),
            Self::UnknownAgent => terms("unknown_agent", 400, "Agent unknown", INVALID_REQUEST, 3),
            Self::NoAgent => terms(
                "no_agent",
                503,
                "No agent available",
                "overloaded_error",
                14,
            ),
            Self::AgentsResting(_) => terms(
                "agents_resting",
                503,
                "No agent available",
                "overloaded_error",
                14,
            ),
            Self::UnknownSession => terms(
                "unknown_session",
                404,
                "Session unknown",
                "not_found_error",
                5,
            ),
            Self::BodyTooLarge(_) | Self::HeldTooLarge(_) => terms(
                "body_too_large",
                413,
                "Content Too Large",
                INVALID_REQUEST,
                8,
            ),
            Self::RequestTimeout => terms(
                "request_timeout",
                408,
                "Request Timeout",
                INVALID_REQUEST,
                4,
            ),
            Self::AgentTimeout => terms("agent_timeout", 504, "Gateway Timeout", "api_error", 4),
            Self::UnreadableAnswer => terms(
                "unreadable_answer",
                502,
                "Answer unreadable",
                "api_error",
                13,
            ),
            Self::AnswerTooLarge(_) => {
                terms("answer_too_large", 502, "Answer too large", "api_error", 13)
            }
        }
    }

    pub(super) fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::GatewayUnavailable => "The gateway cannot take this request at the moment.",
            Self::BadPath => {
                "The path is malformed or has two meanings: empty or dot segments, backslashes, broken escapes, escapes of slashes, dots or backslashes, parameters where routes part, or a model that stands in it twice or with control characters."
            }
            Self::NoRoute => "No route takes this path.",
            Self::MethodNotAllowed(methods) => {
                return format!("This route takes {}.", methods.join(", ")).into();
            }
            Self::UpgradeNotAllowed => {
                "This route takes no WebSockets, and no other protocol but HTTP."
            }
            Self::UpgradeRequired => "This route takes WebSockets only.",
            Self::RateLimited(limits, seconds) => {
                let names: Vec<_> = limits.iter().map(FullLimit::to_string).collect();
                let (noun, unit) = (plural(limits.len(), "limit"), plural_of(*seconds, "second"));
                let verb = if limits.len() == 1 { "is" } else { "are" };
                return format!(
                    "The {noun} {} {verb} reached. Try again in {seconds} {unit}.",
                    names.join(", ")
                )
                .into();
            }
            Self::TooManyInFlight(limit) => {
                return format!(
                    "As many requests are being answered as the limit {limit} allows at once. Try again when one of them is."
                )
                .into();
            }
            Self::LimitsUnavailable => {
                "The limits of this request could not be checked. Try again shortly."
            }
            Self::MissingKey => "This route needs an API key, and the request carries none.",
            Self::InvalidKey => "The API key is not valid.",
            Self::ExpiredKey => "The API key has expired.",
            Self::ValidatorUnavailable => "The API key could not be checked. Try again shortly.",
            Self::UnknownPlan => "The plan of this client is not known here.",
            Self::Forbidden => "This client has none of the roles that are needed here.",
            Self::BadQuery(why)
            | Self::BadBody(why)
            | Self::BadMessage(_, why)
            | Self::NotOffered(_, why)
            | Self::ToolForbidden(why) => return why.clone().into(),
            Self::VersionNotSupported(versions) => {
                return ["This route takes these versions of A2A: ", versions, "."]
                    .concat()
                    .into();
            }
            Self::ServersUnavailable => {
                "None of the servers of this route answers now. Try again shortly."
            }
            Self::NoRule => "No rule of this route takes the request.",
            Self::ModelNotFound => "No agent of this route serves the model that is asked for.",
            Self::UnknownCapability => {
                "No agent of this route has all the capabilities that x-agent-capability asks for."
            }
            Self::UnknownAgent => {
                "The header x-agent names no agent of this route that takes this request."
            }
            Self::NoAgent => {
                "No agent of this route takes requests at the moment, unless it is named in x-agent."
            }
            Self::AgentsResting(seconds) => {
                let unit = plural_of(*seconds, "second");
                return format!(
                    "All agents that could answer have failed, and get no requests for a while. Try again in {seconds} {unit}."
                )
                .into();
            }
            Self::UnknownSession => "The session is not known here. Begin a new one.",
            Self::BodyTooLarge(limit) => {
                return format!("This route takes bodies of at most {limit} bytes.").into();
            }
            Self::HeldTooLarge(limit) => {
                return format!(
                    "Until it is known who calls, the gateway takes at most {limit} bytes of a request."
                )
                .into();
            }
            Self::RequestTimeout => "The request's body did not arrive in time.",
            Self::AgentTimeout => "The agent did not answer in time.",
            Self::UnreadableAnswer => {
                "The agent's answer cannot be read, so it is not known what of it may be shown."
            }
            Self::AnswerTooLarge(limit) => {
                return format!(
                    "The agent's answer is larger than the {limit} bytes that the gateway looks through."
                )
                .into();
            }
        })
    }

    /// True if an agent would have answered it in the words of its own protocol: the request was understood, and one call in it is
    /// refused.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::ToolForbidden(_) | Self::VersionNotSupported(_) | Self::NotOffered(..)
        )
    }

    /// True if the same request may pass later: the caller is told when to try again.
    #[must_use]
    pub fn is_for_now(&self) -> bool {
        matches!(self.terms().status, 429 | 503)
    }

    /// Seconds after which trying again makes sense, as far as the refusal itself tells.
    pub(super) fn retry_after(&self) -> u64 {
        match self {
            Self::RateLimited(_, seconds) | Self::AgentsResting(seconds) => (*seconds).max(1),
            _ => 1,
        }
    }
}

const INVALID_REQUEST: &str = "invalid_request_error";
const AUTHENTICATION: &str = "authentication_error";

fn plural(count: usize, noun: &str) -> String {
    plural_of(u64::try_from(count).unwrap_or(u64::MAX), noun)
}

fn plural_of(count: u64, noun: &str) -> String {
    if count == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}
