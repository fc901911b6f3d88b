//! Flags and environment -> a checked [`Config`]; all errors are reported at once.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use weft_api::names::is_dns_label;
use weft_api::ports;
use weft_certs::spiffe::TrustDomain;

use crate::mesh::Mtls;

mod injection;

pub use injection::{InjectionConfig, InjectionFlags};

/// What can be set from outside, as text. Each flag has an environment variable; the flag wins.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Where the mesh's truth comes from: `kubernetes`, the cluster that this is a pod of (or that KUBECONFIG names), or
    /// `files:DIR`, a folder of Kubernetes manifests.
    #[arg(long, env = "WEFT_REGISTRY")]
    pub registry: Option<String>,
    /// Where the control plane keeps its own state: `ca/`, `weft.redb`, `trust-bundle.pem`. Not needed with `kubernetes`,
    /// where it is in the cluster.
    #[arg(long, env = "WEFT_STATE_DIR")]
    pub state_dir: Option<String>,
    /// The namespace that the control plane runs in, of a cluster.
    #[arg(long, env = "WEFT_NAMESPACE", default_value = weft_certs::CONTROL_PLANE_NAMESPACE)]
    pub namespace: String,
    /// The name of the control plane's own pod, of a cluster. By default the machine's name, which is the same.
    #[arg(long, env = "WEFT_POD_NAME")]
    pub pod_name: Option<String>,
    /// The trust domain of all SPIFFE identities.
    #[arg(long, env = "WEFT_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Where proxies connect: discovery and certificates, over TLS.
    #[arg(long, env = "WEFT_XDS_ADDR", default_value_t = format!("0.0.0.0:{}", ports::CONTROL_XDS))]
    pub xds_addr: String,
    /// Metrics, liveness and readiness, over plain HTTP.
    #[arg(long, env = "WEFT_METRICS_ADDR", default_value_t = format!("0.0.0.0:{}", ports::CONTROL_METRICS))]
    pub metrics_addr: String,
    /// The traffic and status API: gRPC and JSON on one port.
    #[arg(long, env = "WEFT_API_ADDR", default_value_t = format!("127.0.0.1:{}", ports::CONTROL_API))]
    pub api_addr: String,
    /// A file with the token that API calls must show; required where the API is not on loopback.
    #[arg(long, env = "WEFT_API_TOKEN_FILE")]
    pub api_token_file: Option<String>,
    /// How long workload certificates are valid.
    #[arg(long, env = "WEFT_CERT_LIFETIME", default_value = "24h")]
    pub cert_lifetime: String,
    /// How often proxies report the load that they send.
    #[arg(long, env = "WEFT_LOAD_REPORT_INTERVAL", default_value = "5s")]
    pub load_report_interval: String,
    /// Inbound policy of pods that set none: `permissive` or `strict`.
    #[arg(long, env = "WEFT_DEFAULT_MTLS", default_value = "permissive")]
    pub default_mtls: String,
    /// What pods are given.
    #[command(flatten)]
    pub injection: InjectionFlags,
    /// What is logged, such as `info` or `info,weft_control::xds=debug`.
    #[arg(long, env = "WEFT_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged: `text` or `json`.
    #[arg(long, env = "WEFT_LOG_FORMAT", default_value = "text")]
    pub log_format: String,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the mesh's truth comes from.
    pub registry: RegistrySource,
    /// Where the control plane keeps its own state; always there with files.
    pub state_dir: Option<PathBuf>,
    /// Who we are in a cluster.
    pub cluster: ClusterConfig,
    /// The trust domain of all SPIFFE identities.
    pub trust_domain: TrustDomain,
    /// Where proxies connect.
    pub xds_address: SocketAddr,
    /// Metrics and health.
    pub metrics_address: SocketAddr,
    /// The traffic and status API.
    pub api: ApiConfig,
    /// How long workload certificates are valid, at least [`MIN_CERT_LIFETIME`].
    pub cert_lifetime: Duration,
    /// How often proxies report their load, within [`LOAD_REPORT_INTERVALS`].
    pub load_report_interval: Duration,
    /// Inbound policy of pods that set none.
    pub default_mtls: Mtls,
    /// What pods are given, in a cluster.
    pub injection: InjectionConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrySource {
    /// A folder of Kubernetes manifests.
    Files(PathBuf),
    /// The cluster that `KUBECONFIG` names, else the one that this process is a pod of.
    Kubernetes,
}

/// Who the control plane is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The namespace that it runs in, an RFC 1123 label.
    pub namespace: Arc<str>,
    /// The name of its own pod, which no other replica has.
    pub pod: Arc<str>,
}

/// The API's address and who may call it.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// The file with the token that callers must show; always there where the address is not loopback.
    pub token_file: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// An `EnvFilter` directive list that parses.
    pub filter: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// Below this, renewal at half-life could not keep up with a slow start.
pub const MIN_CERT_LIFETIME: Duration = Duration::from_secs(5);

/// How often proxies can be asked to report their load: a report must be worth its cost, and come while it matters.
pub const LOAD_REPORT_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(300);

