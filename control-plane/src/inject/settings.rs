//! What injection needs to know of the mesh, the cluster and the namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use weft_api::ports;
use weft_certs::spiffe::TrustDomain;

/// The namespace of the control plane, unless told otherwise.
const SYSTEM_NAMESPACE: &str = "weft-system";

/// The same for all pods of the mesh.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image that has `weft-proxy`.
    pub image: String,
    /// When nodes pull it; `None`: Kubernetes' own default.
    pub pull_policy: Option<PullPolicy>,
    /// `HOST:PORT` of the control plane, as a pod resolves it.
    pub control_plane: String,
    /// The trust domain of all identities.
    pub trust_domain: TrustDomain,
    /// The namespace of the control plane: never injected.
    pub system_namespace: String,
    /// Whether a pod gets a sidecar that neither it nor its namespace asks for. `weft inject` sets it.
    pub unless_opted_out: bool,
    /// Values of the options, by their names without `weft.dev/`, for pods and namespaces that set none.
    pub defaults: BTreeMap<String, String>,
    /// Where spans go, an `http` URL.
    pub otlp_endpoint: Option<String>,
    /// What the cluster can do.
    pub cluster: Cluster,
}

impl Settings {
    /// The settings of a mesh about which nothing is known but its image.
    pub fn new(image: impl Into<String>, trust_domain: TrustDomain) -> Self {
        Self {
            image: image.into(),
            pull_policy: None,
            control_plane: Self::control_plane_in(SYSTEM_NAMESPACE),
            trust_domain,
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            unless_opted_out: false,
            defaults: BTreeMap::new(),
            otlp_endpoint: None,
            cluster: Cluster::CURRENT,
        }
    }

    /// Where a control plane in this namespace is found.
    pub fn control_plane_in(namespace: &str) -> String {
        format!("weft-control.{namespace}.svc:{}", ports::CONTROL_XDS)
    }
}

/// What the cluster can do, by its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Init containers that stay: Kubernetes 1.29.
    pub native_sidecars: bool,
    /// `preStop.sleep`: Kubernetes 1.30.
    pub sleep_action: bool,
}

impl Cluster {
    /// Any version that is still maintained.
    pub const CURRENT: Self = Self { native_sidecars: true, sleep_action: true };

    /// By the API server's version, whose minor part may end in `+`.
    pub fn of_version(major: &str, minor: &str) -> Self {
        let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
        let at_least = |least| match (number(major), number(minor)) {
            (Some(1), Some(minor)) => minor >= least,
            // Later than Kubernetes 1, or not to be understood: as current ones are.
            _ => true,
        };
        Self { native_sidecars: at_least(29), sleep_action: at_least(30) }
    }
}

/// When nodes pull the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Where the node has none.
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        })
    }
}

impl FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Always, Self::IfNotPresent, Self::Never]
            .into_iter()
            .find(|policy| policy.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not one of Always, IfNotPresent, Never"))
    }
}

/// The namespace of a pod, as far as injection goes by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels; those of Weft are enough.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; those of Weft are enough.
    pub annotations: BTreeMap<String, String>,
}

impl Namespace {
    /// A namespace of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}
