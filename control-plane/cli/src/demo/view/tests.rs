use weft_api::traffic::{Backend, Rollout};

use super::*;

fn split() -> Split {
    let backend = |service: &str, weight| Backend { service: service.into(), port: 0, weight };
    Split {
        namespace: "default".into(),
        service: "api".into(),
        version: 2,
        backends: vec![backend("api-v1", 3), backend("api-v2", 1)],
        updated_at: String::new(),
        rollout: Some(Rollout { proxies: 1, current: 1, silent_replicas: vec![] }),
    }
}

fn with_frame<T>(look: impl FnOnce(&Frame<'_>) -> T) -> T {
    let mut latencies = Histogram::default();
    latencies.record(Duration::from_millis(2));
    let versions = [("v1".to_owned(), 300), ("v2".to_owned(), 100)].into();
    let (window, split) = (Window { versions, latencies: latencies.clone() }, split());
    let totals = Totals { requests: 1234, failed: 0, failures: vec![], latencies };
    let identities = ["spiffe://cluster.local/ns/default/sa/web".to_owned()].into();
    let counted = Counted { mtls_requests: 2468, identities, spans_exported: 0 };
    look(&Frame {
        elapsed: Duration::from_secs(67),
        split: Some(&split),
        window: &window,
        window_length: Duration::from_secs(2),
        totals: &totals,
        counted: &counted,
        spans: 3702,
    })
}

#[test]
fn a_line_says_it_all() {
    let line = with_frame(|frame| frame.line());
    assert_eq!(line, "01:07  v1 75 %, v2 25 %  200/s  p50 2.0 ms  p99 2.0 ms  failed 0  mTLS 2468  spans 3702");
}

#[test]
fn a_block_has_a_bar_for_each_version() {
    assert_eq!(
        with_frame(|frame| frame.block()),
        [
            "01:07  api = v1 75 %, v2 25 %  (version 2, held by 1 of 1 proxies)",
            "  web → api v1  ███████████████████████████░░░░░░░░░    75 %   150/s",
            "  web → api v2  █████████░░░░░░░░░░░░░░░░░░░░░░░░░░░    25 %    50/s",
            "  requests 1234   failed 0   p50 2.0 ms  p99 2.0 ms",
            "  mutual TLS 2468 requests   spans 3702   peers:",
            "    spiffe://cluster.local/ns/default/sa/web",
        ]
    );
}

#[test]
fn erasing_nothing_prints_nothing() {
    assert_eq!(erase(0), "");
    assert_eq!(erase(3), "\x1b[3A\x1b[J");
}
