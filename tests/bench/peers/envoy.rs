//! Envoy on both sides: listeners, clusters and certificates in a file, without a control plane.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use weft_cli::world::World;

use super::certificates::Certificates;
use super::{PORT, Pair, Protocol, Side, Traffic, find, redirected, sides};

const TYPES: &str = "type.googleapis.com/envoy.extensions.";
/// More connections and requests than there will be.
const PLENTY: u32 = 100_000;

/// The path of Envoy's program.
pub(super) fn program() -> Result<PathBuf> {
    find("ENVOY", "envoy", "`make bench` installs it")
}

pub(super) async fn start(world: &World, traffic: Traffic) -> Result<Pair> {
    let (web, api, service) = redirected(world, traffic).await?;
    let certificates = Certificates::create(world, [&web, &api])?;
    let mut proxies = Vec::new();
    for side in sides(&web, &api, traffic) {
        let file = world.folder().join(format!("envoy-{}.json", side.pod.name()));
        std::fs::write(&file, bootstrap(&side, traffic.protocol, &certificates).to_string())?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
        proxies.push(side.pod.start_app(&mut command)?);
    }
    Ok(Pair { at: service.address(PORT), web, api, proxies, helpers: Vec::new(), _mesh: None })
}

fn bootstrap(side: &Side<'_>, protocol: Protocol, certificates: &Certificates) -> Value {
    let chain = json!({"filters": [match protocol {
        Protocol::Tcp => typed("filters.network.tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "tcp", "cluster": "far"})),
        Protocol::Http1 | Protocol::Http2 => http_manager(),
    }]});
    let cluster = cluster(side, protocol);
    let (chain, cluster) = match side.calls {
        true => (chain, with(cluster, json!({"transport_socket": client_tls(side, protocol, certificates)}))),
        false => (with(chain, json!({"transport_socket": server_tls(side, protocol, certificates)})), cluster),
    };
    json!({"static_resources": {
        "listeners": [{
            "name": "near",
            "address": address("0.0.0.0", side.door),
            "listener_filters": [typed("filters.listener.original_dst.v3.OriginalDst", json!({}))],
            "filter_chains": [chain],
        }],
        "clusters": [cluster],
    }})
}

/// All requests to the cluster, without time-outs. As in Weft, what callers say of their own certificate is removed, and
/// applications are not told who called: to write that for each request would be work that the others don't have.
fn http_manager() -> Value {
    let manager = json!({
        "stat_prefix": "http",
        "forward_client_cert_details": "SANITIZE",
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "far", "timeout": "0s"}}],
        }]},
        "http_filters": [typed("filters.http.router.v3.Router", json!({}))],
    });
    typed("filters.network.http_connection_manager.v3.HttpConnectionManager", manager)
}

fn cluster(side: &Side<'_>, protocol: Protocol) -> Value {
    let endpoint = address(&side.target.ip().to_string(), side.target.port());
    let plenty = json!({"max_connections": PLENTY, "max_pending_requests": PLENTY, "max_requests": PLENTY});
    let cluster = json!({
        "name": "far",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [plenty]},
        "load_assignment": {
            "cluster_name": "far",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
        },
    });
    let spoken = match protocol {
        Protocol::Http1 => "http_protocol_options",
        Protocol::Http2 => "http2_protocol_options",
        Protocol::Tcp => return cluster,
    };
    let options = json!({
        "@type": format!("{TYPES}upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {spoken: {}},
    });
    let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    with(cluster, json!({"typed_extension_protocol_options": options}))
}

/// Keeps no sessions, so that each handshake is a whole one.
fn client_tls(side: &Side<'_>, protocol: Protocol, certificates: &Certificates) -> Value {
    let context = json!({
        "common_tls_context": common_tls(side, protocol, certificates),
        "max_session_keys": 0,
    });
    typed("transport_sockets.tls.v3.UpstreamTlsContext", context)
}

fn server_tls(side: &Side<'_>, protocol: Protocol, certificates: &Certificates) -> Value {
    let context = json!({
        "common_tls_context": common_tls(side, protocol, certificates),
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
    });
    typed("transport_sockets.tls.v3.DownstreamTlsContext", context)
}

/// TLS 1.3 and X25519 alone; of its suites, Envoy takes AES-128-GCM where the CPU has AES instructions.
fn common_tls(side: &Side<'_>, protocol: Protocol, certificates: &Certificates) -> Value {
    let own = certificates.identity(side.pod);
    let spoken = match protocol {
        Protocol::Http1 => json!(["http/1.1"]),
        Protocol::Http2 => json!(["h2"]),
        Protocol::Tcp => json!([]),
    };
    json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519"],
        },
        "tls_certificates": [{"certificate_chain": {"filename": own}, "private_key": {"filename": own}}],
        "validation_context": {
            "trusted_ca": {"filename": certificates.authority()},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": side.other.identity()}}],
        },
        "alpn_protocols": spoken,
    })
}

fn typed(kind: &str, config: Value) -> Value {
    json!({"name": kind, "typed_config": with(json!({"@type": format!("{TYPES}{kind}")}), config)})
}

/// An object with the fields of another one, too.
fn with(mut object: Value, mut more: Value) -> Value {
    if let (Some(fields), Some(more)) = (object.as_object_mut(), more.as_object_mut()) {
        fields.append(more);
    }
    object
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}
