use super::*;

fn to(redirect: &Redirect, host: &str, port: u16, uri: &str) -> String {
    redirect.location(&PathMatch::Segments("/foo".to_owned()), host, port, &Uri::try_from(uri).unwrap())
}

fn with_path(path: RedirectPath) -> Redirect {
    Redirect { path: Some(path), ..Redirect::default() }
}

#[test]
fn ports_follow_the_gateway_api() {
    let plain = Redirect::default();
    assert_eq!(to(&plain, "api", 80, "/foo?q=1"), "http://api/foo?q=1");
    assert_eq!(to(&plain, "api:8080", 8080, "/foo"), "http://api:8080/foo");
    assert_eq!(to(&plain, "api:80", 80, "/foo"), "http://api/foo");
    let https = Redirect { scheme: Some(Scheme::HTTPS), ..Redirect::default() };
    assert_eq!(to(&https, "api:8080", 8080, "/foo"), "https://api/foo");
    assert_eq!(to(&Redirect { port: Some(8443), ..https.clone() }, "api", 80, "/"), "https://api:8443/");
    assert_eq!(to(&Redirect { port: Some(443), ..https }, "api", 80, "/"), "https://api/");
    let http = Redirect { scheme: Some(Scheme::HTTP), ..Redirect::default() };
    assert_eq!(to(&http, "api:8080", 8080, "/foo"), "http://api/foo");
    assert_eq!(to(&Redirect { port: Some(443), ..Redirect::default() }, "api", 80, "/"), "http://api:443/");
    assert_eq!(to(&Redirect { port: Some(80), ..Redirect::default() }, "api:8080", 8080, "/"), "http://api/");
}

#[test]
fn the_host_is_the_new_one_or_that_of_the_request_without_its_port() {
    let elsewhere = Redirect { host: Some("else.example".to_owned()), ..Redirect::default() };
    assert_eq!(to(&elsewhere, "api:8080", 8080, "/a"), "http://else.example:8080/a");
    let plain = Redirect::default();
    assert_eq!(to(&plain, "[::1]:8080", 80, "/a"), "http://[::1]/a");
    assert_eq!(to(&plain, "[fd00::1]", 8080, "/a"), "http://[fd00::1]:8080/a");
}

#[test]
fn without_a_host_it_is_a_path_that_names_no_other_host() {
    assert_eq!(to(&Redirect::default(), "", 80, "/a?b"), "/a?b");
    let to_root = with_path(RedirectPath::Prefix("/".to_owned()));
    assert_eq!(to(&to_root, "", 80, "/foo//evil.example/x"), "/.//evil.example/x");
    assert_eq!(to(&to_root, "api", 80, "/foo//evil.example/x"), "http://api//evil.example/x");
}

#[test]
fn paths_are_replaced_as_rewrites_do_and_the_query_goes_along() {
    let prefix = |prefix: &str| with_path(RedirectPath::Prefix(prefix.to_owned()));
    assert_eq!(to(&prefix("/xyz"), "api", 80, "/foo/bar?q"), "http://api/xyz/bar?q");
    assert_eq!(to(&prefix("/"), "api", 80, "/foo?q"), "http://api/?q");
    let full = |path: &str| with_path(RedirectPath::Full(path.to_owned()));
    assert_eq!(to(&full("/new"), "api", 80, "/foo/bar?q"), "http://api/new?q");
    assert_eq!(to(&full("/new?own"), "api", 80, "/foo/bar?q"), "http://api/new?own");
}
