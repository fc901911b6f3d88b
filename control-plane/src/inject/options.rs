//! What can be set per pod, namespace and mesh: checked, all that is wrong reported together.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use weft_api::ports;

use super::settings::{Namespace, Settings};
use super::{PREFIX, PROXY_USER, pod};
use crate::mesh::Mtls;

mod parse;

/// The annotations that are no options.
const OTHERS: [&str; 4] = ["inject", "status", "proxy-version", "undo"];
/// All options, by their names without `weft.dev/`.
const NAMES: [&str; 21] = [
    "access-log",
    "drain-grace",
    "hold-until-ready",
    "iptables-legacy",
    "log-format",
    "log-level",
    "mtls",
    "opaque-ports",
    "pre-stop-sleep",
    "proxy-cpu",
    "proxy-cpu-limit",
    "proxy-image",
    "proxy-memory",
    "proxy-memory-limit",
    "rewrite-probes",
    "sidecar",
    "skip-inbound-cidrs",
    "skip-inbound-ports",
    "skip-outbound-cidrs",
    "skip-outbound-ports",
    "trace-sampling",
];
/// The ports of the proxy itself.
const OWN_PORTS: [u16; 5] = [ports::PROXY_ADMIN, ports::OUTBOUND, ports::INBOUND, ports::MESH, ports::PROXY_METRICS];

const OF_POD: &str = "the pod's annotation";
const OF_NAMESPACE: &str = "the namespace's annotation";
const OF_MESH: &str = "the mesh's default";

/// The options in force for a pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// Whether the sidecar is an init container that stays.
    pub(super) native: bool,
    pub(super) image: Option<String>,
    pub(super) resources: Resources,
    pub(super) log_level: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) access_log: Option<String>,
    pub(super) trace_sampling: Option<String>,
    pub(super) skip_outbound_ports: Vec<u16>,
    pub(super) skip_inbound_ports: Vec<u16>,
    pub(super) skip_outbound_cidrs: Vec<String>,
    pub(super) skip_inbound_cidrs: Vec<String>,
    /// Whether the rules may be installed by iptables-legacy, which needs a capability more.
    pub(super) iptables_legacy: bool,
    /// Whether the application's containers start only when the proxy is ready.
    pub(super) hold_until_ready: bool,
    /// How long containers wait before they end, so that everybody learns that they will; whole seconds.
    pub(super) pre_stop_sleep: Duration,
    pub(super) drain_grace: Option<Duration>,
    pub(super) rewrite_probes: bool,
    /// Annotations of the namespace that others read from the pod: they are written there.
    pub(super) inherited: Vec<(String, String)>,
}

/// What the proxy may use; quantities as Kubernetes writes them. A limit of `None` is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) cpu_limit: Option<String>,
    pub(super) memory_limit: Option<String>,
}

/// A label, an annotation or a default that has a wrong value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFault {
    place: &'static str,
    name: String,
    value: String,
    problem: String,
}

impl OptionFault {
    /// `problem` goes on where the quoted value ends.
    pub(super) fn new(place: &'static str, name: &str, value: &str, problem: impl Into<String>) -> Self {
        Self { place, name: name.to_owned(), value: value.to_owned(), problem: problem.into() }
    }
}

impl fmt::Display for OptionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {:?} {}", self.place, self.name, self.value, self.problem)
    }
}

/// All that is wrong with the labels and annotations of a pod and its namespace, and with the mesh's defaults. Never
/// empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct OptionFaults(Vec<OptionFault>);

impl From<OptionFault> for OptionFaults {
    fn from(fault: OptionFault) -> Self {
        Self(vec![fault])
    }
}

