//! Why a pod stays without a sidecar.

use std::fmt;

use serde_json::Value;

use super::options::{OptionFault, OptionFaults};
use super::settings::{Namespace, Settings};
use super::{INJECT, PROXY_CONTAINER, pod};

/// Kubernetes' own namespaces: a sidecar there could keep the cluster from starting.
const OF_KUBERNETES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Why a pod stays without a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Neither the pod nor its namespace asks for one.
    NotAsked,
    /// The pod or its namespace asks for none.
    OptedOut,
    /// It has one.
    AlreadyInjected,
    /// It shares the node's network.
    HostNetwork,
    /// It runs on Windows.
    Windows,
    /// It belongs to Kubernetes or to Weft.
    SystemNamespace,
}

impl Reason {
    /// The reason to leave a pod alone, if there is one.
    ///
    /// # Errors
    /// Where `weft.dev/inject` has another value than the allowed ones.
    pub(super) fn of(pod: &Value, namespace: &Namespace, settings: &Settings) -> Result<Option<Self>, OptionFaults> {
        let of_system = OF_KUBERNETES.contains(&namespace.name.as_str()) || namespace.name == settings.system_namespace;
        let asked = asked(pod, namespace)?;
        Ok(match asked {
            _ if of_system => Some(Self::SystemNamespace),
            _ if has_proxy(pod) => Some(Self::AlreadyInjected),
            Some(false) => Some(Self::OptedOut),
            None if !settings.unless_opted_out => Some(Self::NotAsked),
            _ if pod::at(pod, &["spec", "hostNetwork"]) == Some(&Value::Bool(true)) => Some(Self::HostNetwork),
            _ if is_windows(pod) => Some(Self::Windows),
            _ => None,
        })
    }

    /// Whether somebody asked for a sidecar and can't have one: worth an event.
    pub fn is_surprising(self) -> bool {
        matches!(self, Self::HostNetwork | Self::Windows)
    }

    /// The reason in one word, as events have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotAsked => "NotAsked",
            Self::OptedOut => "OptedOut",
            Self::AlreadyInjected => "AlreadyInjected",
            Self::HostNetwork => "HostNetwork",
            Self::Windows => "Windows",
            Self::SystemNamespace => "SystemNamespace",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "neither the pod nor its namespace has weft.dev/inject: enabled",
            Self::OptedOut => "weft.dev/inject: disabled",
            Self::AlreadyInjected => "it has a sidecar",
            Self::HostNetwork => "it is on the host network, where redirect rules would be the whole node's",
            Self::Windows => "it is for Windows nodes, which the proxy does not run on",
            Self::SystemNamespace => "its namespace belongs to Kubernetes or to Weft itself",
        })
    }
}

/// Whether a sidecar is asked for: the pod's label, then its annotation, then the namespace's label.
fn asked(pod: &Value, namespace: &Namespace) -> Result<Option<bool>, OptionFaults> {
    let of_pod = |place| pod::at(pod, &["metadata", place, INJECT]).map(|value| value.as_str().unwrap_or_default());
    let found = [
        ("the pod's label", of_pod("labels")),
        ("the pod's annotation", of_pod("annotations")),
        ("the namespace's label", namespace.labels.get(INJECT).map(String::as_str)),
    ];
    let Some((place, value)) = found.into_iter().find_map(|(place, value)| Some((place, value?))) else {
        return Ok(None);
    };
    match value {
        "enabled" => Ok(Some(true)),
        "disabled" => Ok(Some(false)),
        _ => Err(OptionFault::new(place, INJECT, value, "is not one of enabled, disabled").into()),
    }
}

fn has_proxy(pod: &Value) -> bool {
    pod::LISTS.iter().any(|list| pod::containers(pod, list).iter().any(|one| pod::name(one) == PROXY_CONTAINER))
}

fn is_windows(pod: &Value) -> bool {
    let selected = ["kubernetes.io/os", "beta.kubernetes.io/os"];
    pod::text(pod, &["spec", "os", "name"]) == Some("windows")
        || selected.iter().any(|label| pod::text(pod, &["spec", "nodeSelector", label]) == Some("windows"))
}
