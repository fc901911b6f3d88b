use super::*;

#[test]
fn the_names_are_those_of_the_reference() {
    let metrics = Metrics::default();
    metrics.pushed(ResourceKind::Cluster);
    metrics.refused(ResourceKind::Listener);
    metrics.proxies.inc();
    metrics.certificates_issued.inc();
    let text = metrics.encode();
    for line in [
        "weft_control_proxies 1\n",
        "weft_control_pushes_total{kind=\"Cluster\"} 1\n",
        "weft_control_pushes_total{kind=\"Listener\"} 0\n",
        "weft_control_nacks_total{kind=\"Listener\"} 1\n",
        "weft_control_certificates_issued_total 1\n",
        "weft_control_registry_faults 0\n",
        "weft_control_load_reports_total 0\n",
        "weft_control_load_dropped_total 0\n",
        "weft_control_load_slots 0\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}
