use std::collections::HashMap;
use std::time::Duration;

use super::*;

const REQUIRED: [(&str, &str); 5] = [
    ("WEFT_CONTROL_PLANE", "10.96.0.2:15012"),
    ("WEFT_TRUST_BUNDLE", "/var/run/weft/trust-bundle.pem"),
    ("WEFT_TOKEN_FILE", "/var/run/secrets/token"),
    ("WEFT_POD_NAME", "api-0"),
    ("WEFT_POD_NAMESPACE", "shop"),
];

fn read(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables: HashMap<_, _> = REQUIRED.into_iter().chain(changes.iter().copied()).collect();
    Config::from_env(|name| variables.get(name).map(|value| (*value).to_owned()))
}

/// The variables that are at fault.
fn faults(changes: &[(&str, &str)]) -> Vec<&'static str> {
    read(changes).expect_err("no fault").faults.iter().map(|fault| fault.variable).collect()
}

#[test]
fn five_variables_are_enough() {
    let config = read(&[]).unwrap();
    assert_eq!(config.identity.spiffe_id.as_str(), "spiffe://cluster.local/ns/shop/sa/default");
    assert_eq!(config.identity.node_id(), "api-0.shop");
    assert_eq!(config.identity.workload, "api-0");
    assert_eq!(config.control_plane.spiffe_id.as_str(), "spiffe://cluster.local/ns/weft-system/sa/weft-control");
    assert_eq!((config.outbound.port, config.inbound.port, config.inbound.mesh_port), (15001, 15006, 15008));
    assert_eq!((config.admin.port, config.admin.metrics_port), (15000, 15020));
    assert_eq!(config.outbound.unknown_destination, UnknownDestination::Passthrough);
    assert_eq!(config.outbound.discovery_timeout, Duration::from_secs(1));
    assert_eq!(config.drain.grace, Duration::from_secs(25));
    assert_eq!(config.telemetry.log_filter, "info");
    assert_eq!(config.telemetry.access_log, AccessLog::Off);
    assert!(config.telemetry.traces.is_none() && config.socket_mark.is_none());
    assert!(config.workers.get() >= 1);
}

#[test]
fn all_faults_are_told_at_once_with_value_and_what_is_allowed() {
    let nothing = Config::from_env(|_| None).unwrap_err();
    let missing: Vec<_> = nothing.faults.iter().map(|fault| fault.variable).collect();
    let mut expected: Vec<_> = REQUIRED.iter().map(|(name, _)| *name).collect();
    let mut sorted = missing.clone();
    expected.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);

    let error = read(&[("WEFT_CONTROL_PLANE", "control"), ("WEFT_DRAIN_GRACE", "soon")]).unwrap_err().to_string();
    assert!(error.contains("WEFT_CONTROL_PLANE=\"control\": has no port; expected"), "{error}");
    assert!(error.contains("WEFT_DRAIN_GRACE=\"soon\": "), "{error}");
}

