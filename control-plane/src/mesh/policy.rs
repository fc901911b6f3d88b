//! `weft.dev` TrafficPolicy: how requests to a Service are balanced, bounded, repeated and limited.
//!
//! Everything is checked; a duration that is zero stands for none where it can. What is `None` was not written, and its
//! default is that of the proxy.

use std::sync::Arc;
use std::time::Duration;

use super::{ObjectName, RouteMatch, ServicePort};

/// A TrafficPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// When it was created, seconds since the epoch; [`i64::MAX`]: unknown. Of two for one target the older holds.
    pub created: i64,
    /// The Services that it is for, all in its own namespace.
    pub targets: Vec<PolicyTarget>,
    /// Who of the endpoints gets a request.
    pub balance: Balance,
    /// Connections to endpoints.
    pub connections: Connections,
    /// Requests.
    pub requests: Requests,
    /// When a request is repeated.
    pub retry: Option<Retry>,
    /// When a further attempt is made while the first is still under way.
    pub hedge: Option<Hedge>,
    /// When an endpoint is left out for what it answered.
    pub outlier: Option<OutlierDetection>,
    /// How endpoints are asked whether they are well.
    pub health: Option<HealthCheck>,
    /// What the called pods' sidecars let through, each by itself.
    pub local_limits: Vec<LocalLimit>,
    /// What a rate limit service is asked.
    pub global_limit: Option<GlobalLimit>,
}

/// A Service that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// The Service.
    pub service: ObjectName,
    /// The port of this name alone; `None`: all that no policy is for by itself.
    pub section: Option<Arc<str>>,
}

impl PolicyTarget {
    /// Whether it means a port of the Service that it is for.
    pub fn means(&self, port: &ServicePort) -> bool {
        self.section.as_ref().is_none_or(|section| *section == port.name)
    }
}

/// Who of the endpoints gets a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balance {
    /// How one is chosen.
    pub algorithm: Algorithm,
    /// What is hashed; the first that a request has counts.
    pub hash_on: Vec<HashKey>,
    /// How a new endpoint is eased in.
    pub slow_start: Option<SlowStart>,
    /// Which nodes and zones endpoints are taken from; `None`: as the Service's `trafficDistribution` says.
    pub locality: Option<Locality>,
    /// When fewer of a hundred endpoints are usable, all are used; 0: never.
    pub panic_percent: Option<u8>,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// The less loaded of two, by measured latency.
    #[default]
    PeakEwma,
    /// One after the other.
    RoundRobin,
    /// The one of two with fewer requests under way.
    LeastRequest,
    /// Any.
    Random,
    /// By a hash, on a ring.
    RingHash,
    /// By a hash, from a table.
    Maglev,
}

impl Algorithm {
    /// Whether it chooses by a hash of the request.
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The value of a header, its name in lower case.
    Header(Arc<str>),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Set where the proxy makes the cookie if there is none, and how long it lives then; zero: the client's session.
        ttl: Option<Duration>,
        /// The path of a cookie that the proxy makes.
        path: Option<Arc<str>>,
    },
    /// The client's address.
    Source,
}

/// How a new endpoint is eased in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// For how long, more than zero.
    pub window: Duration,
    /// Its weight at the start, in percent, from 1 to 100.
    pub min_percent: u8,
    /// More than zero; above 1 it comes in faster.
    pub aggression: f64,
}

/// Which nodes and zones endpoints are taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locality {
    /// The own node first, then the own zone, with overflow by load.
    PreferSameNode,
    /// The own zone first, with overflow by load.
    PreferSameZone,
    /// All alike.
    #[default]
    Anywhere,
}

/// Connections to the endpoints of a Service, from one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// The most at once.
    pub max: Option<u32>,
    /// How long opening one may take.
    pub connect_timeout: Option<Duration>,
    /// After how long without a request one is closed.
    pub idle_timeout: Option<Duration>,
    /// After how long one takes no more requests.
    pub max_age: Option<Duration>,
}

/// Requests to a Service, from one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// The most at once.
    pub max: Option<u32>,
    /// The most that wait for a connection.
    pub max_pending: Option<u32>,
    /// The longest that a request and its answer may last, however busy.
    pub max_stream_age: Option<Duration>,
    /// From the request to the end of the answer, all attempts included; zero: none.
    pub timeout: Option<Duration>,
    /// One attempt; zero: none.
    pub per_try_timeout: Option<Duration>,
    /// How long neither side may send anything; zero: none.
    pub idle_timeout: Option<Duration>,
}

