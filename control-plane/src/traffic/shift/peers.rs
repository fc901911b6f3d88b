//! What the other replicas of the control plane see of the shifts: each has proxies of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weft_api::traffic as api;

use crate::load::{Figures, Reporting};
use crate::mesh::ObjectName;
use crate::traffic::store::FiguresRow;

/// What a replica sees of a shift.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The version of the split that the figures and the rollout are of.
    pub written: u64,
    /// The version of the split that is stored; 0: none.
    pub version: u64,
    /// How far the replica's proxies are.
    pub rollout: api::Rollout,
    /// How many of them report in time.
    pub reporting: Reporting,
    /// What they reported since the step was written.
    pub figures: Figures,
    /// The same of the last minute at most.
    pub recent: Figures,
}

/// What a replica sees of each shift that is under way.
pub type Sightings = BTreeMap<ObjectName, Seen>;

/// What a replica sees, as the others read it.
#[derive(Serialize, Deserialize)]
struct Row {
    namespace: String,
    service: String,
    written: u64,
    version: u64,
    proxies: u32,
    current: u32,
    expected: u32,
    fresh: u32,
    figures: FiguresRow,
    recent: FiguresRow,
}

/// As JSON.
pub fn encode(sightings: &Sightings) -> String {
    let row = |(service, seen): (&ObjectName, &Seen)| Row {
        namespace: service.namespace.to_string(),
        service: service.name.to_string(),
        written: seen.written,
        version: seen.version,
        proxies: seen.rollout.proxies,
        current: seen.rollout.current,
        expected: seen.reporting.expected,
        fresh: seen.reporting.fresh,
        figures: FiguresRow::of(&seen.figures),
        recent: FiguresRow::of(&seen.recent),
    };
    serde_json::to_string(&sightings.iter().map(row).collect::<Vec<_>>()).unwrap_or_default()
}

/// From JSON.
///
/// # Errors
/// With what is not understood.
pub fn decode(text: &str) -> Result<Sightings, serde_json::Error> {
    let seen = |row: Row| {
        let seen = Seen {
            written: row.written,
            version: row.version,
            rollout: api::Rollout { proxies: row.proxies, current: row.current, ..api::Rollout::default() },
            reporting: Reporting { expected: row.expected, fresh: row.fresh },
            figures: row.figures.figures(),
            recent: row.recent.figures(),
        };
        (ObjectName::new(row.namespace, row.service), seen)
    };
    Ok(serde_json::from_str::<Vec<Row>>(text)?.into_iter().map(seen).collect())
}

/// The other replicas by name; `None`: it has not told yet what it sees.
pub type Others = BTreeMap<Arc<str>, Option<Arc<Sightings>>>;

/// Tells the other replicas what this one sees, and knows what they do.
pub struct Peers {
    ours: watch::Sender<Arc<Sightings>>,
    theirs: watch::Receiver<Arc<Others>>,
}

impl Peers {
    /// Of a replica whose peers' sightings come in here.
    pub fn new(theirs: watch::Receiver<Arc<Others>>) -> Self {
        Self { ours: watch::Sender::default(), theirs }
    }

    /// What this replica sees, for the others.
    pub fn ours(&self) -> watch::Receiver<Arc<Sightings>> {
        self.ours.subscribe()
    }

    pub(super) fn tell(&self, sightings: Sightings) {
        self.ours.send_if_modified(|known| {
            let differs = **known != sightings;
            if differs {
                *known = Arc::new(sightings);
            }
            differs
        });
    }

    /// What all replicas see of a shift, where this one sees `own`. Those that have not told of the step are named.
    pub(super) fn all(&self, service: &ObjectName, own: &Seen) -> Seen {
        let theirs = Arc::clone(&self.theirs.borrow());
        let mut all = own.clone();
        for (replica, sightings) in theirs.iter() {
            match sightings.as_ref().and_then(|sightings| sightings.get(service)) {
                Some(seen) => add(&mut all, replica, seen),
                // It has proxies, or will, and nobody knows how far they are.
                None => all.rollout.silent_replicas.push(replica.to_string()),
            }
        }
        all
    }
}

fn add(all: &mut Seen, replica: &str, seen: &Seen) {
    all.rollout.proxies = all.rollout.proxies.saturating_add(seen.rollout.proxies);
    all.reporting.expected = all.reporting.expected.saturating_add(seen.reporting.expected);
    all.reporting.fresh = all.reporting.fresh.saturating_add(seen.reporting.fresh);
    if seen.written == all.written {
        all.rollout.current = all.rollout.current.saturating_add(seen.rollout.current);
        all.figures.add(&seen.figures);
        all.recent.add(&seen.recent);
    } else if seen.rollout.proxies == 0 {
        // A replica without proxies that has not heard of the step yet may have some by the time it does.
        all.rollout.silent_replicas.push(replica.to_owned());
    }
}

#[cfg(test)]
mod tests;