/// Checks a mesh's defaults, by the options' names without `weft.dev/`.
///
/// # Errors
/// With each option that there is none of, or that has a wrong value, and what is allowed.
pub fn check_options(defaults: &BTreeMap<String, String>) -> Result<(), OptionFaults> {
    let mut reader = Reader { pod: &Value::Null, namespace: &BTreeMap::new(), defaults, faults: Vec::new() };
    for (name, value) in defaults.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())) {
        let problem = format!("is for no option; the options are {}", NAMES.join(", "));
        reader.faults.push(OptionFault::new(OF_MESH, name, value, problem));
    }
    // Whether the cluster can do it is known only when a pod comes.
    reader.options(true);
    reader.finish(())
}

impl Options {
    /// The options of a pod: its own annotations, then its namespace's, then the mesh's defaults.
    ///
    /// # Errors
    /// With all that have a wrong value.
    pub(super) fn read(pod: &Value, namespace: &Namespace, settings: &Settings) -> Result<Self, OptionFaults> {
        let (namespace, defaults) = (&namespace.annotations, &settings.defaults);
        let mut reader = Reader { pod, namespace, defaults, faults: Vec::new() };
        let options = reader.options(settings.cluster.native_sidecars);
        reader.finish(options)
    }

    /// What will not work as the pod's author may think.
    pub(super) fn warnings(&self, pod: &Value, settings: &Settings) -> Vec<String> {
        let mut warnings = unknown_annotations(pod);
        warnings.extend(foreign_dns(pod, settings));
        let user_of = |object: &Value| pod::at(object, &["securityContext", "runAsUser"]).and_then(Value::as_u64);
        let of_pod = pod.get("spec").and_then(user_of);
        for container in pod::long_running(pod) {
            let name = pod::name(container);
            if user_of(container).or(of_pod) == Some(PROXY_USER.into()) {
                warnings.push(format!(
                    "container {name} runs as user {PROXY_USER}, the proxy's own: its connections stay outside the mesh"
                ));
            }
            if let Some(port) = ports_of(container).find(|port| OWN_PORTS.contains(port)) {
                warnings.push(format!("container {name} has port {port}, which the proxy listens on"));
            }
        }
        let ends = pod::text(pod, &["spec", "restartPolicy"]).is_some_and(|policy| policy != "Always");
        if ends && !self.native {
            warnings.push(format!(
                "with sidecar: classic the proxy keeps this pod from ending: let its last step POST to \
                 http://localhost:{}/drain",
                ports::PROXY_ADMIN
            ));
        }
        warnings
    }
}

/// The control plane's name is one of the cluster's DNS.
fn foreign_dns(pod: &Value, settings: &Settings) -> Option<String> {
    let policy = pod::text(pod, &["spec", "dnsPolicy"]).filter(|policy| !policy.starts_with("ClusterFirst"))?;
    let is_address = settings.control_plane.parse::<std::net::SocketAddr>().is_ok();
    (!is_address).then(|| {
        format!(
            "dnsPolicy {policy}: the pod's DNS must know {}, or the proxy gets no certificate",
            settings.control_plane
        )
    })
}

fn unknown_annotations(pod: &Value) -> Vec<String> {
    let annotations = pod::at(pod, &["metadata", "annotations"]).and_then(Value::as_object);
    let names = annotations.into_iter().flat_map(|map| map.keys()).filter_map(|key| key.strip_prefix(PREFIX));
    names
        .filter(|name| !NAMES.contains(name) && !OTHERS.contains(name))
        .map(|name| format!("annotation {PREFIX}{name} means nothing to Weft: see docs/reference/injection.md"))
        .collect()
}

fn ports_of(container: &Value) -> impl Iterator<Item = u16> {
    let ports = container.get("ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    ports.iter().filter_map(|port| u16::try_from(port.get("containerPort")?.as_u64()?).ok())
}

/// Reads single options, and collects what is wrong with them.
struct Reader<'a> {
    pod: &'a Value,
    namespace: &'a BTreeMap<String, String>,
    defaults: &'a BTreeMap<String, String>,
    faults: Vec<OptionFault>,
}

