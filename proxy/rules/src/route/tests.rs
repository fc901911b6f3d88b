use http::{HeaderMap, HeaderName, HeaderValue, Method};
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

#[test]
fn grpc_is_told_by_its_content_type() {
    let matcher = Match { grpc: true, ..Match::any() };
    for (content_type, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=x", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        assert_eq!(matcher.matches(&head(&Method::POST, "/a.B/C", &headers)), expected, "{content_type}");
    }
    assert!(!get_matches(&matcher, "/a.B/C"));
}

#[test]
fn says_of_each_rule_that_was_tried_what_did_not_hold() {
    let header = HeaderMatch { name: HeaderName::from_static("x-tier"), value: TextMatch::Exact("gold".to_owned()) };
    let query = QueryMatch { name: "v".to_owned(), value: TextMatch::Regex(pattern("[12]")) };
    let routes = Routes::new(vec![
        rule("path", path(segments("/b"))),
        rule("method", Match { method: Some(Method::POST), ..Match::any() }),
        rule("grpc", Match { grpc: true, ..Match::any() }),
        rule("header", Match { headers: vec![header], ..Match::any() }),
        rule("query", Match { query: vec![query], ..path(segments("/a")) }),
        rule("match", path(PathMatch::Prefix("/a".to_owned()))),
        rule("after", Match::any()),
    ]);
    let headers = HeaderMap::new();
    let head = head(&Method::GET, "/a?v=3", &headers);
    let told: Vec<String> = routes
        .explain(&head)
        .map(|tried| {
            let mismatch = tried.mismatch.map_or("matches".to_owned(), |mismatch| mismatch.to_string());
            format!("{}: {mismatch}", tried.rule.name)
        })
        .collect();
    assert_eq!(
        told,
        [
            "path: the path is /b or below it",
            "method: the method is POST",
            "grpc: the content-type is application/grpc",
            "header: the header x-tier is \"gold\"",
            "query: the query parameter v matches [12]",
            "match: matches",
        ]
    );
}

#[test]
fn a_rule_over_other_targets_is_otherwise_the_same() {
    let backends = Weighted::new(vec![(Backend::plain("a"), 3), (Backend::plain("b"), 0)]).unwrap();
    let mirrors = vec![Mirror { target: "m", share: Share::ALL }];
    let forward = Forward { mirrors, hedge: true, ..Forward::to(backends) };
    let named = Rule { action: Action::Forward(Box::new(forward)), ..rule("r", Match::any()) };
    let Action::Forward(mapped) = named.map(|name| name.len()).action else { panic!("does not forward") };
    assert_eq!(mapped.targets().copied().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(mapped.backends.iter().map(|(_, weight)| weight).collect::<Vec<_>>(), [3, 0]);
    assert!(mapped.hedge && mapped.mirrors[0].share == Share::ALL);
    assert!(matches!(rule("r", Match::any()).map(|name| name.len()).action, Action::Respond(StatusCode::OK)));
}

/// Segment by segment, as a reader of the documentation would do it by hand.
fn begins_with_segments(path: &str, prefix: &str) -> bool {
    let prefix: Vec<&str> = prefix.strip_suffix('/').unwrap_or(prefix).split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    path.len() >= prefix.len() && path[..prefix.len()] == prefix[..]
}

proptest! {
    /// The rule that is found is the one that the explanation ends with.
    #[test]
    fn explains_what_it_finds(prefixes in prop::collection::vec("(/[ab]){1,2}", 0..6), target in "(/[ab]){1,3}") {
        let routes = Routes::new(prefixes.iter().map(|prefix| rule(prefix, path(segments(prefix)))).collect());
        let headers = HeaderMap::new();
        let head = head(&Method::GET, &target, &headers);
        let tried: Vec<_> = routes.explain(&head).collect();
        let found = routes.find(&head).map(|rule| rule.name.clone());
        let last = tried.last().filter(|tried| tried.mismatch.is_none()).map(|tried| tried.rule.name.clone());
        prop_assert_eq!(&found, &last);
        prop_assert!(found.is_some() || tried.len() == prefixes.len());
        prop_assert!(tried.iter().rev().skip(1).all(|tried| tried.mismatch.is_some()));
    }

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
