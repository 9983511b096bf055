//! Envoy's rate limit protocol, `envoy.service.ratelimit.v3`: the messages of its one call, as far as they are sent and read
//! here. Field numbers are those of Envoy 1.40.

use prost::{Enumeration, Message};

/// The service's name.
pub(super) const SERVICE: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// Its one call.
pub(super) const METHOD: &str = "ShouldRateLimit";

/// May this request go on?
#[derive(Clone, PartialEq, Message)]
pub struct RateLimitRequest {
    /// Whose descriptors these are.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// What is counted: all of it, or nothing.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    /// How much each of them counts. 0 is unset, which is 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// What is counted, and how much of it there may be.
#[derive(Clone, PartialEq, Message)]
pub struct RateLimitDescriptor {
    /// What tells it from others.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    /// The limit.
    #[prost(message, optional, tag = "2")]
    pub limit: Option<RateLimitOverride>,
    /// How much it counts, in place of the request's. 0 takes nothing, where the service knows this field.
    #[prost(message, optional, tag = "3")]
    pub hits_addend: Option<u64>,
    /// So much is given back, where the service knows this field.
    #[prost(bool, tag = "4")]
    pub is_negative_hits: bool,
}

/// One part of what tells a descriptor from others.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// What kind of thing.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Which one.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// The limit of a descriptor, in place of one that the service might know.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RateLimitOverride {
    /// So many.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// In each of these.
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
}

/// A second, minute, hour, day or month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum Unit {
    /// None.
    Unknown = 0,
    /// A second.
    Second = 1,
    /// A minute.
    Minute = 2,
    /// An hour.
    Hour = 3,
    /// A day.
    Day = 4,
    /// A month.
    Month = 5,
}

/// The answer.
#[derive(Clone, PartialEq, Message)]
pub struct RateLimitResponse {
    /// Whether all of it passes.
    #[prost(enumeration = "Code", tag = "1")]
    pub overall_code: i32,
    /// One for each descriptor, in their order. Some services leave them out.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
}

/// Whether something passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum Code {
    /// Nobody knows.
    Unknown = 0,
    /// It does.
    Ok = 1,
    /// It does not.
    OverLimit = 2,
}

/// How a descriptor stands.
#[derive(Clone, PartialEq, Message)]
pub struct DescriptorStatus {
    /// Whether it passes.
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// What is left of it in its window.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// How long its window lasts.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<prost_types::Duration>,
}
