use crate::mesh::{ObjectName, TokenDigest};
use crate::registry::testing::{faults, good};

fn manifest(rest: &str) -> String {
    let metadata = "{name: t, namespace: shop, annotations: {kubernetes.io/service-account.name: web}}";
    format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\n{rest}")
}

#[test]
fn a_token_is_read_as_text_or_base64() {
    for data in ["stringData: {token: opensesame}", "data: {token: b3BlbnNlc2FtZQo=}"] {
        let manifests = good(&manifest(&format!("type: kubernetes.io/service-account-token\n{data}")));
        let token = manifests.join_tokens.values().next().unwrap();
        assert_eq!(token.digest, TokenDigest::of("opensesame"), "{data}");
        assert_eq!(token.service_account, ObjectName::new("shop", "web"));
    }
}

#[test]
fn other_secrets_are_nobodys_business() {
    assert!(good(&manifest("type: Opaque\ndata: {key: eA==}")).join_tokens.is_empty());
}

#[test]
fn faults_never_show_a_secret() {
    let token = "type: kubernetes.io/service-account-token\n";
    for rest in [
        "data: {token: '!hush!'}",
        "data: {token: [hush]}",
        "data: {token: 'hush",
        "data: {token: *hush}",
        "data: {token: a, token: hush}",
        "stringData: hush",
        "stringData: {token: !!int hush}",
    ] {
        let fault = faults(&manifest(&format!("{token}{rest}"))).join("\n");
        assert!(!fault.is_empty() && !fault.contains("hush"), "{rest}: {fault}");
    }
    assert!(faults(&manifest(token)).join("\n").contains("data.token: is missing, empty or no text"));
    let unbound = "apiVersion: v1\nkind: Secret\nmetadata: {name: t}\ntype: kubernetes.io/service-account-token\n";
    assert!(
        faults(unbound).join("\n").contains("[kubernetes.io/service-account.name]: does not name a ServiceAccount")
    );
}
