//! `/inject`: a pod's patch, or the reason that there is none.

use serde_json::Value;

use super::events::Events;
use super::namespaces::{NamespaceError, NamespaceReader};
use super::review::{Request, Verdict};
use crate::inject::{Namespace, OptionFaults, Outcome, Reason, Settings, Subject, inject, new_probe_token};

/// Decides about pods.
pub(super) struct Injector {
    pub(super) settings: Settings,
    pub(super) namespaces: NamespaceReader,
    pub(super) events: Events,
}

impl Injector {
    /// What becomes of a pod.
    ///
    /// # Errors
    /// When its namespace can't be looked at.
    pub(super) async fn verdict(&self, request: Request) -> Result<Verdict, NamespaceError> {
        let pod = &request.object;
        let name = request.namespace.as_deref().unwrap_or_default();
        let mut outcome = self.inject(pod, &self.namespaces.known(name).await?);
        // The API server asks because it sees a label; we may only not have seen it yet.
        if outcome == Ok(Outcome::LeftAlone(Reason::NotAsked)) {
            outcome = self.inject(pod, &self.namespaces.read(name).await?);
        }
        Ok(match outcome {
            Err(faults) => Verdict::Denied { reason: faults.to_string() },
            Ok(Outcome::Injected(injected)) => {
                let patch = json_patch::diff(pod, &injected.pod);
                tracing::debug!(namespace = name, pod = display_name(pod), "injected");
                Verdict::Patched { patch, warnings: injected.warnings }
            }
            Ok(Outcome::LeftAlone(reason)) => self.left_alone(&request, reason),
        })
    }

    fn inject(&self, pod: &Value, namespace: &Namespace) -> Result<Outcome, OptionFaults> {
        inject(Subject { pod, owner: None, namespace, probe_token: &new_probe_token() }, &self.settings)
    }

    fn left_alone(&self, request: &Request, reason: Reason) -> Verdict {
        let pod = &request.object;
        let namespace = request.namespace.as_deref().unwrap_or_default();
        // The API server asks again about what we have just injected, when another webhook changed it after us.
        if reason == Reason::AlreadyInjected {
            return Verdict::ALLOWED;
        }
        tracing::info!(namespace, pod = display_name(pod), %reason, "left a pod without a sidecar");
        if !request.dry_run {
            self.events.left_alone(namespace, pod, reason);
        }
        Verdict::Allowed { warnings: vec![format!("no Weft sidecar for {}: {reason}", display_name(pod))] }
    }
}

/// The pod's name, or what the API server will begin it with.
fn display_name(pod: &Value) -> &str {
    let metadata = |key: &str| pod.pointer(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    metadata("/metadata/name").or_else(|| metadata("/metadata/generateName")).unwrap_or("a pod")
}
