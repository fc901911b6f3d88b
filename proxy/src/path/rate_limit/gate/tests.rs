use http::{HeaderMap, HeaderValue, Method};
use weft_rules::rate_limit::{Attribute, Quota};
use weft_rules::route::Match;

use super::*;

fn limit(by: Vec<Attribute>) -> LocalLimit {
    let quota = Quota { requests: 1, per: Duration::from_secs(3600), burst: 2 };
    LocalLimit { name: "a".into(), matcher: Match::any(), by, quota }
}

fn allowed(gate: &Gate, limit: &LocalLimit, user: &str) -> Option<bool> {
    let mut headers = HeaderMap::new();
    if !user.is_empty() {
        headers.insert("x-user", HeaderValue::from_str(user).unwrap());
    }
    let request = RequestHead { method: &Method::GET, path: "/", query: None, headers: &headers };
    gate.take(limit, &request, None).map(|decision| decision.allowed)
}

#[test]
fn all_requests_share_one_bucket() {
    let limit = limit(Vec::new());
    let gate = Gate::new(&limit, 10);
    assert_eq!(["ann", "bob", "ann"].map(|user| allowed(&gate, &limit, user)), [Some(true), Some(true), Some(false)]);
}

#[test]
fn each_user_has_a_bucket() {
    let limit = limit(vec![Attribute::Header(http::HeaderName::from_static("x-user"))]);
    let gate = Gate::new(&limit, 10_000);
    for user in 0..100 {
        let user = user.to_string();
        let seen = [(); 3].map(|()| allowed(&gate, &limit, &user));
        assert_eq!(seen, [Some(true), Some(true), Some(false)], "{user}");
    }
    assert_eq!(allowed(&gate, &limit, ""), None);
}

#[test]
fn users_beyond_the_bound_share_what_is_left() {
    let limit = limit(vec![Attribute::Header(http::HeaderName::from_static("x-user"))]);
    let gate = Gate::new(&limit, PARTS);
    let let_in = (0..1_000).filter(|user: &i32| allowed(&gate, &limit, &user.to_string()) == Some(true)).count();
    // One bucket and the shared one in each part, each good for two.
    assert!(let_in <= 4 * PARTS, "{let_in}");
}
