//! What the control plane counts, and the port where it says so: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use weft_api::xds::ResourceKind;

use crate::ca::Counted;

/// The control plane's metrics. Handles are cheap to clone and to count on.
pub struct Metrics {
    registry: Registry,
    /// `weft_control_proxies`: discovery streams that are open.
    pub proxies: Gauge,
    /// `weft_control_certificates_issued_total`
    pub certificates_issued: Counter,
    /// `weft_control_token_reviews_total`: tokens of a cluster's pods that were looked at, by result.
    pub token_reviews: Counted,
    /// `weft_control_registry_faults`: faults in the registry now.
    pub registry_faults: Gauge,
    /// `weft_control_leader`: 1 while this replica does what one does for all.
    pub leader: Gauge,
    /// `weft_control_load_reports_total`: load reports taken in.
    pub load_reports: Counter,
    /// `weft_control_load_dropped_total`: clusters of load reports that found no room.
    pub load_dropped: Counter,
    /// `weft_control_load_slots`: what is kept of load reports now.
    pub load_slots: Gauge,
    admissions: Family<AdmissionLabels, Counter>,
    pushes: Family<KindLabel, Counter>,
    nacks: Family<KindLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KindLabel(ResourceKind);

impl EncodeLabelSet for KindLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("kind", self.0.name())].encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AdmissionLabels {
    webhook: &'static str,
    result: &'static str,
}

impl EncodeLabelSet for AdmissionLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("webhook", self.webhook), ("result", self.result)].encode(encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weft_control");
        let (proxies, certificates_issued, registry_faults) = (Gauge::default(), Counter::default(), Gauge::default());
        let (pushes, nacks) = (Family::<KindLabel, Counter>::default(), Family::<KindLabel, Counter>::default());
        registry.register("proxies", "Discovery streams that are open", proxies.clone());
        registry.register("pushes", "Discovery responses sent", pushes.clone());
        registry.register("nacks", "Resources that a proxy refused", nacks.clone());
        registry.register("certificates_issued", "Workload certificates issued", certificates_issued.clone());
        let token_reviews = Counted::default();
        registry.register("token_reviews", "Tokens of pods that were looked at, by result", token_reviews.clone());
        let (load_reports, load_dropped, load_slots) = (Counter::default(), Counter::default(), Gauge::default());
        registry.register("load_reports", "Load reports taken in", load_reports.clone());
        registry.register("load_dropped", "Clusters of load reports that found no room", load_dropped.clone());
        registry.register("load_slots", "Parts of load reports that are kept", load_slots.clone());
        registry.register("registry_faults", "Faults in the registry's manifests now", registry_faults.clone());
        let leader = Gauge::default();
        registry.register("leader", "1 while this replica writes statuses and runs shifts", leader.clone());
        let admissions = Family::<AdmissionLabels, Counter>::default();
        registry.register("admissions", "Answers of the webhooks", admissions.clone());
        for kind in ResourceKind::ALL {
            // From the first scrape on, so that rates have a beginning.
            drop(pushes.get_or_create(&KindLabel(kind)));
            drop(nacks.get_or_create(&KindLabel(kind)));
        }
        Self {
            registry,
            proxies,
            certificates_issued,
            token_reviews,
            registry_faults,
            leader,
            load_reports,
            load_dropped,
            load_slots,
            admissions,
            pushes,
            nacks,
        }
    }
}

impl Metrics {
    /// Counts a discovery response.
    pub fn pushed(&self, kind: ResourceKind) {
        self.pushes.get_or_create(&KindLabel(kind)).inc();
    }

    /// Counts an answer of a webhook.
    pub fn admitted(&self, webhook: &'static str, result: &'static str) {
        self.admissions.get_or_create(&AdmissionLabels { webhook, result }).inc();
    }

    /// Counts a resource that a proxy refused.
    pub fn refused(&self, kind: ResourceKind) {
        self.nacks.get_or_create(&KindLabel(kind)).inc();
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        text
    }
}

/// The pages of the metrics port. Ready: the registry was read and all listeners are open.
pub fn router(metrics: Arc<Metrics>, ready: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/metrics", get(scrape).with_state(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(ready))
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}

async fn readyz(State(ready): State<watch::Receiver<bool>>) -> (StatusCode, &'static str) {
    if *ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}

#[cfg(test)]
mod tests;
