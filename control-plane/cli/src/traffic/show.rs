//! Splits as people read them.

use serde::Serialize;
use weft_api::traffic::split_event::Kind;
use weft_api::traffic::{Backend, Rollout, Split, SplitEvent};

use crate::text;

/// One split: a line about the whole, then its backends.
pub(super) fn split(split: &Split) -> String {
    let sum = sum(split);
    let rows = split.backends.iter().map(|backend| {
        let port = if backend.port == 0 { "as dialled".to_owned() } else { backend.port.to_string() };
        [backend.service.clone(), port, backend.weight.to_string(), text::share(backend.weight, sum)]
    });
    format!(
        "{}/{}   version {}   {}   written {}\n{}",
        split.namespace,
        split.service,
        split.version,
        progress(split),
        split.updated_at,
        text::table(["BACKEND", "PORT", "WEIGHT", "SHARE"], rows)
    )
}

/// The answer to a write: the split, and how to follow it where proxies are still behind.
pub(super) fn written(written: &Split) -> String {
    let is_behind = |rollout: &Rollout| rollout.current < rollout.proxies || !rollout.silent_replicas.is_empty();
    let behind = written.rollout.as_ref().is_some_and(is_behind);
    let hint = if behind {
        format!("\nThe write is durable; follow the proxies with: weft traffic watch -n {}", written.namespace)
    } else {
        String::new()
    };
    split(written) + &hint
}

/// All splits, a line each.
pub(super) fn list(splits: &[Split]) -> String {
    let rows = splits.iter().map(|split| {
        [
            split.namespace.clone(),
            split.service.clone(),
            split.version.to_string(),
            shares(split),
            progress(split),
            split.updated_at.clone(),
        ]
    });
    text::table(["NAMESPACE", "SERVICE", "VERSION", "SPLIT", "PROXIES", "WRITTEN"], rows)
}

/// One line of a watch; none for what only programs need.
pub(super) fn event(event: &SplitEvent) -> Option<String> {
    let split = event.split.as_ref()?;
    match event.kind() {
        Kind::Set => Some(format!(
            "{}/{}   version {}   {}   {}",
            split.namespace,
            split.service,
            split.version,
            shares(split),
            progress(split)
        )),
        Kind::Deleted => Some(format!("{}/{}   deleted", split.namespace, split.service)),
        Kind::Synced | Kind::Unspecified => None,
    }
}

/// One event of a watch, as the API's own JSON has it.
#[derive(Serialize)]
pub(super) struct EventJson<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<&'a Split>,
}

impl<'a> From<&'a SplitEvent> for EventJson<'a> {
    fn from(event: &'a SplitEvent) -> Self {
        Self { kind: event.kind().as_str_name(), split: event.split.as_ref() }
    }
}

fn sum(split: &Split) -> i64 {
    split.backends.iter().map(|backend| backend.weight).fold(0, i64::saturating_add)
}

fn shares(split: &Split) -> String {
    let sum = sum(split);
    let one = |backend: &Backend| format!("{} {}", backend.service, text::share(backend.weight, sum));
    split.backends.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn progress(split: &Split) -> String {
    let Rollout { proxies, current, silent_replicas } = split.rollout.clone().unwrap_or_default();
    let counted = if proxies > 0 { format!("{current} of {proxies} current") } else { "no proxy asked yet".to_owned() };
    text::counted(counted, &silent_replicas)
}
