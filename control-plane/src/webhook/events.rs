//! Events on what made a pod, where the pod was to have a sidecar and could not.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::inject::Reason;

/// Events that wait to be written; more are dropped: the log has them.
const QUEUE: usize = 256;
/// The same is not told again for this long...
const QUIET: Duration = Duration::from_secs(600);
/// ... of this many objects.
const MOST_KNOWN: usize = 4096;

/// Hands events on; never waits.
pub(super) struct Events(mpsc::Sender<(ObjectReference, Reason)>);

impl Events {
    /// Starts what writes them; it ends when this is dropped.
    pub(super) fn start(cluster: &Cluster) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reporter = Reporter { controller: "weft-control".to_owned(), instance: Some(cluster.pod.to_string()) };
        tokio::spawn(write(receiver, Recorder::new(cluster.client.clone(), reporter)));
        Self(sender)
    }

    /// Tells the pod's owner; where it has none, the pod that will have its name.
    pub(super) fn left_alone(&self, namespace: &str, pod: &Value, reason: Reason) {
        let Some(owner) = owner(namespace, pod).or_else(|| itself(namespace, pod)) else { return };
        if self.0.try_send((owner, reason)).is_err() {
            tracing::debug!(%reason, "an event is dropped: there are too many");
        }
    }
}

async fn write(mut events: mpsc::Receiver<(ObjectReference, Reason)>, recorder: Recorder) {
    let mut known = HashSet::new();
    let mut since = Instant::now();
    while let Some((owner, reason)) = events.recv().await {
        if known.len() >= MOST_KNOWN || since.elapsed() > QUIET {
            known.clear();
            since = Instant::now();
        }
        if !known.insert((owner.namespace.clone(), owner.name.clone(), owner.uid.clone(), reason)) {
            continue;
        }
        let event = Event {
            type_: if reason.is_surprising() { EventType::Warning } else { EventType::Normal },
            reason: reason.word().to_owned(),
            note: Some(format!("no Weft sidecar: {reason}")),
            action: "Injecting".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &owner).await {
            tracing::warn!(%error, "an event could not be written");
        }
    }
}

/// What made the pod.
fn owner(namespace: &str, pod: &Value) -> Option<ObjectReference> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let text = |key: &str| owner.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(ObjectReference {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    })
}

/// It is not stored yet and has no uid.
fn itself(namespace: &str, pod: &Value) -> Option<ObjectReference> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).filter(|name| !name.is_empty())?;
    Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    })
}
