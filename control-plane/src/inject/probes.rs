//! Probes and hooks that the kubelet makes over the network, from the node, without a certificate: the proxy makes them
//! in its place, inside the pod.
//!
//! ```text
//! before: kubelet ── GET /healthz ──────────────────────────> application:8080
//! after:  kubelet ── GET /probe/web/liveness, its token ──> proxy:15020 ── GET /healthz ──> application:8080
//! ```
//!
//! So the application's port can stay closed to all that is outside the mesh, and a TCP probe does not find the proxy
//! listening in the application's place. What a probe asks for is fixed here: nothing else can be reached through it, and
//! only who may read the pod's spec knows the token.

use serde_json::{Map, Value, json};
use weft_api::ports;

use super::options::Options;
use super::{INIT_CONTAINER, PROXY_CONTAINER, pod};

/// The header with the token.
pub(super) const TOKEN_HEADER: &str = "weft-probe-token";

/// Where a container has handlers, and what they are called in the path of a probe.
pub(super) const HANDLERS: [(&[&str], &str); 5] = [
    (&["startupProbe"], "startup"),
    (&["livenessProbe"], "liveness"),
    (&["readinessProbe"], "readiness"),
    (&["lifecycle", "postStart"], "post-start"),
    (&["lifecycle", "preStop"], "pre-stop"),
];
/// The ways of asking that go over the network.
const METHODS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

/// Sends the kubelet to the proxy. Returns what the proxy is told, `WEFT_PROBES`; `None`: there is nothing for it to do.
pub(super) fn redirect(
    injected: &mut Value,
    options: &Options,
    token: &str,
    warnings: &mut Vec<String>,
) -> Option<String> {
    let mut probes = Map::new();
    for list in pod::LISTS {
        for container in pod::containers_mut(injected, list).iter_mut() {
            let name = pod::name(container).to_owned();
            if pod::is_long_running(list, container) && name != INIT_CONTAINER && name != PROXY_CONTAINER {
                redirect_all(container, &name, options, token, &mut probes, warnings);
            }
        }
    }
    (!probes.is_empty()).then(|| json!({"token": token, "probes": probes}).to_string())
}

fn redirect_all(
    container: &mut Value,
    name: &str,
    options: &Options,
    token: &str,
    probes: &mut Map<String, Value>,
    warnings: &mut Vec<String>,
) {
    let container_ports = container.get("ports").cloned().unwrap_or_default();
    for (path, kind) in HANDLERS {
        let handler = path.iter().try_fold(&mut *container, |value, key| value.get_mut(*key));
        let Some(handler) = handler.and_then(Value::as_object_mut) else { continue };
        let Some(method) = METHODS.into_iter().find(|method| handler.contains_key(*method)) else { continue };
        let asked = handler.get(method).cloned().unwrap_or_default();
        let written = asked.get("port").cloned().unwrap_or_default();
        // A probe of another host never came to the pod.
        if pod::text(&asked, &["host"]).is_some() {
            continue;
        }
        let Some(port) = number(&written, &container_ports) else {
            warnings.push(format!("container {name} has no port {written}, which its {kind} probe asks for"));
            continue;
        };
        if options.skip_inbound_ports.contains(&port) {
            continue;
        }
        let mut probe = json!({method: asked, "port": port});
        if let Some(seconds) = handler.get("timeoutSeconds") {
            pod::whole(&mut probe).insert("timeoutSeconds".to_owned(), seconds.clone());
        }
        let at = format!("{name}/{kind}");
        handler.remove(method);
        handler.insert(
            "httpGet".to_owned(),
            json!({
                "httpHeaders": [{"name": TOKEN_HEADER, "value": token}],
                "path": format!("/probe/{at}"),
                "port": ports::PROXY_METRICS,
                "scheme": "HTTP",
            }),
        );
        probes.insert(at, probe);
    }
}

/// A port's number: written as such, or the name of one of the container's.
fn number(written: &Value, container_ports: &Value) -> Option<u16> {
    let as_port = |number: u64| u16::try_from(number).ok().filter(|port| *port != 0);
    let text = match written {
        Value::Number(number) => return number.as_u64().and_then(as_port),
        Value::String(text) => text,
        _ => return None,
    };
    let named = container_ports.as_array()?.iter().find(|port| pod::name(port) == text);
    match named {
        Some(port) => port.get("containerPort")?.as_u64().and_then(as_port),
        None => text.parse().ok().and_then(as_port),
    }
}

/// Puts the handlers back, from what the proxy was told.
pub(super) fn restore(injected: &mut Value, told: &str) {
    let Ok(told) = serde_json::from_str::<Value>(told) else { return };
    for list in pod::LISTS {
        for container in pod::containers_mut(injected, list) {
            let name = pod::name(container).to_owned();
            for (path, kind) in HANDLERS {
                let probe = told.get("probes").and_then(|probes| probes.get(format!("{name}/{kind}")));
                let handler = path.iter().try_fold(&mut *container, |value, key| value.get_mut(*key));
                let (Some(probe), Some(handler)) = (probe, handler.and_then(Value::as_object_mut)) else { continue };
                handler.remove("httpGet");
                let method = METHODS.into_iter().find_map(|method| Some((method, probe.get(method)?)));
                if let Some((method, asked)) = method {
                    handler.insert(method.to_owned(), asked.clone());
                }
            }
        }
    }
}
