use std::hash::RandomState;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::route::PathMatch;

fn limit(by: Vec<Attribute>) -> LocalLimit {
    let quota = Quota { requests: 1, per: Duration::from_secs(1), burst: 1 };
    let matcher = Match { path: PathMatch::Segments("/a".to_owned()), ..Match::any() };
    LocalLimit { name: "l".into(), matcher, by, quota }
}

fn user() -> Attribute {
    Attribute::Header(HeaderName::from_static("x-user"))
}

fn headers(user: &[u8]) -> HeaderMap {
    [(HeaderName::from_static("x-user"), HeaderValue::from_bytes(user).unwrap())].into_iter().collect()
}

fn head<'a>(path: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead { method: &Method::GET, path, query: Some("q"), headers }
}

#[test]
fn requests_share_a_bucket_by_what_they_have_in_common() {
    let secret = RandomState::new();
    let (alice, bob, odd) = (headers(b"alice"), headers(b"bob"), headers(b"\xff"));
    let by = limit(vec![user(), Attribute::Path]);
    let bucket = |path, headers: &HeaderMap| by.bucket(&head(path, headers), None, &secret);
    assert_eq!(bucket("/a", &alice), bucket("/a", &alice));
    assert_ne!(bucket("/a", &alice), bucket("/a", &bob));
    assert_ne!(bucket("/a", &alice), bucket("/a/b", &alice));
    assert_eq!(bucket("/b", &alice), None, "another path");
    assert_eq!(bucket("/a", &HeaderMap::new()), None, "no user");
    assert_eq!(bucket("/a", &odd), None, "no text");
    let all = limit(vec![]);
    assert_eq!(all.bucket(&head("/a", &alice), None, &secret), all.bucket(&head("/a/b", &bob), Some("peer"), &secret));
    assert!(limit(vec![Attribute::Peer]).bucket(&head("/a", &alice), None, &secret).is_none());
}

#[test]
fn descriptors_have_all_their_entries_or_are_none() {
    let entry = |key: &str, value| DescriptorEntry { key: key.into(), value };
    let descriptor = Descriptor {
        matcher: Match::any(),
        entries: vec![
            entry("user", user()),
            entry("path", Attribute::Path),
            entry("method", Attribute::Method),
            entry("k", Attribute::Fixed("v".into())),
            entry("peer", Attribute::Peer),
        ],
    };
    let alice = headers(b"alice");
    let expected = vec![("user", "alice"), ("path", "/a"), ("method", "GET"), ("k", "v"), ("peer", "spiffe://x/y")];
    assert_eq!(descriptor.of(&head("/a", &alice), Some("spiffe://x/y")), Some(expected));
    assert_eq!(descriptor.of(&head("/a", &alice), None), None);
    assert_eq!(descriptor.of(&head("/a", &HeaderMap::new()), Some("spiffe://x/y")), None);
}

proptest! {
    /// `ab` and `c` are not the same as `a` and `bc`.
    #[test]
    fn values_do_not_run_into_each_other(user in "[ab]{1,3}", path in "[ab]{0,3}", other_user in "[ab]{1,3}", other_path in "[ab]{0,3}") {
        let secret = RandomState::new();
        let by = LocalLimit { matcher: Match::any(), ..limit(vec![super::tests::user(), Attribute::Path]) };
        let (one, other) = (headers(user.as_bytes()), headers(other_user.as_bytes()));
        let same = by.bucket(&head(&path, &one), None, &secret) == by.bucket(&head(&other_path, &other), None, &secret);
        prop_assert_eq!(same, (user, path) == (other_user, other_path));
    }
}
