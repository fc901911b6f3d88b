use std::os::unix::fs::PermissionsExt as _;

use super::*;

const EMPTY: &str = "namespace/default\nnamespace/kube-system\nclusterrole.rbac.authorization.k8s.io/admin\n";

fn with(more: &[&str]) -> String {
    more.iter().fold(EMPTY.to_owned(), |text, line| text + line + "\n")
}

fn refused(minor: u32, more: &[&str]) -> String {
    check(minor, 27, &with(more)).unwrap_err().to_string()
}

fn definition(name: &str) -> String {
    format!("customresourcedefinition.apiextensions.k8s.io/{name}")
}

fn routes() -> Vec<String> {
    ROUTES.iter().map(|route| definition(&format!("{route}.gateway.networking.k8s.io"))).collect()
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn an_empty_cluster_is_taken() {
    assert!(!check(36, 27, EMPTY).unwrap());
}

#[test]
fn the_oldest_version_is_the_charts() {
    assert!((20..100).contains(&oldest().unwrap()));
    let said = refused(26, &[]);
    assert!(said.contains("1.26") && said.contains("1.27"), "{said}");
    assert_eq!(minor_of("31+").unwrap(), 31);
    assert!(minor_of("+").is_err());
}

#[test]
fn a_cluster_with_weft_is_refused_whatever_is_left_of_it() {
    let parts = [
        "namespace/weft-system",
        "customresourcedefinition.apiextensions.k8s.io/trafficpolicies.weft.dev",
        "clusterrole.rbac.authorization.k8s.io/weft-control",
        "mutatingwebhookconfiguration.admissionregistration.k8s.io/weft-injector",
    ];
    for part in parts {
        let said = refused(36, &[part]);
        assert!(said.contains("has Weft already") && said.contains(part.rsplit('/').next().unwrap()), "{said}");
        assert!(!said.contains("uninstall"), "it may be somebody's mesh: {said}");
    }
    assert!(!check(36, 27, &with(&["namespace/weft-tenants"])).unwrap());
}

#[test]
fn no_namespace_that_is_deleted_at_the_end_may_be_there_before() {
    for name in NAMESPACES {
        let said = refused(36, &[&format!("namespace/{name}")]);
        assert!(said.contains(name), "{said}");
    }
    let said = refused(36, &["namespace/pods", "namespace/shop", "clusterrole.rbac.authorization.k8s.io/split"]);
    assert!(said.ends_with("kubectl delete namespace pods shop"), "{said}");
}

#[test]
fn the_gateway_api_is_there_as_a_whole_or_not_at_all() {
    let all = routes();
    assert!(check(36, 27, &with(&texts(&all))).unwrap());
    let said = refused(36, &texts(&all)[..2]);
    assert!(said.contains("tlsroutes, tcproutes, referencegrants"), "{said}");
}

#[test]
fn whatever_goes_with_the_gateway_api_is_a_part_of_it() {
    let parts = [
        definition("gatewayclasses.gateway.networking.k8s.io"),
        definition("xmeshes.gateway.networking.x-k8s.io"),
        "validatingadmissionpolicy.admissionregistration.k8s.io/safe-upgrades.gateway.networking.k8s.io".to_owned(),
        "validatingadmissionpolicybinding.admissionregistration.k8s.io/safe-upgrades.gateway.networking.k8s.io"
            .to_owned(),
    ];
    for part in &parts {
        let said = refused(36, &[part]);
        assert!(said.contains(part.rsplit('/').next().unwrap()) && said.contains("httproutes"), "{said}");
    }
    let all = [routes(), parts.to_vec()].concat();
    assert!(check(36, 27, &with(&texts(&all))).unwrap());
    let others = [definition("gateways.networking.istio.io"), definition("gateway.networking.k8s.io.example")];
    assert!(!check(36, 27, &with(&texts(&others))).unwrap());
}

#[test]
fn the_gateway_api_is_not_brought_where_its_policy_is_unknown() {
    let said = refused(29, &[]);
    assert!(said.contains("1.29") && said.contains("1.30"), "{said}");
    assert!(check(29, 27, &with(&texts(&routes()))).unwrap());
}

#[test]
fn the_context_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = keep(folder.path(), "current-context: one\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "current-context: one\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(keep(folder.path(), "").is_err(), "a run keeps one context");
}
