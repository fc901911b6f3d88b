use super::*;

#[test]
fn service_ports_round_trip() {
    let name: ServicePort = "shop/api-v2:8080".parse().unwrap();
    assert_eq!(name, ServicePort { namespace: "shop".into(), service: "api-v2".into(), port: 8080 });
    assert_eq!(name.to_string(), "shop/api-v2:8080");
}

#[test]
fn what_is_not_a_name_is_refused_with_the_reason() {
    for (name, reason) in [
        ("api:80", "no '/'"),
        ("shop/api", "no port"),
        ("shop/api:0", "port is not"),
        ("shop/api:65536", "port is not"),
        ("Shop/api:80", "namespace is not"),
        ("shop/a/b:80", "service is not"),
        ("shop/-a:80", "service is not"),
        ("/api:80", "namespace is not"),
    ] {
        let error = name.parse::<ServicePort>().unwrap_err().to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn a_dialled_pod_is_its_own_cluster() {
    assert_eq!("10.0.0.1:80".parse(), Ok(ClusterName::Pod("10.0.0.1:80".parse().unwrap())));
    assert_eq!("[fd00::1]:80".parse(), Ok(ClusterName::Pod("[fd00::1]:80".parse().unwrap())));
    assert!(matches!("a/b:1".parse(), Ok(ClusterName::Service(_))));
}
