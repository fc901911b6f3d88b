//! A TrafficPolicy as it is written.

use serde::{Deserialize, Serialize};

use crate::registry::manifest::route::raw::HttpMatch;

macro_rules! shapes {
    ($($(#[$doc:meta])* $visibility:vis $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default, Deserialize, Serialize)]
            #[serde(rename_all = "camelCase", default)]
            $visibility struct $name { $($(#[$attribute])* pub(super) $field: $type,)* }
        )*
    };
}

shapes! {
    /// The spec.
    pub(in crate::registry::manifest) Spec {
        target_refs: Vec<TargetRef>,
        load_balancer: Option<LoadBalancer>,
        connections: Option<Connections>,
        requests: Option<Requests>,
        retry: Option<Retry>,
        hedge: Option<Hedge>,
        outlier_detection: Option<OutlierDetection>,
        health_check: Option<HealthCheck>,
        rate_limit: Option<RateLimit>,
    }
    pub(super) TargetRef {
        group: String,
        kind: String,
        name: String,
        section_name: Option<String>,
    }
    pub(super) LoadBalancer {
        algorithm: Option<String>,
        hash_on: Option<Vec<HashKey>>,
        slow_start: Option<SlowStart>,
        locality: Option<String>,
        panic_percent: Option<i64>,
    }
    pub(super) HashKey {
        header: Option<String>,
        cookie: Option<Cookie>,
        source: Option<bool>,
    }
    pub(super) Cookie {
        name: String,
        ttl: Option<String>,
        path: Option<String>,
    }
    pub(super) SlowStart {
        window: Option<String>,
        min_percent: Option<i64>,
        aggression: Option<f64>,
    }
    pub(super) Connections {
        max: Option<i64>,
        connect_timeout: Option<String>,
        idle_timeout: Option<String>,
        max_age: Option<String>,
    }
    pub(super) Requests {
        max: Option<i64>,
        max_pending: Option<i64>,
        max_stream_age: Option<String>,
        timeout: Option<String>,
        per_try_timeout: Option<String>,
        idle_timeout: Option<String>,
    }
    pub(super) Retry {
        attempts: Option<i64>,
        retry_on: Option<Vec<String>>,
        status_codes: Option<Vec<i64>>,
        grpc_statuses: Option<Vec<String>>,
        methods: Option<Vec<String>>,
        backoff: Option<Backoff>,
        budget: Option<Budget>,
    }
    pub(super) Backoff {
        base: Option<String>,
        max: Option<String>,
    }
    pub(super) Budget {
        percent: Option<f64>,
        min_per_second: Option<i64>,
        window: Option<String>,
    }
    pub(super) Hedge {
        after: Option<String>,
        max: Option<i64>,
    }
    pub(super) OutlierDetection {
        #[serde(rename = "consecutive5xx")]
        consecutive_5xx: Option<i64>,
        consecutive_gateway_errors: Option<i64>,
        success_rate: Option<SuccessRate>,
        interval: Option<String>,
        base_ejection: Option<String>,
        max_ejection: Option<String>,
        max_ejected_percent: Option<i64>,
    }
    pub(super) SuccessRate {
        min_hosts: Option<i64>,
        min_requests: Option<i64>,
        stdev_factor: Option<f64>,
    }
    pub(super) HealthCheck {
        interval: Option<String>,
        timeout: Option<String>,
        healthy_threshold: Option<i64>,
        unhealthy_threshold: Option<i64>,
        http: Option<HttpProbe>,
        grpc: Option<GrpcProbe>,
        tcp: Option<TcpProbe>,
    }
    pub(super) HttpProbe {
        path: Option<String>,
        host: Option<String>,
        expected_statuses: Option<Vec<i64>>,
    }
    pub(super) GrpcProbe {
        service: Option<String>,
    }
    pub(super) TcpProbe {}
    pub(super) RateLimit {
        local: Option<Vec<LocalLimit>>,
        global: Option<GlobalLimit>,
    }
    pub(super) LocalLimit {
        name: String,
        requests: Option<i64>,
        per: Option<String>,
        burst: Option<i64>,
        by: Option<Vec<LimitKey>>,
        r#match: Option<HttpMatch>,
    }
    pub(super) LimitKey {
        header: Option<String>,
        peer: Option<bool>,
        path: Option<bool>,
        method: Option<bool>,
    }
    pub(super) GlobalLimit {
        service: Option<ServiceRef>,
        domain: String,
        timeout: Option<String>,
        fail_open: Option<bool>,
        descriptors: Vec<Vec<Entry>>,
    }
    pub(super) ServiceRef {
        name: String,
        namespace: Option<String>,
        port: Option<i64>,
    }
    pub(super) Entry {
        key: String,
        header: Option<String>,
        peer: Option<bool>,
        path: Option<bool>,
        method: Option<bool>,
        value: Option<String>,
    }
}
