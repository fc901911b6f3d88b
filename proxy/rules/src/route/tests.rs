use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn rule(name: &str, matcher: Match) -> Rule<&'static str> {
    let action = Action::Respond(StatusCode::OK);
    Rule { name: name.into(), manifest: "".into(), matcher, filters: Filters::default(), action }
}

fn path(path: PathMatch) -> Match {
    Match { path, ..Match::any() }
}

fn segments(prefix: &str) -> PathMatch {
    PathMatch::Segments(prefix.to_owned())
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn head<'a>(method: &'a Method, target: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RequestHead { method, path, query, headers }
}

fn get_matches(matcher: &Match, target: &str) -> bool {
    matcher.matches(&head(&Method::GET, target, &HeaderMap::new()))
}

#[test]
fn the_first_rule_that_matches_wins() {
    let routes = Routes::new(vec![
        rule("exact", path(PathMatch::Exact("/a/b".to_owned()))),
        rule("segments", path(segments("/a"))),
        rule("posts", Match { method: Some(Method::POST), ..Match::any() }),
    ]);
    let headers = HeaderMap::new();
    let name = |method, target| routes.find(&head(method, target, &headers)).map(|rule| &*rule.name);
    assert_eq!(name(&Method::GET, "/a/b"), Some("exact"));
    assert_eq!(name(&Method::GET, "/a/b/"), Some("segments"));
    assert_eq!(name(&Method::POST, "/a/b/c?x"), Some("segments"));
    assert_eq!(name(&Method::POST, "/b"), Some("posts"));
    assert_eq!(name(&Method::GET, "/b"), None);
    assert_eq!(routes.rules().len(), 3);
}

#[test]
fn segments_end_where_segments_end() {
    for prefix in ["/a", "/a/"] {
        for (target, expected) in
            [("/a", true), ("/a/", true), ("/a/b", true), ("/ab", false), ("/", false), ("", false)]
        {
            assert_eq!(segments(prefix).matches(target), expected, "{prefix} and {target}");
        }
    }
}

#[test]
fn the_root_is_every_path_also_those_that_are_none() {
    for root in [PathMatch::Any, PathMatch::Prefix("/".to_owned()), segments("/")] {
        for target in ["/", "/a", "*", ""] {
            assert!(root.matches(target), "{root:?} and {target:?}");
        }
    }
}

#[test]
fn paths_are_compared_as_they_are_forwarded() {
    let admin = segments("/admin");
    for other in ["/%61dmin", "//admin", "/./admin", "/x/../admin", "/Admin", "/admin;x", "/admin%2Fx", "/admin#"] {
        assert!(!admin.matches(other), "{other}");
    }
}

#[test]
fn a_regular_expression_matches_the_whole_path() {
    let regex = PathMatch::Regex(pattern("/v[0-9]+|/latest"));
    assert!(regex.matches("/v12") && regex.matches("/latest"));
    assert!(!regex.matches("/v12/x") && !regex.matches("x/latest") && !regex.matches("/v1\n"));
}

#[test]
fn a_regular_expression_cannot_leave_its_brackets_or_grow_without_bound() {
    for bad in ["a)|(?:b", "(", "(?x)a # ", "(?=a)", r"(a)\1", "(((a{1000}){1000}){1000})"] {
        let error = Pattern::new(bad).expect_err(bad);
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }
}

#[test]
fn each_header_value_is_matched_by_itself() {
    let matcher =
        |value| Match { headers: vec![HeaderMatch { name: HeaderName::from_static("x-tier"), value }], ..Match::any() };
    let mut headers = HeaderMap::new();
    headers.append("x-tier", HeaderValue::from_static("gold"));
    headers.append("x-tier", HeaderValue::from_static("silver"));
    headers.append("x-tier", HeaderValue::from_bytes(b"\xff").unwrap());
    let matches = |value| matcher(value).matches(&head(&Method::GET, "/", &headers));
    assert!(matches(TextMatch::Exact("silver".to_owned())));
    assert!(matches(TextMatch::Regex(pattern("g.*d"))));
    assert!(matches(TextMatch::Present));
    assert!(!matches(TextMatch::Exact("gold,silver".to_owned())));
    assert!(!matches(TextMatch::Regex(pattern("gold.*silver"))));
    assert!(!matches(TextMatch::Exact("Gold".to_owned())));
    assert!(!matcher(TextMatch::Present).matches(&head(&Method::GET, "/", &HeaderMap::new())));
}

#[test]
fn the_first_value_of_a_query_parameter_counts() {
    let matcher = |value| Match { query: vec![QueryMatch { name: "v".to_owned(), value }], ..Match::any() };
    let exact = |value: &str| matcher(TextMatch::Exact(value.to_owned()));
    assert!(get_matches(&exact("1"), "/?a=2&v=1&v=3"));
    assert!(!get_matches(&exact("3"), "/?v=1&v=3"));
    assert!(
        !get_matches(&exact("1"), "/?V=1") && !get_matches(&exact("1"), "/?%76=1") && !get_matches(&exact("1"), "/")
    );
    assert!(get_matches(&exact(""), "/?v") && get_matches(&exact("a=b"), "/?v=a=b"));
    assert!(get_matches(&matcher(TextMatch::Present), "/?v") && !get_matches(&matcher(TextMatch::Present), "/?w"));
    assert!(get_matches(&matcher(TextMatch::Regex(pattern("[12]"))), "/?v=2"));
}

#[test]
fn all_conditions_must_hold() {
    let matcher = Match {
        path: segments("/a"),
        method: Some(Method::GET),
        headers: vec![HeaderMatch { name: HeaderName::from_static("h"), value: TextMatch::Present }],
        query: vec![QueryMatch { name: "q".to_owned(), value: TextMatch::Present }],
        grpc: false,
    };
    let with: HeaderMap = [(HeaderName::from_static("h"), HeaderValue::from_static("1"))].into_iter().collect();
    assert!(matcher.matches(&head(&Method::GET, "/a?q", &with)));
    assert!(!matcher.matches(&head(&Method::PUT, "/a?q", &with)));
    assert!(!matcher.matches(&head(&Method::GET, "/b?q", &with)));
    assert!(!matcher.matches(&head(&Method::GET, "/a", &with)));
    assert!(!matcher.matches(&head(&Method::GET, "/a?q", &HeaderMap::new())));
}

/// Segment by segment, as a reader of the documentation would do it by hand.
fn begins_with_segments(path: &str, prefix: &str) -> bool {
    let prefix: Vec<&str> = prefix.strip_suffix('/').unwrap_or(prefix).split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    path.len() >= prefix.len() && path[..prefix.len()] == prefix[..]
}

proptest! {
    #[test]
    fn segments_are_as_in_the_naive_model(path in "(/[ab]{0,2}){1,4}", prefix in "(/[ab]{0,2}){1,3}") {
        prop_assert_eq!(segments(&prefix).matches(&path), begins_with_segments(&path, &prefix), "{} {}", path, prefix);
    }

    #[test]
    fn prefix_exact_and_regex_agree_with_the_text(path in "/[ab/.]{0,6}", other in "/[ab/.]{1,3}") {
        prop_assert_eq!(PathMatch::Prefix(other.clone()).matches(&path), path.starts_with(&other));
        prop_assert_eq!(PathMatch::Exact(other.clone()).matches(&path), path == other);
        let quoted = pattern(&regex::escape(&other));
        prop_assert_eq!(PathMatch::Regex(quoted).matches(&path), path == other);
    }
}
