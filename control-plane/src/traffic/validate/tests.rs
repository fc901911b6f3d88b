use super::super::MAX_BACKENDS;
use super::*;
use crate::mesh::testing::mesh;
use crate::registry::testing::DEMO;

fn backend(service: &str, port: u32, weight: i64) -> Backend {
    Backend { service: service.to_owned(), port, weight }
}

fn check(service: &str, asked: &[Backend]) -> Result<Vec<SplitBackend>, TrafficError> {
    let ported =
        "apiVersion: v1\nkind: Service\nmetadata: {name: api-v3, namespace: shop}\nspec: {ports: [{port: 8080}]}";
    backends(&mesh(&format!("{DEMO}\n---\n{ported}")), &ObjectName::new("shop", service), asked)
}

/// The fields that are wrong, and why.
fn faults(asked: &[Backend]) -> Vec<(String, String)> {
    match check("api", asked) {
        Err(TrafficError::Invalid(faults)) => {
            faults.into_iter().map(|fault| (fault.field, fault.description)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_shorthand_finds_the_service_and_answers_have_its_full_name() {
    let found = check("api", &[backend("v1", 0, 90), backend("api-v2", 80, 10), backend("api", 0, 0)]).unwrap();
    let found: Vec<_> = found.iter().map(|b| (b.service.as_ref(), b.port, b.weight)).collect();
    assert_eq!(found, [("api-v1", None, 90), ("api-v2", Some(80), 10), ("api", None, 0)]);
}

#[test]
fn all_that_is_wrong_with_the_request_is_told_at_once() {
    let faults = faults(&[backend("V1", 0, 1), backend("v2", 70_000, -1), backend("", 0, 1_000_001)]);
    let fields: Vec<_> = faults.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        ["backends[0].service", "backends[1].weight", "backends[1].port", "backends[2].service", "backends[2].weight"]
    );
}

#[test]
fn weights_that_answer_nobody_are_refused() {
    assert!(faults(&[])[0].1.contains("names no backend"));
    assert!(faults(&[backend("v1", 0, 0), backend("v2", 0, 0)])[0].1.contains("all weights are 0"));
    assert!(faults(&vec![backend("v1", 0, 1); MAX_BACKENDS + 1])[0].1.contains("at most 100"));
}

#[test]
fn one_backend_under_two_names_is_there_twice() {
    let faults = faults(&[backend("v1", 0, 1), backend("api-v1", 0, 1)]);
    assert_eq!(faults, [("backends[1].service".to_owned(), "Service shop/api-v1 is there twice".to_owned())]);
    assert!(check("api", &[backend("v1", 0, 1), backend("v1", 80, 1)]).is_ok(), "two ports are two backends");
}

#[test]
fn ports_have_to_lead_somewhere() {
    assert_eq!(faults(&[backend("v1", 81, 1)])[0].1, "Service shop/api-v1 has no port 81; it has 80");
    assert!(faults(&[backend("v3", 0, 1)])[0].1.contains("none of the ports of shop/api (80)"));
    assert!(check("api", &[backend("v3", 8080, 1)]).is_ok());
}

#[test]
fn what_does_not_exist_is_named() {
    let error = check("nope", &[backend("v1", 0, 1)]).unwrap_err();
    assert!(matches!(&error, TrafficError::NoService(name) if name.to_string() == "shop/nope"), "{error}");
    let error = check("api", &[backend("v1", 0, 1), backend("v9", 0, 1)]).unwrap_err().to_string();
    assert!(error.contains("neither a Service \"v9\" nor \"api-v9\" in namespace \"shop\""), "{error}");
}

#[test]
fn somebody_elses_routes_come_first() {
    let route = "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: mine, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: api}]
  rules: [{backendRefs: [{name: api-v1, port: 80}]}]";
    let mesh = mesh(&format!("{DEMO}{route}"));
    let error = backends(&mesh, &ObjectName::new("shop", "api"), &[backend("v1", 0, 1)]).unwrap_err();
    assert!(matches!(&error, TrafficError::ManualRoutes { routes, .. } if *routes == ["shop/mine"]), "{error}");
}

#[test]
fn names_are_those_of_kubernetes() {
    assert!(service_name("shop", "api").is_ok());
    let Err(TrafficError::Invalid(faults)) = service_name("Shop", "a/b") else { panic!("accepted") };
    assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["namespace", "service"]);
    assert!(namespace_filter("").is_ok() && namespace_filter("shop").is_ok() && namespace_filter("*").is_err());
}
