use std::collections::HashMap;

use ResourceKind::{Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
use weft_api::xds::pb::google::protobuf::Any;

use super::*;

/// A stream, and the resources that there are.
struct Stream {
    subscriptions: Subscriptions,
    there: HashMap<(ResourceKind, String), String>,
}

impl Stream {
    fn new(there: &[(ResourceKind, &str, &str)]) -> Self {
        let there = there.iter().map(|(kind, name, version)| ((*kind, (*name).to_owned()), (*version).to_owned()));
        Self { subscriptions: Subscriptions::default(), there: there.collect() }
    }

    fn request(&mut self, kind: ResourceKind, names: Names) -> Result<Interest, LimitError> {
        let known = self.there.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect();
        self.subscriptions.request(kind, names, || known, Instant::now())
    }

    fn subscribe(&mut self, kind: ResourceKind, names: &[&str]) -> Interest {
        self.request(kind, change(names, &[], &[])).unwrap()
    }

    /// The resource has a new version, or with `None` is gone.
    fn change(&mut self, kind: ResourceKind, name: &str, version: Option<&str>) {
        match version {
            Some(version) => self.there.insert((kind, name.to_owned()), version.to_owned()),
            None => self.there.remove(&(kind, name.to_owned())),
        };
        self.subscriptions.mark(kind, &name.into(), Instant::now());
    }

    fn outgoing(&mut self, whole: bool) -> Option<Outgoing> {
        let there = &self.there;
        self.subscriptions.next(whole, |kind, name| {
            let version = there.get(&(kind, name.to_string()))?.as_str().into();
            Some(Arc::new(Resource { name: name.to_string(), version, any: Any::default() }))
        })
    }

    /// The next response as `KIND +name@version -name`.
    fn next(&mut self) -> Option<String> {
        self.outgoing(false).map(|outgoing| text(&outgoing))
    }

    fn ack(&mut self, kind: ResourceKind, nonce: u64) -> Answered {
        self.subscriptions.answer(kind, &nonce.to_string(), None, Instant::now()).unwrap()
    }

    fn nack(&mut self, kind: ResourceKind, nonce: u64, error: &str) -> Answered {
        self.subscriptions.answer(kind, &nonce.to_string(), Some(error), Instant::now()).unwrap()
    }

    fn behind(&self, kind: ResourceKind, name: &str) -> bool {
        self.subscriptions.entry(kind, name).unwrap().behind_since.is_some()
    }
}

fn text(outgoing: &Outgoing) -> String {
    let mut text = outgoing.kind.name().to_owned();
    outgoing.resources.iter().for_each(|resource| text += &format!(" +{}@{}", resource.name, resource.version));
    outgoing.removed.iter().for_each(|name| text += &format!(" -{name}"));
    text
}

fn change(subscribe: &[&str], unsubscribe: &[&str], versions: &[(&str, &str)]) -> Names {
    let unsubscribe = unsubscribe.iter().map(|name| (*name).to_owned()).collect();
    let versions = versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
    Names::Change { subscribe: subscribe.iter().map(|name| Arc::from(*name)).collect(), unsubscribe, versions }
}

fn set(names: &[&str]) -> Names {
    Names::Set(names.iter().map(|name| Arc::from(*name)).collect())
}

#[test]
fn what_is_not_there_is_told_at_once_and_sent_when_it_comes() {
    let mut stream = Stream::new(&[(Listener, "a", "1")]);
    let interest = stream.subscribe(Listener, &["a", "b"]);
    assert_eq!(interest, Interest { added: vec!["a".into(), "b".into()], dropped: vec![], wildcard: None });
    assert_eq!(stream.next().as_deref(), Some("Listener +a@1 -b"));
    assert_eq!(stream.next(), None);
    stream.change(Listener, "b", Some("1"));
    assert_eq!(stream.next().as_deref(), Some("Listener +b@1"));
}

#[test]
fn what_did_not_change_is_not_sent_again() {
    let mut stream = Stream::new(&[(Cluster, "a", "1")]);
    stream.subscribe(Cluster, &["a"]);
    assert!(stream.next().is_some());
    stream.change(Cluster, "a", Some("1"));
    assert_eq!(stream.next(), None);
    assert!(stream.behind(Cluster, "a"), "sent, but not acknowledged");
    stream.ack(Cluster, 1);
    assert!(!stream.behind(Cluster, "a"));
    stream.change(Cluster, "b", Some("1"));
    assert_eq!(stream.next(), None, "nobody subscribed to it");
}

#[test]
fn on_reconnect_only_what_differs_is_sent() {
    let mut stream = Stream::new(&[(Cluster, "same", "1"), (Cluster, "new", "2")]);
    let held = [("same", "1"), ("new", "1"), ("gone", "1")];
    stream.request(Cluster, change(&["same", "new", "gone"], &[], &held)).unwrap();
    assert_eq!(stream.next().as_deref(), Some("Cluster +new@2"));
    assert_eq!(stream.next().as_deref(), Some("Cluster -gone"));
    assert!(!stream.behind(Cluster, "same"));
    assert_eq!(stream.subscriptions.entry(Cluster, "same").unwrap().acked.as_deref(), Some("1"));
}

#[test]
fn who_subscribes_again_is_sent_it_again() {
    let mut stream = Stream::new(&[(RouteConfiguration, "a", "1")]);
    stream.subscribe(RouteConfiguration, &["a"]);
    stream.next();
    assert_eq!(stream.subscribe(RouteConfiguration, &["a"]), Interest::default());
    assert_eq!(stream.next().as_deref(), Some("RouteConfiguration +a@1"));
}

#[test]
fn make_before_break() {
    let mut stream =
        Stream::new(&[(Cluster, "old", "1"), (ClusterLoadAssignment, "old", "1"), (RouteConfiguration, "r", "1")]);
    stream.subscribe(RouteConfiguration, &["r"]);
    for kind in [Cluster, ClusterLoadAssignment] {
        stream.subscribe(kind, &["old", "new"]);
    }
    while stream.next().is_some() {}
    stream.change(RouteConfiguration, "r", Some("2"));
    for kind in [Cluster, ClusterLoadAssignment] {
        stream.change(kind, "old", None);
        stream.change(kind, "new", Some("1"));
    }
    let sent: Vec<_> = std::iter::from_fn(|| stream.next()).collect();
    assert_eq!(
        sent,
        [
            "Cluster +new@1",
            "ClusterLoadAssignment +new@1",
            "RouteConfiguration +r@2",
            "ClusterLoadAssignment -old",
            "Cluster -old"
        ]
    );
}

#[test]
fn a_refused_version_is_not_sent_again_but_the_next_is() {
    let mut stream = Stream::new(&[(Listener, "a", "1")]);
    stream.subscribe(Listener, &["a"]);
    stream.next();
    stream.ack(Listener, 1);
    stream.change(Listener, "a", Some("2"));
    stream.next();
    let answered = stream.nack(Listener, 2, "filter_chains[0]: no");
    assert_eq!(answered, Answered { acked: vec![], refused: vec![("a".into(), "2".into())] });
    stream.change(Listener, "a", Some("2"));
    assert_eq!(stream.next(), None);
    let entry = stream.subscriptions.entry(Listener, "a").unwrap();
    assert_eq!(entry.acked.as_deref(), Some("1"));
    assert_eq!(entry.refused.as_deref(), Some(&("2".into(), "filter_chains[0]: no".into())));
    assert!(entry.behind_since.is_some());
    stream.change(Listener, "a", Some("3"));
    assert_eq!(stream.next().as_deref(), Some("Listener +a@3"));
    stream.ack(Listener, 3);
    assert!(stream.subscriptions.entry(Listener, "a").unwrap().refused.is_none());
    assert!(!stream.behind(Listener, "a"));
}

#[test]
fn going_back_to_the_version_that_the_client_has_settles_it() {
    let mut stream = Stream::new(&[(Listener, "a", "1")]);
    stream.subscribe(Listener, &["a"]);
    stream.next();
    stream.ack(Listener, 1);
    stream.change(Listener, "a", Some("2"));
    stream.next();
    stream.nack(Listener, 2, "no");
    stream.change(Listener, "a", Some("1"));
    assert_eq!(stream.next().as_deref(), Some("Listener +a@1"));
    stream.ack(Listener, 3);
    assert!(!stream.behind(Listener, "a"));
}

#[test]
fn a_refusal_is_of_the_resources_that_it_names() {
    let mut stream =
        Stream::new(&[(Cluster, "shop/api:80", "1"), (Cluster, "shop/api:8080", "1"), (Cluster, "x", "1")]);
    stream.subscribe(Cluster, &["shop/api:80", "shop/api:8080", "x"]);
    stream.next();
    let answered = stream.nack(Cluster, 1, "Cluster shop/api:8080: type: LOGICAL_DNS is not possible.");
    assert_eq!(answered.refused, [("shop/api:8080".into(), "1".into())]);
    assert_eq!(answered.acked, ["shop/api:80".into(), "x".into()]);
}

#[test]
fn names_are_found_as_a_whole() {
    for (text, name, found) in [
        ("shop/api:80 is bad", "shop/api:80", true),
        ("bad: shop/api:80.", "shop/api:80", true),
        ("shop/api:8080", "shop/api:80", false),
        ("myshop/api:80", "shop/api:80", false),
        ("10.0.0.1:80", "0.0.0.1:80", false),
        ("inbound: x", "inbound", true),
        ("ünbound inbound", "inbound", true),
    ] {
        assert_eq!(nack::mentions(text, name), found, "{text} {name}");
    }
}

#[test]
fn an_empty_first_request_for_listeners_or_clusters_is_a_wildcard() {
    let mut stream = Stream::new(&[(Cluster, "a", "1"), (RouteConfiguration, "r", "1")]);
    assert_eq!(stream.subscribe(Cluster, &[]).wildcard, Some(true));
    assert_eq!(stream.next().as_deref(), Some("Cluster +a@1"));
    stream.change(Cluster, "b", Some("1"));
    assert_eq!(stream.next().as_deref(), Some("Cluster +b@1"));
    stream.change(Cluster, "b", None);
    assert_eq!(stream.next().as_deref(), Some("Cluster -b"));
    stream.ack(Cluster, 3);
    assert!(stream.subscriptions.entry(Cluster, "b").is_none(), "forgotten once the client knows");
    assert_eq!(stream.subscribe(RouteConfiguration, &[]), Interest::default());
    assert_eq!(stream.next(), None);
    let end = stream.request(Cluster, change(&[], &["*"], &[])).unwrap();
    assert_eq!(end.wildcard, Some(false));
    stream.change(Cluster, "a", Some("2"));
    assert_eq!(stream.next(), None);
}

#[test]
fn a_wildcard_after_a_reconnect_takes_away_what_is_gone() {
    let mut stream = Stream::new(&[(Cluster, "a", "1"), (Cluster, "b", "2")]);
    stream.request(Cluster, change(&["*"], &[], &[("a", "1"), ("b", "1"), ("gone", "1")])).unwrap();
    assert_eq!(stream.next().as_deref(), Some("Cluster +b@2"));
    assert_eq!(stream.next().as_deref(), Some("Cluster -gone"));
    assert_eq!(stream.next(), None);
}

#[test]
fn under_a_wildcard_an_unsubscribed_name_is_told_again() {
    let mut stream = Stream::new(&[(Cluster, "a", "1")]);
    stream.subscribe(Cluster, &["*", "a"]);
    assert_eq!(stream.next().as_deref(), Some("Cluster +a@1"));
    let interest = stream.request(Cluster, change(&[], &["a"], &[])).unwrap();
    assert_eq!(interest.dropped, ["a".into()]);
    assert_eq!(stream.next().as_deref(), Some("Cluster +a@1"));
}

#[test]
fn unsubscribed_names_are_forgotten() {
    let mut stream = Stream::new(&[(Cluster, "a", "1")]);
    stream.subscribe(Cluster, &["a"]);
    stream.next();
    let interest = stream.request(Cluster, change(&[], &["a", "never"], &[])).unwrap();
    assert_eq!(interest.dropped, ["a".into()]);
    stream.change(Cluster, "a", Some("2"));
    assert_eq!(stream.next(), None);
    assert_eq!(stream.ack(Cluster, 1), Answered::default(), "a late ACK is of nothing");
}

#[test]
fn a_client_that_does_not_answer_is_sent_no_more_until_it_does() {
    let mut stream = Stream::new(&[(Cluster, "a", "0")]);
    stream.subscribe(Cluster, &["a"]);
    for version in 0..1000 {
        stream.change(Cluster, "a", Some(&version.to_string()));
        if stream.subscriptions.pending() {
            stream.next();
        }
    }
    assert_eq!(stream.subscriptions.in_flight, MAX_IN_FLIGHT);
    assert!(!stream.subscriptions.pending() && stream.subscriptions.dirty());
    stream.ack(Cluster, 1);
    assert!(stream.subscriptions.pending());
    assert_eq!(stream.next().as_deref(), Some("Cluster +a@999"), "the newest, and it alone");
    assert_eq!(stream.next(), None);
}

#[test]
fn limits_end_the_stream() {
    let mut stream = Stream::new(&[]);
    let many = (0..=MAX_SUBSCRIPTIONS).map(|number| number.to_string().into()).collect();
    let names = Names::Change { subscribe: many, unsubscribe: vec![], versions: BTreeMap::new() };
    assert_eq!(stream.request(Listener, names), Err(LimitError::Subscriptions(Listener)));
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    assert_eq!(stream.request(Cluster, change(&[&long], &[], &[])), Err(LimitError::Name(Cluster, MAX_NAME_BYTES + 1)));
}

#[test]
fn state_of_the_world_sends_listeners_whole_and_routes_as_they_change() {
    let mut stream = Stream::new(&[(Listener, "a", "1"), (Listener, "b", "1"), (RouteConfiguration, "r", "1")]);
    stream.request(Listener, set(&["a", "b", "c"])).unwrap();
    stream.request(RouteConfiguration, set(&["q", "r"])).unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| stream.outgoing(true)).map(|outgoing| text(&outgoing)).collect();
    assert_eq!(sent, ["Listener +a@1 +b@1 -c", "RouteConfiguration +r@1 -q"]);
    stream.change(Listener, "b", Some("2"));
    assert_eq!(text(&stream.outgoing(true).unwrap()), "Listener +a@1 +b@2");
    assert!(stream.subscriptions.is_latest(Listener, "3") && !stream.subscriptions.is_latest(Listener, "1"));
    let interest = stream.request(Listener, set(&["b"])).unwrap();
    assert_eq!(interest.dropped, ["a".into(), "c".into()]);
    assert!(stream.outgoing(true).is_none());
}