/// When a request is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Further attempts, from 0 to 10.
    pub attempts: u32,
    /// What leads to one.
    pub on: Vec<RetryOn>,
    /// The statuses of answers that lead to one, from 400 to 599.
    pub status_codes: Vec<u16>,
    /// The gRPC statuses that lead to one, whatever the method: all calls are POST.
    pub grpc_statuses: Vec<GrpcRetry>,
    /// The methods of requests that are repeated though they may have been acted upon; `None`: the idempotent ones.
    pub methods: Option<Vec<Arc<str>>>,
    /// How long to wait before one.
    pub backoff: Backoff,
    /// How many there may be; `None`: the proxy's default.
    pub budget: Option<RetryBudget>,
}

/// What leads to a further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryOn {
    /// No connection could be had.
    ConnectFailure,
    /// The endpoint refused the stream before it looked at it.
    RefusedStream,
    /// The connection or the stream broke before the answer.
    Reset,
    /// 502, 503, 504, or a reset.
    GatewayError,
    /// Any 5xx, or a reset.
    ServerError,
    /// 409.
    Retriable4xx,
    /// The attempt took too long.
    PerTryTimeout,
}

impl RetryOn {
    /// As Envoy's `retry_on` and the manifest have it.
    pub fn token(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect-failure",
            Self::RefusedStream => "refused-stream",
            Self::Reset => "reset",
            Self::GatewayError => "gateway-error",
            Self::ServerError => "5xx",
            Self::Retriable4xx => "retriable-4xx",
            Self::PerTryTimeout => "per-try-timeout",
        }
    }
}

/// A gRPC status that leads to a further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrpcRetry {
    /// 1
    Cancelled,
    /// 4
    DeadlineExceeded,
    /// 13
    Internal,
    /// 8
    ResourceExhausted,
    /// 14
    Unavailable,
}

impl GrpcRetry {
    /// As Envoy's `retry_on` has it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Internal => "internal",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How long to wait before a further attempt: a random part of `base`, then of twice as much, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first.
    pub base: Duration,
    /// The longest, at least `base`.
    pub max: Duration,
}

/// How many further attempts there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Of a hundred requests.
    pub percent: f64,
    /// So many in a second are always allowed.
    pub min_per_second: u32,
    /// The time over which both are counted.
    pub window: Duration,
}

/// A further attempt while the first is still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// After how long.
    pub after: Duration,
    /// How many.
    pub max: u32,
}

/// When an endpoint is left out for what it answered. Zero errors: that criterion is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierDetection {
    /// 5xx and failures to answer in a row.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 and failures to answer in a row.
    pub consecutive_gateway_errors: u32,
    /// By comparison with the others.
    pub success_rate: Option<SuccessRate>,
    /// How often it is looked at, and those that are left out come back.
    pub interval: Duration,
    /// The first time that an endpoint is left out.
    pub base_ejection: Duration,
    /// The longest.
    pub max_ejection: Duration,
    /// Of a hundred endpoints, how many may be left out.
    pub max_ejected_percent: u8,
}

/// An endpoint whose share of successes is far below the others' is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// Endpoints with enough requests that there must be.
    pub min_hosts: u32,
    /// Requests in an interval that are enough.
    pub min_requests: u32,
    /// How many standard deviations are far.
    pub stdev_factor: f64,
}

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Good answers in a row until an endpoint is used.
    pub healthy_threshold: u32,
    /// Bad ones until it is not.
    pub unhealthy_threshold: u32,
    /// What is asked.
    pub probe: Probe,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A GET.
    Http {
        /// The path.
        path: Arc<str>,
        /// The host; `None`: the cluster's name.
        host: Option<Arc<str>>,
        /// The statuses that are good.
        expected_statuses: Vec<u16>,
    },
    /// `grpc.health.v1.Health/Check`
    Grpc {
        /// The service; empty: the server as a whole.
        service: Arc<str>,
    },
    /// A connection.
    Tcp,
}

/// A limit that the sidecar of the called pod enforces.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalLimit {
    /// Its name, once in the policy.
    pub name: Arc<str>,
    /// Tokens that come in each `per`.
    pub requests: u32,
    /// At least 50 ms.
    pub per: Duration,
    /// The most tokens there are.
    pub burst: u32,
    /// A bucket for each combination of these; empty: one bucket.
    pub by: Vec<LimitKey>,
    /// The requests that it is for; `None`: all.
    pub condition: Option<RouteMatch>,
}

/// A property of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The value of a header, its name in lower case.
    Header(Arc<str>),
    /// The SPIFFE id of the caller.
    Peer,
    /// The path without the query.
    Path,
    /// The method.
    Method,
    /// A text that is always the same.
    Value(Arc<str>),
}

/// What a rate limit service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalLimit {
    /// The Service of the rate limit service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
    /// The domain of the descriptors.
    pub domain: Arc<str>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether requests pass while there is no answer.
    pub fail_open: bool,
    /// The descriptors, each with its entries: a key, and what the value is.
    pub descriptors: Vec<Vec<(Arc<str>, LimitKey)>>,
}
