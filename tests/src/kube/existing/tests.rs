use super::*;

const EMPTY: &str = "namespace/default\nnamespace/kube-system\nclusterrole.rbac.authorization.k8s.io/admin\n";

fn with(more: &[&str]) -> String {
    more.iter().fold(EMPTY.to_owned(), |text, line| text + line + "\n")
}

fn refused(minor: &str, more: &[&str]) -> String {
    Before::of(minor, 27, &with(more)).unwrap_err().to_string()
}

#[test]
fn an_empty_cluster_is_taken() {
    let before = Before::of("27+", 27, EMPTY).unwrap();
    let namespaces = ["default", "kube-system"].map(str::to_owned).into();
    assert_eq!(before, Before { namespaces, gateway_api: false });
}

#[test]
fn the_oldest_version_is_the_charts() {
    assert!((20..100).contains(&oldest().unwrap()));
    let said = refused("26", &[]);
    assert!(said.contains("1.26") && said.contains("1.27"), "{said}");
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
        let said = refused("36", &[part]);
        assert!(said.contains("has Weft already") && said.contains(part.rsplit('/').next().unwrap()), "{said}");
    }
    assert!(Before::of("36", 27, &with(&["namespace/weft-tenants"])).is_ok());
}

#[test]
fn what_trials_make_must_not_be_there() {
    assert!(refused("36", &["namespace/shop"]).contains("kubectl delete namespace shop"));
    let before = Before::of("36", 27, &with(&["namespace/pods"])).unwrap();
    let existing = Existing { kubeconfig: OsString::new(), before, made: Mutex::default() };
    assert!(existing.claim("pods").unwrap_err().to_string().contains("pods"));
    existing.claim("split").unwrap();
    assert!(existing.made.lock().contains("split"));
}

#[test]
fn the_gateway_api_is_there_as_a_whole_or_not_at_all() {
    let of = |route: &&str| format!("customresourcedefinition.apiextensions.k8s.io/{route}.gateway.networking.k8s.io");
    let all: Vec<String> = ROUTES.iter().map(of).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert!(Before::of("36", 27, &with(&all)).unwrap().gateway_api);
    let said = refused("36", &all[..2]);
    assert!(said.contains("tlsroutes, tcproutes, referencegrants"), "{said}");
}
