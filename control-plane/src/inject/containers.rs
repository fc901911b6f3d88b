//! The two containers and two volumes that injection adds.

use serde_json::{Map, Value, json};
use weft_api::ports;

use super::options::{Options, Resources};
use super::settings::Settings;
use super::{INIT_CONTAINER, PROXY_CONTAINER, PROXY_USER, Subject, pod, workload};

/// The program, where the image has it.
const PROGRAM: &str = "/usr/local/bin/weft-proxy";
/// The volume with the service account's token.
pub(super) const TOKEN_VOLUME: &str = "weft-token";
/// The volume with the roots of trust.
pub(super) const TRUST_VOLUME: &str = "weft-trust";
const TOKEN_FOLDER: &str = "/var/run/secrets/weft/token";
const TRUST_FOLDER: &str = "/var/run/secrets/weft/trust";
/// The ConfigMap with the roots of trust, in every namespace.
const TRUST_CONFIG_MAP: &str = "weft-trust-bundle";
/// Whom the token is for: the control plane refuses others.
const TOKEN_AUDIENCE: &str = "weft";
/// The kubelet renews the token at 80 % of this.
const TOKEN_SECONDS: u32 = 3600;
/// How often, and how many times, the kubelet looks whether the proxy is ready. Certificates that don't come are the
/// proxy's to explain in its log; a restart would only hide it.
const STARTUP_PERIOD_SECONDS: u32 = 1;
const STARTUP_FAILURES: u32 = 300;
/// Where iptables-legacy can lock, with a read-only root file system: the pod's shared memory is always writable.
const IPTABLES_LOCK: &str = "/dev/shm/weft-init.lock";
/// Worker threads where no CPU limit says how many.
const WORKERS_WITHOUT_LIMIT: u8 = 2;
/// How long a container waits for the proxy beside it where the kubelet can't.
const WAIT: &str = "120s";
/// What `kubectl logs` and `exec` go to.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What the containers are made of.
pub(super) struct Parts<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) options: &'a Options,
    pub(super) settings: &'a Settings,
    /// `WEFT_PROBES`, if there is a probe for the proxy to make.
    pub(super) probes: Option<String>,
}

/// Adds containers and volumes.
///
/// A native sidecar comes before the application's init containers, which so have their network through it. A classic
/// one runs only after them all, and so does what redirects to it.
pub(super) fn add(injected: &mut Value, parts: &Parts<'_>, undo: &mut Map<String, Value>) {
    let (init, proxy) = (parts.init(), parts.proxy());
    let first = pod::containers(injected, "containers").first().map(pod::name).unwrap_or_default().to_owned();
    let spec = pod::object(pod::whole(injected), "spec");
    let before = pod::list(spec, "initContainers");
    if parts.options.native {
        before.splice(0..0, [init, proxy]);
    } else {
        before.push(init);
        pod::list(spec, "containers").insert(0, proxy);
    }
    pod::list(spec, "volumes").extend(volumes());

    let annotations = pod::object(pod::object(pod::whole(injected), "metadata"), "annotations");
    if !parts.options.native && !annotations.contains_key(DEFAULT_CONTAINER) {
        annotations.insert(DEFAULT_CONTAINER.to_owned(), Value::String(first));
        pod::list(undo, "annotations").push(json!(DEFAULT_CONTAINER));
    }
    for (key, value) in &parts.options.inherited {
        annotations.insert(key.clone(), json!(value));
        pod::list(undo, "annotations").push(json!(key));
    }
}

