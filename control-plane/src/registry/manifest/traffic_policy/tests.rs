use std::time::Duration;

use crate::mesh::{
    Algorithm, Backoff, GrpcRetry, HashKey, Hedge, LimitKey, Locality, PathMatch, PolicyTarget, Probe, Requests,
    RetryBudget, RetryOn, SlowStart, SuccessRate, TrafficPolicy,
};
use crate::registry::testing::{faults, good, read};

const API: &str = "targetRefs: [{group: '', kind: Service, name: api}]";

fn manifest(spec: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {{{spec}}}"
    )
}

fn policy(spec: &str) -> TrafficPolicy {
    good(&manifest(&format!("{API}, {spec}"))).traffic_policies.values().next().unwrap().as_ref().clone()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn targets_are_services_and_their_ports() {
    let text =
        manifest("targetRefs: [{kind: Service, name: api}, {group: core, kind: Service, name: b, sectionName: http}]");
    let manifests = good(&text);
    let policy = manifests.traffic_policies.values().next().unwrap();
    let target = |name: &str, section: Option<&str>| PolicyTarget {
        service: crate::mesh::ObjectName::new("shop", name),
        section: section.map(Into::into),
    };
    assert_eq!(policy.targets, [target("api", None), target("b", Some("http"))]);
    assert_eq!(policy.created, i64::MAX);
}

#[test]
fn an_empty_policy_says_nothing() {
    let policy = policy("");
    assert_eq!(policy.balance, Default::default());
    assert_eq!((policy.connections, policy.requests), Default::default());
    assert!(policy.retry.is_none() && policy.hedge.is_none() && policy.outlier.is_none() && policy.health.is_none());
    assert!(policy.local_limits.is_empty() && policy.global_limit.is_none());
}

#[test]
fn balancing_is_read() {
    let found = policy(
        "loadBalancer: {algorithm: Maglev, panicPercent: 0, \
         hashOn: [{header: X-User}, {cookie: {name: s, ttl: 1h, path: /}}, {cookie: {name: t}}, {source: true}]}",
    )
    .balance;
    assert_eq!((found.algorithm, found.panic_percent), (Algorithm::Maglev, Some(0)));
    let cookie =
        |name: &str, ttl, path: Option<&str>| HashKey::Cookie { name: name.into(), ttl, path: path.map(Into::into) };
    assert_eq!(
        found.hash_on,
        [
            HashKey::Header("x-user".into()),
            cookie("s", Some(ms(3_600_000)), Some("/")),
            cookie("t", None, None),
            HashKey::Source
        ]
    );
    let found = policy("loadBalancer: {slowStart: {window: 30s}, locality: PreferSameZone}").balance;
    assert_eq!(found.algorithm, Algorithm::PeakEwma);
    assert_eq!(found.slow_start, Some(SlowStart { window: ms(30_000), min_percent: 10, aggression: 1.0 }));
    assert_eq!(found.locality, Some(Locality::PreferSameZone));
}

#[test]
fn limits_and_times_are_read() {
    let found = policy("connections: {max: 1, connectTimeout: 1s, idleTimeout: 1h, maxAge: 30m}").connections;
    assert_eq!((found.max, found.connect_timeout), (Some(1), Some(ms(1000))));
    assert_eq!((found.idle_timeout, found.max_age), (Some(ms(3_600_000)), Some(ms(1_800_000))));
    let found =
        policy("requests: {max: 2, maxPending: 0, maxStreamAge: 10m, timeout: 0s, perTryTimeout: 2s, idleTimeout: 5m}");
    assert_eq!(
        found.requests,
        Requests {
            max: Some(2),
            max_pending: Some(0),
            max_stream_age: Some(ms(600_000)),
            timeout: Some(Duration::ZERO),
            per_try_timeout: Some(ms(2000)),
            idle_timeout: Some(ms(300_000)),
        }
    );
}

#[test]
fn retries_have_defaults() {
    let found = policy("retry: {}").retry.unwrap();
    assert_eq!((found.attempts, found.on), (2, vec![RetryOn::ConnectFailure, RetryOn::RefusedStream]));
    assert_eq!((found.methods, found.budget), (None, None));
    assert_eq!(found.backoff, Backoff { base: ms(25), max: ms(250) });
    let found = policy(
        "retry: {attempts: 0, retryOn: [reset, gateway-error, 5xx, retriable-4xx, per-try-timeout, reset], statusCodes: [429], \
         grpcStatuses: [UNAVAILABLE, CANCELLED], methods: [POST, GET], backoff: {base: 1s}, budget: {percent: 12.5}}",
    );
    let found = found.retry.unwrap();
    assert_eq!((found.attempts, found.on.len(), found.status_codes), (0, 5, vec![429]));
    assert_eq!(found.grpc_statuses, [GrpcRetry::Unavailable, GrpcRetry::Cancelled]);
    assert_eq!(found.methods.unwrap(), ["POST".into(), "GET".into()]);
    assert_eq!(found.backoff, Backoff { base: ms(1000), max: ms(10_000) });
    assert_eq!(found.budget, Some(RetryBudget { percent: 12.5, min_per_second: 10, window: ms(10_000) }));
    assert_eq!(policy("hedge: {after: 100ms}").hedge, Some(Hedge { after: ms(100), max: 1 }));
}

#[test]
fn ejection_and_health_checks_have_defaults() {
    let found = policy("outlierDetection: {}").outlier.unwrap();
    assert_eq!((found.consecutive_5xx, found.consecutive_gateway_errors, found.success_rate), (5, 5, None));
    assert_eq!((found.interval, found.base_ejection, found.max_ejection), (ms(10_000), ms(30_000), ms(300_000)));
    assert_eq!(found.max_ejected_percent, 10);
    let found = policy("outlierDetection: {consecutive5xx: 0, successRate: {stdevFactor: 2.5}}").outlier.unwrap();
    assert_eq!(found.success_rate, Some(SuccessRate { min_hosts: 5, min_requests: 100, stdev_factor: 2.5 }));
    let found = policy("healthCheck: {http: {}}").health.unwrap();
    assert_eq!((found.interval, found.timeout), (ms(5000), ms(1000)));
    assert_eq!((found.healthy_threshold, found.unhealthy_threshold), (2, 3));
    assert_eq!(found.probe, Probe::Http { path: "/".into(), host: None, expected_statuses: vec![200] });
    assert_eq!(policy("healthCheck: {tcp: {}}").health.unwrap().probe, Probe::Tcp);
    assert_eq!(policy("healthCheck: {grpc: {service: a}}").health.unwrap().probe, Probe::Grpc { service: "a".into() });
}

#[test]
fn rate_limits_are_read() {
    let found = policy(
        "rateLimit: {local: [{name: all, requests: 100, per: 1s}, {name: each, requests: 1, per: 1m, burst: 5, \
         by: [{header: X-User}, {peer: true}, {path: true}, {method: true}], match: {path: {value: /a}, method: GET}}]}",
    )
    .local_limits;
    assert_eq!((found[0].requests, found[0].per, found[0].burst), (100, ms(1000), 100));
    assert!(found[0].by.is_empty() && found[0].condition.is_none());
    assert_eq!(found[1].by, [LimitKey::Header("x-user".into()), LimitKey::Peer, LimitKey::Path, LimitKey::Method]);
    let condition = found[1].condition.as_ref().unwrap();
    assert_eq!((&condition.path, condition.method.as_deref()), (&PathMatch::Prefix("/a".into()), Some("GET")));
    let found = policy(
        "rateLimit: {global: {service: {name: rl, namespace: infra, port: 8081}, domain: d, \
         descriptors: [[{key: u, header: x-user}], [{key: k, value: v}, {key: p, peer: true}]]}}",
    );
    let found = found.global_limit.unwrap();
    assert_eq!((found.service.to_string().as_str(), found.port, found.timeout), ("infra/rl", 8081, ms(20)));
    assert!(found.fail_open);
    assert_eq!(found.descriptors[1], [("k".into(), LimitKey::Value("v".into())), ("p".into(), LimitKey::Peer)]);
}

/// What is wrong, and what is said about it.
const BAD: [(&str, &str); 46] = [
    ("loadBalancer: {algorithm: Fastest}", "loadBalancer.algorithm: \"Fastest\" is not one of PeakEwma, RoundRobin"),
    ("loadBalancer: {algorithm: RingHash}", "loadBalancer.hashOn: is missing"),
    ("loadBalancer: {hashOn: [{source: true}]}", "loadBalancer.hashOn: is for RingHash and Maglev alone"),
    ("loadBalancer: {algorithm: Maglev, hashOn: [{}]}", "hashOn[0]: is not exactly one of header, cookie, source"),
    ("loadBalancer: {algorithm: Maglev, hashOn: [{source: false}]}", "hashOn[0].source: false means nothing"),
    ("loadBalancer: {algorithm: Maglev, hashOn: [{header: 'a b'}]}", "hashOn[0].header: \"a b\" is not the name of"),
    (
        "loadBalancer: {algorithm: Maglev, hashOn: [{cookie: {name: ''}}]}",
        "hashOn[0].cookie.name: \"\" is not the name",
    ),
    ("loadBalancer: {algorithm: Maglev, hashOn: [{cookie: {name: a, path: b}}]}", "hashOn[0].cookie.path: is no path"),
    ("loadBalancer: {algorithm: Random, slowStart: {window: 1s}}", "loadBalancer.slowStart: is for PeakEwma"),
    ("loadBalancer: {slowStart: {}}", "loadBalancer.slowStart.window: is missing"),
    ("loadBalancer: {slowStart: {window: 1s, minPercent: 0}}", "slowStart.minPercent: 0 is out of range: 1 to 100"),
    ("loadBalancer: {slowStart: {window: 1s, aggression: 0}}", "slowStart.aggression: 0 is out of range"),
    (
        "loadBalancer: {locality: Near}",
        "loadBalancer.locality: \"Near\" is not one of PreferSameNode, PreferSameZone, Anywhere",
    ),
    (
        "loadBalancer: {algorithm: Maglev, hashOn: [{source: true}], locality: PreferSameZone}",
        "loadBalancer.locality: is not for RingHash and Maglev",
    ),
    ("loadBalancer: {panicPercent: 101}", "loadBalancer.panicPercent: 101 is out of range: 0 to 100"),
    ("connections: {max: 0}", "connections.max: 0 is out of range: 1 to 4294967295"),
    ("connections: {connectTimeout: 2m}", "connections.connectTimeout: \"2m\" is out of range: 1ms to 60s"),
    ("connections: {idleTimeout: 0s}", "connections.idleTimeout: \"0s\" is out of range"),
    ("connections: {maxAge: soon}", "connections.maxAge: \"soon\" is no duration"),
    ("requests: {maxPending: -1}", "requests.maxPending: -1 is out of range"),
    ("requests: {timeout: 1s, perTryTimeout: 2s}", "requests.perTryTimeout: 2s is longer than requests.timeout, 1s"),
    ("requests: {maxPendig: 1}", "spec.requests.maxPendig: is no field of a TrafficPolicy"),
    ("retry: {attempts: 11}", "retry.attempts: 11 is out of range: 0 to 10"),
    ("retry: {retryOn: [reset, 5XX]}", "retry.retryOn[1]: \"5XX\" is not one of connect-failure, refused-stream"),
    ("retry: {statusCodes: [200]}", "retry.statusCodes[0]: 200 is out of range: 400 to 599"),
    ("retry: {grpcStatuses: [OK], methods: [POST]}", "retry.grpcStatuses[0]: \"OK\" is not one of CANCELLED"),
    ("retry: {methods: [get]}", "retry.methods[0]: \"get\" is not one of GET, HEAD"),
    ("retry: {backoff: {base: 1s, max: 1ms}}", "retry.backoff.max: 1ms is shorter than backoff.base, 1s"),
    ("retry: {budget: {percent: 101}}", "retry.budget.percent: 101 is out of range: 0 to 100"),
    ("retry: {budget: {window: 2m}}", "retry.budget.window: \"2m\" is out of range: 1s to 60s"),
    ("hedge: {}", "hedge.after: is missing"),
    ("hedge: {after: 1s, max: 0}", "hedge.max: 0 is out of range: 1 to 10"),
    ("hedge: {after: 1s}, requests: {perTryTimeout: 1s}", "hedge.after: and requests.perTryTimeout exclude each other"),
    ("outlierDetection: {baseEjection: 10m}", "outlierDetection.maxEjection: 300s is shorter than baseEjection, 600s"),
    ("outlierDetection: {maxEjectedPercent: 101}", "outlierDetection.maxEjectedPercent: 101 is out of range"),
    ("healthCheck: {}", "healthCheck: has not exactly one of http, grpc, tcp"),
    ("healthCheck: {tcp: {}, grpc: {}}", "healthCheck: has not exactly one of http, grpc, tcp"),
    ("healthCheck: {http: {path: a}}", "healthCheck.http.path: \"a\" is no path"),
    ("healthCheck: {tcp: {}, interval: 1ms}", "healthCheck.interval: \"1ms\" is out of range: 100ms to 3600s"),
    ("rateLimit: {local: [{name: A, requests: 1, per: 1s}]}", "rateLimit.local[0].name: \"A\" is no RFC 1123 label"),
    ("rateLimit: {local: [{name: a, per: 1s}]}", "rateLimit.local[0].requests: is missing"),
    (
        "rateLimit: {local: [{name: a, requests: 1, per: 10ms}]}",
        "local[0].per: \"10ms\" is out of range: 50ms to 86400s",
    ),
    (
        "rateLimit: {local: [{name: a, requests: 1, per: 1s, by: [{peer: false}]}]}",
        "local[0].by[0]: is not exactly one of",
    ),
    (
        "rateLimit: {local: [{name: a, requests: 1, per: 1s, match: {queryParams: [{name: a, value: b}]}}]}",
        "local[0].match.queryParams: is not supported for rate limits",
    ),
    ("rateLimit: {global: {service: {name: a}, domain: d}}", "global.service.port: is missing"),
    ("rateLimit: {global: {service: {name: a, port: 1}, domain: '', descriptors: [[]]}}", "global.domain: is missing"),
];

#[test]
fn what_is_wrong_is_told_and_the_policy_left_out() {
    for (spec, expected) in BAD {
        let (manifests, faults) = read(&manifest(&format!("{API}, {spec}")));
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{spec}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.ends_with("; the object is left out")), "{faults:?}");
        assert!(manifests.traffic_policies.is_empty(), "{spec}");
    }
}

#[test]
fn a_policy_is_for_services() {
    for (targets, expected) in [
        ("targetRefs: []", "spec.targetRefs: is empty"),
        ("loadBalancer: {}", "spec.targetRefs: is empty"),
        ("targetRefs: [{kind: Pod, name: a}]", "spec.targetRefs[0].kind: \"Pod\" of \"\" is not supported"),
        ("targetRefs: [{kind: Service, name: A}]", "spec.targetRefs[0].name: \"A\" is not the name of a Service"),
        ("targetRefs: [{kind: Service, name: a, namespace: b}]", "spec.targetRefs[0].namespace: is no field"),
    ] {
        let faults = faults(&manifest(targets));
        assert!(faults[0].contains(expected), "{targets}: {faults:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let faults = faults(&manifest(&format!(
        "{API}, requests: {{max: 0, timeout: x}}, retry: {{attempts: 99, retryOn: [never]}}, outlier: {{}}"
    )));
    let fields: Vec<_> = faults.iter().map(|fault| fault.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        fields,
        ["spec.outlier", "spec.requests.timeout", "spec.requests.max", "spec.retry.retryOn[0]", "spec.retry.attempts"]
    );
}
