use super::*;

fn pod() -> PodRecord {
    PodRecord {
        key: ("shop".into(), "api-1".into()),
        service_account: "api".into(),
        labels: [("app".into(), "api".into())].into(),
        annotations: BTreeMap::new(),
        addresses: Addresses::of_host(16),
    }
}

fn service() -> ServiceRecord {
    ServiceRecord {
        key: ("shop".into(), "api".into()),
        virtual_addresses: Addresses::of_service(10),
        ports: vec![PortRecord { port: 80, target: 8080, protocol: Some("http".into()) }],
        backends: vec![pod().key],
        external_name: None,
    }
}

fn documents(text: &str) -> Vec<serde_json::Value> {
    text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

#[test]
fn a_service_lists_its_pods_in_both_address_families() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::create(folder.path().join("registry")).unwrap();
    registry.add_pod(pod()).unwrap();
    registry.add_service(service()).unwrap();
    let text = std::fs::read_to_string(registry.folder().join("service-shop-api.yaml")).unwrap();
    let documents = documents(&text);
    assert_eq!(documents[0]["spec"]["clusterIPs"], serde_json::json!(["10.96.0.10", "fd00:96::a"]));
    assert_eq!(documents[0]["spec"]["ports"][0]["appProtocol"], "http");
    assert_eq!(documents[1]["endpoints"][0]["addresses"][0], "10.1.0.16");
    assert_eq!(documents[2]["endpoints"][0]["addresses"][0], "fd00:1::10");
    assert_eq!(documents[2]["endpoints"][0]["conditions"]["ready"], true);
}

#[test]
fn an_endpoint_can_be_unready_terminating_or_gone() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::create(folder.path().to_owned()).unwrap();
    registry.add_pod(pod()).unwrap();
    registry.add_service(service()).unwrap();
    let first_slice = || {
        let text = std::fs::read_to_string(registry.folder().join("service-shop-api.yaml")).unwrap();
        documents(&text).swap_remove(1)
    };
    registry.set_endpoint(&pod().key, EndpointState::Terminating).unwrap();
    let conditions = first_slice()["endpoints"][0]["conditions"].clone();
    assert_eq!(conditions, serde_json::json!({"ready": false, "serving": true, "terminating": true}));
    registry.set_endpoint(&pod().key, EndpointState::Absent).unwrap();
    assert_eq!(first_slice()["endpoints"], serde_json::json!([]));
}

#[test]
fn manifests_of_pods_and_accounts_are_yaml() {
    let pod = &documents(&pod_manifest(&pod()).unwrap())[0];
    assert_eq!(pod["status"]["podIPs"][1]["ip"], "fd00:1::10");
    let account = documents(&service_account("shop", "api", "s3cret"));
    assert_eq!(account[1]["stringData"]["token"], "s3cret");
    assert_eq!(account[1]["metadata"]["annotations"]["kubernetes.io/service-account.name"], "api");
}
