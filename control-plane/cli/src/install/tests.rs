use super::*;

#[test]
fn the_chart_came_along_with_its_definitions() {
    assert!(CHART.get_file("Chart.yaml").is_some());
    let names: Vec<_> = crds()
        .map(|text| serde_saphyr::from_str::<CustomResourceDefinition>(text).unwrap().metadata.name.unwrap())
        .collect();
    for kind in ["trafficpolicies.weft.dev", "faultinjections.weft.dev", "trafficshifts.weft.dev"] {
        assert!(names.iter().any(|name| name == kind), "{names:?} lacks {kind}");
    }
}