#[test]
fn wrong_values_are_faults() {
    for (name, value) in [
        ("WEFT_CONTROL_PLANE", "10.0.0.1"),
        ("WEFT_CONTROL_PLANE", "10.0.0.1:0"),
        ("WEFT_CONTROL_PLANE", "fd00::1:15012"),
        ("WEFT_CONTROL_PLANE", "weft_control:15012"),
        ("WEFT_CONTROL_PLANE", ":15012"),
        ("WEFT_PROBES", "{}"),
        ("WEFT_PROBES", r#"{"token": "", "probes": {}}"#),
        ("WEFT_PROBES", r#"{"token": "t", "probes": {"web/liveness": {"port": 80}}}"#),
        ("WEFT_PROBES", r#"{"token": "t", "probes": {"web/liveness": {"port": 80, "httpGet": {"path": "/\u0000"}}}}"#),
        ("WEFT_TRUST_DOMAIN", "not a domain"),
        ("WEFT_POD_NAME", "-api"),
        ("WEFT_POD_NAMESPACE", "a.b"),
        ("WEFT_SERVICE_ACCOUNT", "a/b"),
        ("WEFT_POD_IPS", "10.0.0.1;10.0.0.2"),
        ("WEFT_WORKERS", "0"),
        ("WEFT_WORKERS", "1000"),
        ("WEFT_SOCKET_MARK", "0"),
        ("WEFT_TLS_GROUPS", "kyber"),
        ("WEFT_TLS_GROUPS", "X25519,"),
        ("WEFT_TLS_GROUPS", "secp256r1"),
        ("WEFT_UNKNOWN_DESTINATION", "drop"),
        ("WEFT_DISCOVERY_TIMEOUT", "0s"),
        ("WEFT_DETECT_TIMEOUT", "1"),
        ("WEFT_LOG", "weft=loud"),
        ("WEFT_LOG_FORMAT", "xml"),
        ("WEFT_ACCESS_LOG", "some"),
        ("WEFT_OUTBOUND_PORT", "0"),
        ("WEFT_METRICS_PORT", "15008"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
    ] {
        assert_eq!(faults(&[(name, value)]), [name], "{value}");
    }
}

#[test]
fn the_key_exchange_can_be_chosen_among_what_every_peer_offers() {
    use weft_certs::tls::{Group, TlsPolicy};
    let groups = |text| read(&[("WEFT_TLS_GROUPS", text)]).unwrap().tls.groups;
    assert_eq!(read(&[]).unwrap().tls, TlsPolicy::default());
    assert_eq!(groups("X25519"), [Group::X25519]);
    assert_eq!(groups("x25519, X25519MLKEM768"), [Group::X25519, Group::X25519MlKem768]);
    let error = read(&[("WEFT_TLS_GROUPS", "secp256r1")]).unwrap_err().to_string();
    assert!(error.contains("\"secp256r1\" is neither; expected X25519MLKEM768, X25519, or both"), "{error}");
}

#[test]
fn the_control_plane_may_have_a_name() {
    for (written, host, port) in [
        ("weft-control.weft-system.svc:15012", "weft-control.weft-system.svc", 15012),
        ("weft-control.weft-system.svc.cluster.local.:1", "weft-control.weft-system.svc.cluster.local.", 1),
        ("10.96.0.2:15012", "10.96.0.2", 15012),
        ("[fd00::2]:15012", "fd00::2", 15012),
    ] {
        let address = read(&[("WEFT_CONTROL_PLANE", written)]).unwrap().control_plane.address;
        assert_eq!((address.host.as_ref(), address.port), (host, port));
        assert_eq!(address.to_string(), written);
    }
}

#[test]
fn probes_are_read_as_injection_writes_them() {
    let written = r#"{"token": "t", "probes": {
        "web/liveness": {"port": 8080, "httpGet": {"path": "live?x", "port": "http", "httpHeaders": [{"name": "Host", "value": "a"}]}},
        "web/readiness": {"port": 8443, "timeoutSeconds": 3, "httpGet": {"scheme": "HTTPS", "port": 8443}},
        "db/startup": {"port": 5432, "tcpSocket": {"port": 5432}},
        "api/startup": {"port": 9090, "grpc": {"port": 9090, "service": null}}}}"#;
    let probes = read(&[("WEFT_PROBES", written)]).unwrap().admin.probes;
    let question = |name: &str| format!("{:?}", probes.by_name[name].question);
    assert_eq!(question("web/liveness"), r#"Http { secure: false, path: /live?x, headers: [("host", "a")] }"#);
    assert_eq!(question("web/readiness"), "Http { secure: true, path: /, headers: [] }");
    assert_eq!((question("db/startup"), question("api/startup")), ("Tcp".into(), r#"Grpc { service: "" }"#.into()));
    assert_eq!(probes.by_name["web/liveness"].timeout, Duration::from_secs(1));
    assert_eq!(probes.by_name["web/readiness"].timeout, Duration::from_secs(3));
}

#[test]
fn values_are_read_as_documented() {
    let config = read(&[
        ("WEFT_TRUST_DOMAIN", "example.org"),
        ("WEFT_SERVICE_ACCOUNT", "api"),
        ("WEFT_WORKLOAD", "api-v1"),
        ("WEFT_POD_IPS", "10.1.0.7, fd00::7"),
        ("WEFT_WORKERS", "3"),
        ("WEFT_SOCKET_MARK", "0x539"),
        ("WEFT_UNKNOWN_DESTINATION", "refuse"),
        ("WEFT_DETECT_TIMEOUT", "250ms"),
        ("WEFT_ACCESS_LOG", "errors"),
        ("WEFT_LOG_FORMAT", "json"),
        ("WEFT_MESH_PORT", "25008"),
        ("WEFT_DRAIN_GRACE", ""),
    ])
    .unwrap();
    assert_eq!(config.identity.spiffe_id.as_str(), "spiffe://example.org/ns/shop/sa/api");
    assert_eq!(config.identity.addresses.len(), 2);
    assert_eq!((config.workers.get(), config.socket_mark), (3, Some(1337)));
    assert_eq!(config.outbound.unknown_destination, UnknownDestination::Refuse);
    assert_eq!(config.inbound.detect_timeout, Duration::from_millis(250));
    assert_eq!(config.telemetry.access_log, AccessLog::Errors);
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(config.inbound.mesh_port, 25008);
    assert_eq!(config.drain.grace, Duration::from_secs(25), "the empty text counts as not set");
}

#[test]
fn traces_follow_opentelemetrys_own_variables() {
    let traces = |changes: &[(&str, &str)]| {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        read(&[&[endpoint], changes].concat()).unwrap().telemetry.traces.unwrap()
    };
    let plain = traces(&[("WEFT_WORKLOAD", "api-v1")]);
    assert_eq!(plain.service_name, "api-v1");
    assert_eq!(plain.sampler, Sampler { parent_based: true, ratio: 1.0 });
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=named,k8s.cluster.name=a%2Cb");
    let named = traces(&[attributes]);
    assert_eq!(named.service_name, "named");
    assert_eq!(named.resource_attributes, [("k8s.cluster.name".to_owned(), "a,b".to_owned())]);
    assert_eq!(traces(&[attributes, ("OTEL_SERVICE_NAME", "first")]).service_name, "first");
    let sampled = traces(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")]);
    assert_eq!(sampled.sampler, Sampler { parent_based: false, ratio: 0.25 });
}
