use super::*;

const LISTENER: ResourceKind = ResourceKind::Listener;
const CLUSTER: ResourceKind = ResourceKind::Cluster;

fn key(kind: ResourceKind, name: &str) -> Key {
    Key { kind, name: name.into() }
}

fn delta() -> Delta {
    Delta::new("api-0.shop".to_owned(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

/// A stream on which `inbound` has been subscribed to.
fn open() -> Delta {
    let mut delta = delta();
    delta.open([(key(LISTENER, "inbound"), None)]);
    assert!(delta.next_request().is_some());
    assert!(!delta.is_pending());
    delta
}

#[test]
fn the_first_request_has_the_node_and_each_kind_its_names_and_versions() {
    let mut delta = delta();
    delta.open([
        (key(LISTENER, "inbound"), Some("a".to_owned())),
        (key(LISTENER, "10.0.0.1:80"), None),
        (key(CLUSTER, "shop/api:80"), Some("b".to_owned())),
    ]);
    let first = delta.next_request().unwrap();
    let node = first.node.unwrap();
    assert_eq!(node.id, "api-0.shop");
    let fields = node.metadata.unwrap().fields;
    assert_eq!(fields["certificate_expires"].kind, Some(Kind::NumberValue(1_800_000_000.0)));
    assert_eq!(fields["version"].kind, Some(Kind::StringValue(env!("CARGO_PKG_VERSION").to_owned())));
    assert_eq!(first.type_url, LISTENER.type_url());
    assert_eq!(first.resource_names_subscribe, ["10.0.0.1:80", "inbound"]);
    assert_eq!(first.initial_resource_versions, [("inbound".to_owned(), "a".to_owned())].into());

    let second = delta.next_request().unwrap();
    assert!(second.node.is_none());
    assert_eq!(second.type_url, CLUSTER.type_url());
    assert_eq!(second.initial_resource_versions, [("shop/api:80".to_owned(), "b".to_owned())].into());
    assert!(delta.next_request().is_none());
}

#[test]
fn only_changes_are_sent_after_that() {
    let mut delta = open();
    delta.subscribe(key(LISTENER, "10.0.0.1:80"));
    delta.subscribe(key(LISTENER, "10.0.0.2:80"));
    delta.unsubscribe(key(LISTENER, "10.0.0.1:80"));
    let request = delta.next_request().unwrap();
    assert_eq!(request.resource_names_subscribe, ["10.0.0.2:80"]);
    assert_eq!(request.resource_names_unsubscribe, ["10.0.0.1:80"]);
    assert!(request.node.is_none() && request.response_nonce.is_empty());
}

#[test]
fn a_name_that_was_dropped_is_asked_for_again() {
    let mut delta = open();
    delta.unsubscribe(key(LISTENER, "inbound"));
    delta.subscribe(key(LISTENER, "inbound"));
    let request = delta.next_request().unwrap();
    assert_eq!(request.resource_names_subscribe, ["inbound"]);
    assert!(request.resource_names_unsubscribe.is_empty());
}

#[test]
fn the_first_request_of_a_kind_never_subscribes_to_nothing() {
    let mut delta = open();
    delta.subscribe(key(CLUSTER, "shop/api:80"));
    delta.unsubscribe(key(CLUSTER, "shop/api:80"));
    assert!(!delta.is_pending());
    assert!(delta.next_request().is_none(), "it would mean a subscription to everything");
}

#[test]
fn responses_are_acknowledged_first_in_first_out_and_before_changes() {
    let mut delta = open();
    delta.subscribe(key(LISTENER, "10.0.0.1:80"));
    delta.acknowledge(LISTENER.type_url().to_owned(), "1".to_owned(), None);
    delta.acknowledge(LISTENER.type_url().to_owned(), "2".to_owned(), Some("bad".to_owned()));
    let ack = delta.next_request().unwrap();
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("1", None));
    let nack = delta.next_request().unwrap();
    let detail = nack.error_detail.unwrap();
    assert_eq!((nack.response_nonce.as_str(), detail.code, detail.message.as_str()), ("2", INVALID_ARGUMENT, "bad"));
    assert_eq!(delta.next_request().unwrap().resource_names_subscribe, ["10.0.0.1:80"]);
}

#[test]
fn a_long_error_is_cut_between_characters() {
    let mut delta = open();
    delta.acknowledge(String::new(), String::new(), Some("é".repeat(ERROR_DETAIL_BYTES)));
    let message = delta.next_request().unwrap().error_detail.unwrap().message;
    assert_eq!(message.len(), ERROR_DETAIL_BYTES);
}

#[test]
fn a_renewed_certificate_is_told_by_a_request_of_its_own() {
    let mut delta = open();
    delta.certificate_renewed(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000));
    let request = delta.next_request().unwrap();
    let fields = request.node.unwrap().metadata.unwrap().fields;
    assert_eq!(fields["certificate_expires"].kind, Some(Kind::NumberValue(1_900_000_000.0)));
    assert!(request.resource_names_subscribe.is_empty() && request.response_nonce.is_empty());
    assert!(!delta.is_pending());
}

#[test]
fn nothing_is_sent_without_a_stream_and_nothing_is_carried_over() {
    let mut delta = open();
    delta.acknowledge(LISTENER.type_url().to_owned(), "1".to_owned(), None);
    delta.close();
    assert!(!delta.is_pending() && delta.next_request().is_none());
    delta.open([(key(LISTENER, "inbound"), None)]);
    let first = delta.next_request().unwrap();
    assert!(first.response_nonce.is_empty() && first.node.is_some());
    assert!(delta.next_request().is_none());
}