impl Reader<'_> {
    fn options(&mut self, native_sidecars: bool) -> Options {
        // The registry reads these two from the pod itself; here a wrong value can still be refused.
        self.optional("mtls", |text| text.parse::<Mtls>().map_err(|_| "is not one of strict, permissive".to_owned()));
        self.optional("opaque-ports", parse::ports);
        let inherited = ["mtls", "opaque-ports"].into_iter().filter_map(|name| self.inherited(name)).collect();
        let sidecar = self.optional("sidecar", |text| parse::sidecar(text, native_sidecars));
        Options {
            native: sidecar.unwrap_or(native_sidecars),
            image: self.optional("proxy-image", parse::image),
            resources: self.resources(),
            log_level: self.optional("log-level", parse::log_level),
            log_format: self.optional("log-format", |text| parse::one_of(text, &["text", "json"])),
            access_log: self.optional("access-log", |text| parse::one_of(text, &["off", "errors", "all"])),
            trace_sampling: self.optional("trace-sampling", parse::share),
            skip_outbound_ports: self.optional("skip-outbound-ports", parse::ports).unwrap_or_default(),
            skip_inbound_ports: self.optional("skip-inbound-ports", parse::ports).unwrap_or_default(),
            skip_outbound_cidrs: self.optional("skip-outbound-cidrs", parse::networks).unwrap_or_default(),
            skip_inbound_cidrs: self.optional("skip-inbound-cidrs", parse::networks).unwrap_or_default(),
            iptables_legacy: self.optional("iptables-legacy", parse::boolean).unwrap_or(false),
            hold_until_ready: self.optional("hold-until-ready", parse::boolean).unwrap_or(true),
            pre_stop_sleep: self.optional("pre-stop-sleep", parse::whole_seconds).unwrap_or(Duration::from_secs(5)),
            drain_grace: self.optional("drain-grace", parse::duration),
            rewrite_probes: self.optional("rewrite-probes", parse::boolean).unwrap_or(true),
            inherited,
        }
    }

    /// What the pod has from its namespace or the mesh.
    fn inherited(&self, name: &str) -> Option<(String, String)> {
        let key = format!("{PREFIX}{name}");
        match pod::at(self.pod, &["metadata", "annotations", &key]) {
            Some(_) => None,
            None => self.namespace.get(&key).or(self.defaults.get(name)).map(|value| (key, value.trim().to_owned())),
        }
    }

    /// Room for two busy cores and some thousand connections; a proxy at rest uses a small part of it.
    fn resources(&mut self) -> Resources {
        let limit = |value: &str| Some(value.to_owned());
        Resources {
            cpu: self.optional("proxy-cpu", parse::quantity).unwrap_or_else(|| "50m".to_owned()),
            memory: self.optional("proxy-memory", parse::quantity).unwrap_or_else(|| "32Mi".to_owned()),
            cpu_limit: self.optional("proxy-cpu-limit", parse::limit).unwrap_or_else(|| limit("2")),
            memory_limit: self.optional("proxy-memory-limit", parse::limit).unwrap_or_else(|| limit("256Mi")),
        }
    }

    fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let key = format!("{PREFIX}{name}");
        let of_pod = pod::at(self.pod, &["metadata", "annotations", &key]).and_then(Value::as_str);
        let of_namespace = self.namespace.get(&key).map(String::as_str);
        let (place, value) = match (of_pod, of_namespace, self.defaults.get(name)) {
            (Some(value), _, _) => (OF_POD, value),
            (None, Some(value), _) => (OF_NAMESPACE, value),
            (None, None, Some(value)) => (OF_MESH, value.as_str()),
            (None, None, None) => return None,
        };
        match parse(value.trim()) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.faults.push(OptionFault::new(place, &key, value, problem));
                None
            }
        }
    }

    fn finish<T>(self, value: T) -> Result<T, OptionFaults> {
        if self.faults.is_empty() { Ok(value) } else { Err(OptionFaults(self.faults)) }
    }
}
