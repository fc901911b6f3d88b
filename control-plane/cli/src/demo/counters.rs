//! What the proxies say of the traffic that they carried.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::world::{Metrics, Pod, Sidecar};

/// The proxies' counters, as last scraped. Those of a proxy that has ended stay as they were. Cloning gives another
/// handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(Arc<Mutex<BTreeMap<String, (Sidecar, Counted)>>>);

/// The counters that the demo shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Requests that came in over mutual TLS.
    pub(super) mtls_requests: u64,
    /// The SPIFFE ids that they came from.
    pub(super) identities: BTreeSet<String>,
    /// Spans that were exported.
    pub(super) spans_exported: u64,
}

impl Counters {
    /// From now on, a pod's proxy is asked, too.
    pub(super) fn add(&self, pod: &Pod) -> anyhow::Result<()> {
        self.0.lock().insert(pod.address(0).to_string(), (pod.sidecar()?, Counted::default()));
        Ok(())
    }

    /// Asks every proxy, and adds up what all have counted.
    pub(super) async fn scrape(&self) -> Counted {
        let sidecars: Vec<_> = self.0.lock().iter().map(|(pod, (sidecar, _))| (pod.clone(), sidecar.clone())).collect();
        for (pod, sidecar) in sidecars.into_iter().filter(|(_, sidecar)| sidecar.process().is_running()) {
            // A proxy that is just ending does not answer; what it said last stays.
            if let Ok(metrics) = sidecar.metrics().await
                && let Some((_, counted)) = self.0.lock().get_mut(&pod)
            {
                *counted = Counted::of(&metrics);
            }
        }
        self.0.lock().values().fold(Counted::default(), |sum, (_, counted)| sum.plus(counted))
    }
}

impl Counted {
    fn of(metrics: &Metrics) -> Self {
        let inbound_mtls = [("direction", "inbound"), ("tls", "mtls")];
        let peers =
            metrics.matching("weft_requests_total", &inbound_mtls).filter_map(|sample| sample.labels.get("peer"));
        Self {
            mtls_requests: metrics.sum("weft_requests_total", &inbound_mtls) as u64,
            identities: peers.filter(|peer| !peer.is_empty()).cloned().collect(),
            spans_exported: metrics.sum("weft_spans_exported_total", &[]) as u64,
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.mtls_requests += other.mtls_requests;
        self.identities.extend(other.identities.iter().cloned());
        self.spans_exported += other.spans_exported;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_in_over_mutual_tls_counts() {
        let scrape = "\
# TYPE weft_requests counter
weft_requests_total{direction=\"inbound\",destination=\"default/api:8080\",peer=\"spiffe://td/ns/d/sa/web\",tls=\"mtls\",status=\"2xx\"} 40
weft_requests_total{direction=\"inbound\",destination=\"default/api:8080\",peer=\"spiffe://td/ns/d/sa/web\",tls=\"mtls\",status=\"5xx\"} 2
weft_requests_total{direction=\"inbound\",destination=\"default/api:8080\",peer=\"\",tls=\"none\",status=\"2xx\"} 7
weft_requests_total{direction=\"outbound\",destination=\"default/users:80\",peer=\"spiffe://td/ns/d/sa/users\",tls=\"mtls\",status=\"2xx\"} 9
weft_spans_exported_total 82
";
        let counted = Counted::of(&Metrics::parse(scrape).unwrap());
        let wanted = Counted {
            mtls_requests: 42,
            identities: ["spiffe://td/ns/d/sa/web".to_owned()].into(),
            spans_exported: 82,
        };
        assert_eq!(counted, wanted);
        assert_eq!(wanted.clone().plus(&wanted).mtls_requests, 84);
    }
}
