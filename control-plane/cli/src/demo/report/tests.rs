use super::*;

/// What a run may find.
#[derive(Clone)]
struct Findings {
    totals: Totals,
    splits: Vec<SplitResult>,
    counted: Counted,
    spans: u64,
}

fn split(weights: [(&str, i64); 2], seen: &[(&str, u64)]) -> SplitResult {
    SplitResult::new(&weights, seen.iter().map(|(version, count)| ((*version).to_owned(), *count)).collect())
}

fn expected() -> BTreeSet<String> {
    ["spiffe://td/ns/default/sa/web".to_owned()].into()
}

fn good() -> Findings {
    Findings {
        totals: Totals { requests: 3000, failed: 0, failures: vec![], latencies: Default::default() },
        splits: vec![split([("v1", 90), ("v2", 10)], &[("v1", 905), ("v2", 95)])],
        counted: Counted { mtls_requests: 6000, identities: expected(), spans_exported: 9000 },
        spans: 9000,
    }
}

fn judge(findings: Findings) -> Report {
    let Findings { totals, splits, counted, spans } = findings;
    Report::judge(totals, splits, counted, spans, &expected())
}

#[test]
fn a_good_run_is_ok_and_prints_the_agreed_fields() {
    let report = judge(good());
    assert!(report.ok, "{:?}", report.complaints);
    assert_eq!(
        serde_json::to_string(&report).unwrap(),
        r#"{"requests":3000,"failed":0,"mtls_requests":6000,"splits":[{"set":{"v1":90,"v2":10},"seen":{"v1":905,"v2":95}}],"identities":["spiffe://td/ns/default/sa/web"],"spans":9000,"ok":true}"#
    );
    assert_eq!(
        report.to_string(),
        "3000 requests, 0 failed, p50 -  p99 -\n  \
           weights v1 90, v2 10         answers v1 905, v2 95\n\
         6000 requests over mutual TLS, from\n  \
           spiffe://td/ns/default/sa/web\n\
         9000 spans exported"
    );
}

#[test]
fn each_flaw_is_named() {
    let flaws: [fn(&mut Findings); 6] = [
        |findings| findings.totals.requests = 0,
        |findings| findings.totals.failed = 1,
        |findings| findings.counted.mtls_requests = 0,
        |findings| findings.counted.identities.clear(),
        |findings| findings.spans = 0,
        |findings| findings.splits.push(split([("v1", 0), ("v2", 100)], &[("v1", 1), ("v2", 999)])),
    ];
    for flaw in flaws {
        let mut findings = good();
        flaw(&mut findings);
        let report = judge(findings);
        assert!(!report.ok);
        assert_eq!(report.complaints.len(), 1, "{:?}", report.complaints);
    }
}

#[test]
fn shares_hold_within_statistical_bounds() {
    let holds = |weights, seen: &[(&str, u64)]| split(weights, seen).holds();
    assert!(holds([("v1", 50), ("v2", 50)], &[("v1", 480), ("v2", 520)]));
    assert!(!holds([("v1", 50), ("v2", 50)], &[("v1", 400), ("v2", 600)]));
    assert!(holds([("v1", 0), ("v2", 100)], &[("v2", 700)]));
    assert!(!holds([("v1", 0), ("v2", 100)], &[("v1", 1), ("v2", 699)]));
    assert!(!holds([("v1", 90), ("v2", 10)], &[]));
    assert!(!holds([("v1", 90), ("v2", 10)], &[("v1", 90), ("v2", 9), ("v3", 1)]));
}