#[test]
fn a_bare_acknowledgement_changes_no_names() {
    let mut stream = Stream::new(&[(Cluster, "a", "1")]);
    assert!(!stream.subscriptions.is_unchanged_by(Cluster, &change(&[], &[], &[])), "it would be a wildcard");
    stream.subscribe(Cluster, &["a"]);
    assert!(stream.subscriptions.is_unchanged_by(Cluster, &change(&[], &[], &[])));
    assert!(!stream.subscriptions.is_unchanged_by(Cluster, &change(&["b"], &[], &[])));
}

#[test]
fn many_resources_come_in_several_responses() {
    let mut stream = Stream::new(&[]);
    let names: Vec<String> = (0..6000).map(|number| format!("{number:0>200}")).collect();
    for name in &names {
        stream.there.insert((Cluster, name.clone()), "1".to_owned());
    }
    let subscribed = names.iter().map(|name| Arc::from(name.as_str())).collect();
    let subscribe = Names::Change { subscribe: subscribed, unsubscribe: vec![], versions: BTreeMap::new() };
    stream.request(Cluster, subscribe).unwrap();
    let first = stream.outgoing(false).unwrap().resources.len();
    assert!(first < names.len());
    let rest: usize = std::iter::from_fn(|| stream.outgoing(false)).map(|outgoing| outgoing.resources.len()).sum();
    assert_eq!(first + rest, names.len());
}

#[test]
fn state_of_the_world_is_told_once_however_much_it_is() {
    let names: Vec<String> = (0..100).map(|number| format!("{number:0>200}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stream = Stream::new(&[]);
    for name in &names {
        stream.there.insert((Cluster, (*name).to_owned()), "1".to_owned());
    }
    stream.request(Cluster, set(&names)).unwrap();
    assert_eq!(stream.outgoing(true).map(|outgoing| outgoing.resources.len()), Some(names.len()));
    assert!(stream.outgoing(true).is_none(), "each would have all of them");
}

#[test]
fn state_of_the_world_does_not_stop_at_routes_that_are_gone() {
    let gone: Vec<String> = (0..100).map(|number| format!("{number:0>200}")).collect();
    let mut names: Vec<&str> = gone.iter().map(String::as_str).collect();
    names.push("there");
    let mut stream = Stream::new(&[(RouteConfiguration, "there", "1")]);
    stream.request(RouteConfiguration, set(&names)).unwrap();
    let resources = stream.outgoing(true).map(|outgoing| outgoing.resources.len());
    assert_eq!(resources, Some(1), "what is gone fills several responses, which would tell nothing");
}