impl Parts<'_> {
    fn init(&self) -> Value {
        let mut args = vec!["intercept".to_owned(), format!("--proxy-uid={PROXY_USER}")];
        let options = self.options;
        let ports = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let skipped = [
            ("skip-outbound-ports", ports(&options.skip_outbound_ports)),
            ("skip-inbound-ports", ports(&options.skip_inbound_ports)),
            ("skip-outbound-cidrs", options.skip_outbound_cidrs.join(",")),
            ("skip-inbound-cidrs", options.skip_inbound_cidrs.join(",")),
        ];
        args.extend(
            skipped.into_iter().filter(|(_, list)| !list.is_empty()).map(|(flag, list)| format!("--{flag}={list}")),
        );
        let mut container = self.container(INIT_CONTAINER, json!(args));
        let mut capabilities = vec!["NET_ADMIN"];
        if options.iptables_legacy {
            capabilities.push("NET_RAW");
            // It takes a lock, which is a file, and the root file system is read-only.
            container.insert("env".to_owned(), json!([{"name": "XTABLES_LOCKFILE", "value": IPTABLES_LOCK}]));
        }
        // Root, since Kubernetes gives capabilities to no other user; and nothing of it but what the rules need.
        container.insert(
            "securityContext".to_owned(),
            json!({
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": capabilities, "drop": ["ALL"]},
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "runAsUser": 0,
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
        );
        Value::Object(container)
    }

    fn proxy(&self) -> Value {
        let mut container = self.container(PROXY_CONTAINER, json!(["run"]));
        let mut put = |key: &str, value: Value| container.insert(key.to_owned(), value);
        put("env", Value::Array(self.environment()));
        put("ports", json!([{"containerPort": ports::PROXY_METRICS, "name": "weft-metrics", "protocol": "TCP"}]));
        // The `restricted` profile.
        put(
            "securityContext",
            json!({
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": PROXY_USER,
                "runAsNonRoot": true,
                "runAsUser": PROXY_USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
        );
        put(
            "volumeMounts",
            json!([
                {"mountPath": TOKEN_FOLDER, "name": TOKEN_VOLUME, "readOnly": true},
                {"mountPath": TRUST_FOLDER, "name": TRUST_VOLUME, "readOnly": true},
            ]),
        );
        let ready = json!({"path": "/readyz", "port": ports::PROXY_METRICS});
        let hold = self.options.hold_until_ready;
        if self.options.native {
            put("restartPolicy", json!("Always"));
        } else {
            let mut lifecycle = json!({"preStop": {"exec": {"command": self.linger()}}});
            if hold {
                let command = [PROGRAM, "wait", &format!("--timeout={WAIT}")];
                pod::whole(&mut lifecycle).insert("postStart".to_owned(), json!({"exec": {"command": command}}));
            }
            put("lifecycle", lifecycle);
        }
        if hold && self.options.native {
            // `/readyz` stays 200 from then on until the proxy ends, so nothing has to look again.
            put(
                "startupProbe",
                json!({
                    "failureThreshold": STARTUP_FAILURES,
                    "httpGet": ready,
                    "periodSeconds": STARTUP_PERIOD_SECONDS,
                }),
            );
        } else {
            put("readinessProbe", json!({"httpGet": ready, "periodSeconds": 2}));
        }
        Value::Object(container)
    }

    /// Both end at once in a classic pod: the proxy has to be the one that stays.
    fn linger(&self) -> [String; 3] {
        let least = humantime::format_duration(self.options.pre_stop_sleep);
        [PROGRAM.to_owned(), "linger".to_owned(), format!("--at-least={least}")]
    }

    fn container(&self, name: &str, args: Value) -> Map<String, Value> {
        let image = self.options.image.as_ref().unwrap_or(&self.settings.image);
        let mut container = Map::new();
        let mut put = |key: &str, value: Value| container.insert(key.to_owned(), value);
        put("name", json!(name));
        put("image", json!(image));
        if let Some(policy) = self.settings.pull_policy {
            put("imagePullPolicy", json!(policy.to_string()));
        }
        put("command", json!([PROGRAM]));
        put("args", args);
        put("resources", resources(&self.options.resources));
        put("terminationMessagePolicy", json!("FallbackToLogsOnError"));
        container
    }

    fn environment(&self) -> Vec<Value> {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let mut environment = vec![
            field("WEFT_POD_NAME", "metadata.name"),
            field("WEFT_POD_NAMESPACE", "metadata.namespace"),
            field("WEFT_POD_IPS", "status.podIPs"),
            field("WEFT_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        ];
        let options = self.options;
        let workload = workload::name(self.subject.pod, self.subject.owner).map(str::to_owned);
        let sampler = options.trace_sampling.as_ref().map(|_| "parentbased_traceidratio".to_owned());
        // Without a limit it would be a thread for each core of the node.
        let workers = options.resources.cpu_limit.is_none().then(|| WORKERS_WITHOUT_LIMIT.to_string());
        let drain_grace = options.drain_grace.map(|grace| humantime::format_duration(grace).to_string());
        let values = [
            ("WEFT_WORKLOAD", workload),
            ("WEFT_CONTROL_PLANE", Some(self.settings.control_plane.clone())),
            ("WEFT_TRUST_DOMAIN", Some(self.settings.trust_domain.as_str().to_owned())),
            ("WEFT_TOKEN_FILE", Some(format!("{TOKEN_FOLDER}/token"))),
            ("WEFT_TRUST_BUNDLE", Some(format!("{TRUST_FOLDER}/trust-bundle.pem"))),
            ("WEFT_WORKERS", workers),
            ("WEFT_LOG", options.log_level.clone()),
            ("WEFT_LOG_FORMAT", options.log_format.clone()),
            ("WEFT_ACCESS_LOG", options.access_log.clone()),
            ("WEFT_DRAIN_GRACE", drain_grace),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.settings.otlp_endpoint.clone()),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", options.trace_sampling.clone()),
            ("WEFT_PROBES", self.probes.clone()),
        ];
        let values = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        environment.extend(values.map(|(name, value)| json!({"name": name, "value": unexpanded(&value)})));
        environment
    }
}

/// Kubernetes replaces `$(NAME)` in values by what the variable has; `$$` is a `$`.
fn unexpanded(value: &str) -> String {
    value.replace("$(", "$$(")
}

/// What a value is to the container, where it names no variable.
pub(super) fn expanded(value: &str) -> String {
    value.replace("$$(", "$(")
}

fn resources(resources: &Resources) -> Value {
    let mut limits = Map::new();
    for (name, limit) in [("cpu", &resources.cpu_limit), ("memory", &resources.memory_limit)] {
        if let Some(limit) = limit {
            limits.insert(name.to_owned(), json!(limit));
        }
    }
    let mut all = json!({"requests": {"cpu": resources.cpu, "memory": resources.memory}});
    if !limits.is_empty() {
        pod::whole(&mut all).insert("limits".to_owned(), Value::Object(limits));
    }
    all
}

fn volumes() -> [Value; 2] {
    let token = json!({"serviceAccountToken": {
        "audience": TOKEN_AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
        "path": "token",
    }});
    [
        json!({"name": TOKEN_VOLUME, "projected": {"sources": [token]}}),
        json!({"name": TRUST_VOLUME, "configMap": {"name": TRUST_CONFIG_MAP}}),
    ]
}
