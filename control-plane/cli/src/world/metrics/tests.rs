use super::*;

const SCRAPE: &str = r#"# HELP weft_requests Requests.
# TYPE weft_requests counter
weft_requests_total{direction="inbound",peer="a",path="x\"y}\\z"} 3
weft_requests_total{direction="inbound",peer="b"} 4
weft_requests_total{direction="outbound",peer=""} 5
weft_xds_connected 1
# EOF
"#;

#[test]
fn sums_by_labels() {
    let metrics = Metrics::parse(SCRAPE).unwrap();
    assert_eq!(metrics.sum("weft_requests_total", &[("direction", "inbound")]), 7.0);
    assert_eq!(metrics.sum("weft_requests_total", &[]), 12.0);
    assert_eq!(metrics.sum("weft_xds_connected", &[]), 1.0);
    assert_eq!(metrics.sum("weft_nothing", &[]), 0.0);
    assert_eq!(metrics.samples()[0].labels["path"], "x\"y}\\z");
}

#[test]
fn refuses_what_is_no_sample() {
    let error = Metrics::parse("weft_xds_connected one").unwrap_err();
    assert!(error.to_string().contains("weft_xds_connected one"));
}
