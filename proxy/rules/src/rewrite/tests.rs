use proptest::prelude::*;

use super::*;
use crate::route::Pattern;

fn segments(prefix: &str) -> PathMatch {
    PathMatch::Segments(prefix.to_owned())
}

fn rewrite(path: PathRewrite) -> Rewrite {
    Rewrite { host: None, path: Some(path) }
}

#[track_caller]
fn rewritten(rewrite: &Rewrite, matched: &PathMatch, uri: &str) -> Option<String> {
    let uri = Uri::try_from(uri).unwrap();
    rewrite.path_and_query(matched, &uri).unwrap().map(|path| path.as_str().to_owned())
}

#[test]
fn prefixes_are_replaced_as_the_table_of_the_gateway_api_says() {
    for (path, prefix, replacement, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/foo/bar/", "/foo", "/", "/bar/"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/bar", "/", "/xyz/", "/xyz/bar"),
        ("/", "/", "/xyz", "/xyz"),
        ("/", "/", "", "/"),
        ("/foo//bar", "/foo", "/xyz", "/xyz//bar"),
    ] {
        assert_eq!(replace_prefix(&segments(prefix), replacement, path), expected, "{path} {prefix} {replacement}");
    }
}

#[test]
fn the_root_is_the_root_however_it_is_matched() {
    for root in [PathMatch::Any, PathMatch::Prefix("/".to_owned()), PathMatch::Prefix(String::new()), segments("/")] {
        assert_eq!(replace_prefix(&root, "/xyz", "/bar"), "/xyz/bar", "{root:?}");
        assert_eq!(replace_prefix(&root, "/xyz/", "/"), "/xyz/", "{root:?}");
    }
}

#[test]
fn a_textual_prefix_is_replaced_as_text_and_a_whole_match_as_a_whole() {
    let prefix = |prefix: &str| PathMatch::Prefix(prefix.to_owned());
    assert_eq!(replace_prefix(&prefix("/foo"), "/xyz", "/foobar"), "/xyzbar");
    assert_eq!(replace_prefix(&prefix("/foo/"), "", "/foo/bar"), "/bar");
    assert_eq!(replace_prefix(&prefix("/foo"), "", "/foo"), "/");
    for whole in [PathMatch::Exact("/a/b".to_owned()), PathMatch::Regex(Pattern::new("/a/.").unwrap())] {
        assert_eq!(replace_prefix(&whole, "/xyz", "/a/b"), "/xyz");
        assert_eq!(replace_prefix(&whole, "", "/a/b"), "/");
    }
}

#[test]
fn the_query_stays_and_what_does_not_change_is_not_rebuilt() {
    let to_root = rewrite(PathRewrite::prefix("/").unwrap());
    assert_eq!(rewritten(&to_root, &segments("/foo"), "/foo?a=/foo&b"), Some("/?a=/foo&b".to_owned()));
    assert_eq!(rewritten(&to_root, &segments("/foo"), "/foo/x?"), Some("/x?".to_owned()));
    assert_eq!(rewritten(&to_root, &segments("/"), "/x?q"), None);
    let full = rewrite(PathRewrite::full("/one").unwrap());
    assert_eq!(rewritten(&full, &PathMatch::Any, "http://a/two?q=1"), Some("/one?q=1".to_owned()));
    assert_eq!(rewritten(&full, &PathMatch::Any, "/one?q=1"), None);
    assert_eq!(rewritten(&full, &PathMatch::Any, "*"), None);
    assert_eq!(rewritten(&Rewrite::default(), &PathMatch::Any, "/one"), None);
    assert!(Rewrite::default().is_empty() && !full.is_empty());
}

#[test]
fn substitutions_are_those_of_re2() {
    let swap = rewrite(PathRewrite::regex("^/([^/]+)/([^/]+)", r"/\2/$1\\/\1").unwrap());
    assert_eq!(rewritten(&swap, &PathMatch::Any, "/a/b/c?q"), Some(r"/b/$1\/a/c?q".to_owned()));
    let swap = rewrite(PathRewrite::regex("^/([^/]+)/([^/]+)", r"/\2/$1/\1").unwrap());
    assert_eq!(rewritten(&swap, &PathMatch::Any, "/a/b/c?q"), Some("/b/$1/a/c?q".to_owned()));
    let each = rewrite(PathRewrite::regex("o", "0").unwrap());
    assert_eq!(rewritten(&each, &PathMatch::Any, "/foo?oo"), Some("/f00?oo".to_owned()));
    assert_eq!(rewritten(&each, &PathMatch::Any, "/bar"), None);
    assert!(matches!(PathRewrite::regex("^/.*$", "/all"), Ok(PathRewrite::Full(path)) if path == "/all"));
    for (pattern, substitution, expected) in [
        ("(", "/", "cannot be used"),
        ("/(a)", r"/\2", "no such group"),
        ("/a", r"/\x", "digit or a backslash"),
        ("/a", "/\\", "digit or a backslash"),
        ("^/.*$", "nowhere", "does not begin with /"),
    ] {
        let error = PathRewrite::regex(pattern, substitution).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_no_path_is_refused_when_it_is_configured_or_else_when_it_is_used() {
    for bad in ["xyz", "/a?b", "/a#b", "/a b", "/\u{7f}"] {
        assert!(PathRewrite::full(bad).is_err() && PathRewrite::prefix(bad).is_err(), "{bad}");
    }
    let uri = Uri::try_from("/a/b").unwrap();
    for (pattern, substitution) in [("^/", ""), ("/b", "?b"), ("b", " ")] {
        let rewrite = rewrite(PathRewrite::regex(pattern, substitution).unwrap());
        assert!(rewrite.path_and_query(&PathMatch::Any, &uri).is_err(), "{pattern} {substitution}");
    }
    let long = rewrite(PathRewrite::prefix(&"/long".repeat(10_000)).unwrap());
    let uri = Uri::try_from("/a".repeat(20_000)).unwrap();
    assert!(long.path_and_query(&segments("/a"), &uri).is_err());
}

proptest! {
    /// Whatever is matched and replaced, the result is a path, and the segments below the prefix stay.
    #[test]
    fn a_path_stays_a_path_with_its_last_segments(
        prefix in "(/[ab]{1,2}){0,2}/?", rest in "(/[abc]{0,2}){0,3}", replacement in "((/[xy]){0,2}/?)",
    ) {
        let prefix = if prefix.is_empty() { "/".to_owned() } else { prefix };
        let base = prefix.strip_suffix('/').unwrap_or(&prefix);
        let path = if base.is_empty() && rest.is_empty() { "/".to_owned() } else { format!("{base}{rest}") };
        let result = replace_prefix(&segments(&prefix), &replacement, &path);
        prop_assert!(result.starts_with('/'), "{result}");
        prop_assert!(path == "/" || result.ends_with(&rest), "{path} became {result}");
        let expected = replacement.matches(['x', 'y']).count() + path.matches(['a', 'b', 'c']).count() - base.matches(['a', 'b']).count();
        prop_assert_eq!(result.matches(['a', 'b', 'c', 'x', 'y']).count(), expected);
    }
}
