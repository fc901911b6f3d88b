//! A pod without a sidecar -> the same pod with one. Pure: JSON in, JSON out (chance is an argument). The webhook and `weft inject` both call it.
//!
//! ```text
//! pod ─> reason (left alone?) ─> options (annotations: the pod's, the namespace's, the mesh's) ─> containers
//!                                                                             probes, shutdown ─┘
//! ```
//!
//! What is not understood is kept as it is. Injecting a pod that has a sidecar changes nothing, and [`uninject`] takes
//! away exactly what [`inject`] added. `docs/reference/injection.md` is the description for people.

use serde_json::{Map, Value, json};

mod containers;
pub mod manifests;
mod options;
mod pod;
mod probes;
mod reason;
mod settings;
mod shutdown;
mod undo;
mod workload;

pub use options::{OptionFault, OptionFaults, check_options};
pub use reason::Reason;
pub use settings::{Cluster, Namespace, PullPolicy, Settings};
pub use undo::uninject;

use options::Options;

/// The container that installs the redirect rules.
pub const INIT_CONTAINER: &str = "weft-init";
/// The sidecar.
pub const PROXY_CONTAINER: &str = "weft-proxy";
/// The user and the group that the proxy runs as. Connections of this user are not redirected.
pub const PROXY_USER: u32 = 1337;
/// What all of Weft's labels and annotations begin with.
pub const PREFIX: &str = "weft.dev/";

/// The label or annotation that asks for a sidecar, or for none.
const INJECT: &str = "weft.dev/inject";
/// The annotation that says what has happened.
const STATUS: &str = "weft.dev/status";
/// The annotation with the version of the proxy that was injected.
const VERSION: &str = "weft.dev/proxy-version";
/// The annotation with what [`uninject`] can't see from the pod itself.
const UNDO: &str = "weft.dev/undo";

/// What has become of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has a sidecar now.
    Injected(Injected),
    /// It stays as it is.
    LeftAlone(Reason),
}

/// A pod with its sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// The pod.
    pub pod: Value,
    /// What will not work as its author may think, a sentence each.
    pub warnings: Vec<String>,
}

/// A pod to inject, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// A Pod, or a template of one: `metadata` and `spec`.
    pub pod: &'a Value,
    /// The name of what the template belongs to, such as a Deployment's; `None`: the pod's owner tells.
    pub owner: Option<&'a str>,
    /// Where it is or will be.
    pub namespace: &'a Namespace,
    /// What the kubelet shows the proxy to have a probe made, so that nobody else can. It stands in the pod's spec.
    pub probe_token: &'a str,
}

/// Gives a pod its sidecar, if it is to have one.
///
/// # Errors
/// With every label and annotation that has a wrong value, and what is allowed.
pub fn inject(subject: Subject<'_>, settings: &Settings) -> Result<Outcome, OptionFaults> {
    let Subject { pod, namespace, .. } = subject;
    if let Some(reason) = Reason::of(pod, namespace, settings)? {
        return Ok(Outcome::LeftAlone(reason));
    }
    let options = Options::read(pod, namespace, settings)?;
    let mut warnings = options.warnings(pod, settings);
    let mut injected = pod.clone();
    let mut undo = Map::new();

    let probes = match options.rewrite_probes {
        true => probes::redirect(&mut injected, &options, subject.probe_token, &mut warnings),
        false => None,
    };
    shutdown::let_requests_end(&mut injected, &options, settings, &mut undo);
    containers::add(&mut injected, &containers::Parts { subject, options: &options, settings, probes }, &mut undo);

    let annotations = pod::object(pod::object(pod::whole(&mut injected), "metadata"), "annotations");
    annotations.insert(STATUS.to_owned(), json!("injected"));
    annotations.insert(VERSION.to_owned(), json!(env!("CARGO_PKG_VERSION")));
    if !undo.is_empty() {
        annotations.insert(UNDO.to_owned(), Value::String(Value::Object(undo).to_string()));
    }
    Ok(Outcome::Injected(Injected { pod: injected, warnings }))
}

/// A token for [`Subject::probe_token`]: 128 random bits, hexadecimal.
pub fn new_probe_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests;