/// Everything that is wrong with the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} error(s)", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl Config {
    /// Checks the flags.
    ///
    /// # Errors
    /// With every flag that is wrong, its value and what it should be.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigErrors> {
        let mut errors = Errors::default();
        let registry = errors.take("WEFT_REGISTRY", registry(flags.registry.as_deref()));
        let state_dir = errors.take("WEFT_STATE_DIR", state_dir(flags.state_dir.as_deref(), registry.as_ref()));
        let namespace = errors.take("WEFT_NAMESPACE", namespace(&flags.namespace));
        let pod = errors.take("WEFT_POD_NAME", pod_name(flags.pod_name.as_deref()));
        let trust_domain =
            errors.take("WEFT_TRUST_DOMAIN", flags.trust_domain.parse().map_err(|error| format!("{error}")));
        let xds_address = errors.take("WEFT_XDS_ADDR", address(&flags.xds_addr));
        let metrics_address = errors.take("WEFT_METRICS_ADDR", address(&flags.metrics_addr));
        let api = errors.take("WEFT_API_ADDR", api(flags));
        let cert_lifetime = errors.take("WEFT_CERT_LIFETIME", lifetime(&flags.cert_lifetime));
        let load_report_interval =
            errors.take("WEFT_LOAD_REPORT_INTERVAL", load_report_interval(&flags.load_report_interval));
        let default_mtls = errors.take("WEFT_DEFAULT_MTLS", default_mtls(&flags.default_mtls));
        let injection = injection::read(&flags.injection, &mut errors);
        let filter = errors.take("WEFT_LOG", log_filter(&flags.log));
        let format = errors.take("WEFT_LOG_FORMAT", log_format(&flags.log_format));
        let config = (|| {
            Some(Self {
                registry: registry?,
                state_dir: state_dir?,
                cluster: ClusterConfig { namespace: namespace?, pod: pod? },
                trust_domain: trust_domain?,
                xds_address: xds_address?,
                metrics_address: metrics_address?,
                api: api?,
                cert_lifetime: cert_lifetime?,
                load_report_interval: load_report_interval?,
                default_mtls: default_mtls?,
                injection: injection?,
                log: LogConfig { filter: filter?, format: format? },
            })
        })();
        config.ok_or(ConfigErrors(errors.0))
    }
}

#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn take<T>(&mut self, name: &str, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|error| self.0.push(format!("{name}: {error}"))).ok()
    }
}

fn registry(text: Option<&str>) -> Result<RegistrySource, String> {
    const EXPECTED: &str = "kubernetes, or files:DIR, a folder of Kubernetes manifests";
    match text.map(|text| (text, text.split_once(':'))) {
        None => Err(format!("is not set; set it to {EXPECTED}")),
        Some(("kubernetes", _)) => Ok(RegistrySource::Kubernetes),
        Some((_, Some(("files", dir)))) if !dir.is_empty() => Ok(RegistrySource::Files(PathBuf::from(dir))),
        Some((text, _)) => Err(format!("{text:?} is not a registry; expected {EXPECTED}")),
    }
}

fn state_dir(text: Option<&str>, registry: Option<&RegistrySource>) -> Result<Option<PathBuf>, String> {
    match text {
        None | Some("") if registry == Some(&RegistrySource::Kubernetes) => Ok(None),
        None | Some("") => Err("is not set; set it to a folder that outlives restarts".to_owned()),
        Some(dir) => Ok(Some(PathBuf::from(dir))),
    }
}

fn namespace(text: &str) -> Result<Arc<str>, String> {
    if is_dns_label(text) {
        Ok(text.into())
    } else {
        Err(format!("{text:?} is not a namespace: 1 to 63 of a-z, 0-9 and inner '-'"))
    }
}

/// Outside of a cluster nobody asks for it.
fn pod_name(text: Option<&str>) -> Result<Arc<str>, String> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.len() <= 253 && text.split('.').all(is_dns_label) => Ok(text.into()),
        Some(text) => Err(format!("{text:?} is not the name of a pod: a-z, 0-9 and inner '-' and '.'")),
        None => {
            let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            Ok(Some(machine.trim()).filter(|name| !name.is_empty()).unwrap_or("weft-control").into())
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address; expected IP:PORT, such as 127.0.0.1:15080 or [::]:15012"))
}

fn api(flags: &Flags) -> Result<ApiConfig, String> {
    let address = address(&flags.api_addr)?;
    let token_file = flags.api_token_file.as_deref().filter(|path| !path.is_empty()).map(PathBuf::from);
    if token_file.is_none() && !address.ip().is_loopback() {
        return Err(format!(
            "{address} is not a loopback address, so whoever reaches it could shift traffic; \
             set WEFT_API_TOKEN_FILE to a file with the token that callers must show, or listen on 127.0.0.1"
        ));
    }
    Ok(ApiConfig { address, token_file })
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a duration ({error}); expected such as 24h or 90m"))?;
    if lifetime < MIN_CERT_LIFETIME {
        return Err(format!("{text:?} is shorter than {}", humantime::format_duration(MIN_CERT_LIFETIME)));
    }
    Ok(lifetime)
}

fn load_report_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a duration ({error}); expected such as 5s or 500ms"))?;
    if !LOAD_REPORT_INTERVALS.contains(&interval) {
        let [least, most] = [LOAD_REPORT_INTERVALS.start(), LOAD_REPORT_INTERVALS.end()]
            .map(|bound| humantime::format_duration(*bound));
        return Err(format!("{text:?} is not between {least} and {most}"));
    }
    Ok(interval)
}

fn default_mtls(text: &str) -> Result<Mtls, String> {
    match text {
        "permissive" => Ok(Mtls::Permissive),
        "strict" => Ok(Mtls::Strict),
        _ => Err(format!("{text:?} is not a policy; expected permissive or strict")),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("{text:?} is not a log filter: {error}"))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is not a log format; expected text or json")),
    }
}

#[cfg(test)]
mod tests;
