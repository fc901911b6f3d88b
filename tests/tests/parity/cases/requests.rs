//! Which rule a request meets, and what the rule makes of it.

use http::Method;
use weft_tests::apps::Act;

use crate::case::{Case, Look, ask, case, get, post};

pub(super) fn matching() -> Vec<Case> {
    vec![
        case("path: exact", "path", get("/exact"), "200 a"),
        case("path: exact, with a query", "path", get("/exact?x=1"), "200 a"),
        case("path: exact has no slash at its end", "path", get("/exact/"), "404"),
        case("path: exact minds the case", "path", get("/EXACT"), "404"),
        case("path: exact is not decoded", "path", get("/%65xact"), "404"),
        case("path: exact, encoded on both sides", "path", get("/with%20space"), "200 b"),
        case("path: exact, dots are not resolved", "path", get("/a/../exact"), "404"),
        case("path: prefix itself", "path", get("/segment"), "200 a"),
        case("path: prefix and a slash", "path", get("/segment/"), "200 a"),
        case("path: prefix and more", "path", get("/segment/x?y=z"), "200 a"),
        case("path: prefix and an empty segment", "path", get("/segment//x"), "200 a"),
        case("path: prefix ends at a segment", "path", get("/segments"), "404"),
        case("path: prefix minds the case", "path", get("/Segment/x"), "404"),
        case("path: prefix with a slash at its end", "path", get("/slash"), "200 a"),
        case("path: regular expression", "path", get("/re/42"), "200 b"),
        case("path: regular expression, without the query", "path", get("/re/42?x"), "200 b"),
        case("path: regular expression is for the whole path", "path", get("/re/42x"), "404"),
        case("path: regular expression is anchored", "path", get("/x/re/42"), "404"),
        case("method: first of two", "method", get("/"), "200 a"),
        case("method: second of two", "method", ask(Method::OPTIONS, "/"), "200 a"),
        case("method: another rule's", "method", post("/"), "200 b"),
        case("method: HEAD is not GET", "method", ask(Method::HEAD, "/"), "404"),
        case("header: exact", "header", get("/").header("x-v", "1"), "200 a"),
        case("header: absent", "header", get("/"), "404"),
        case("header: more than the value", "header", get("/").header("x-v", "11"), "404"),
        case("header: twice the same name", "header", get("/").header("x-v", "0").header("x-v", "1"), "200 a"),
        case("header: empty", "header", get("/").header("x-v", ""), "404"),
        case("header: regular expression", "header", get("/").header("x-r", "v12"), "200 b"),
        case("header: regular expression is for the whole value", "header", get("/").header("x-r", "v12-x"), "404"),
        case("query: exact", "query", get("/?v=1"), "200 a"),
        case("query: another value", "query", get("/?v=11"), "404"),
        case("query: without a value", "query", get("/?v"), "404"),
        case("query: the first of two values counts", "query", get("/?v=1&v=2"), "200 a"),
        case("query: the second of two values", "query", get("/?v=2&v=1"), "404"),
        case("query: a value is not decoded", "query", get("/?v=%31"), "404"),
        case("query: a name is not decoded", "query", get("/?%76=1"), "404"),
        case("query: regular expression", "query", get("/?x=y&r=v7"), "200 b"),
        case("query: regular expression is for the whole value", "query", get("/?r=v7x"), "404"),
    ]
}

pub(super) fn precedence() -> Vec<Case> {
    vec![
        case("precedence: longest prefix", "precedence", get("/long/er/x"), "200 b"),
        case("precedence: the shorter prefix has the rest", "precedence", get("/long/x"), "200 a"),
        case("precedence: exact over regular expression", "precedence", get("/exact"), "200 b"),
        case("precedence: regular expression over prefix", "precedence", get("/extra"), "200 a"),
        case("precedence: more headers", "precedence", get("/h").header("x-1", "1").header("x-2", "2"), "200 b"),
        case("precedence: fewer headers have the rest", "precedence", get("/h").header("x-1", "1"), "200 a"),
        case("precedence: method over headers", "precedence", get("/m").header("x-1", "1"), "200 b"),
        case("precedence: more query parameters", "precedence", get("/q?v=1"), "200 b"),
    ]
}

pub(super) fn weights() -> Vec<Case> {
    const NO_SUCH: &str = "the Gateway API asks for 500";
    vec![
        case("weight: 0 gets nothing", "weight", get("/none"), "200 b").look(Look::Spread(20)),
        case("weight: both get some", "weight", get("/both"), "200 a or 200 b").look(Look::Spread(40)),
        case("weight: 0 alone", "weight", get("/zero"), "500"),
        case("no backends", "weight", get("/nobody"), "500"),
        case("a backend that does not exist", "weight", get("/missing"), "500"),
        case("a backend of two does not exist", "weight", get("/half-missing"), "200 b or 503")
            .look(Look::Spread(40))
            .differs("200 b or 500", NO_SUCH),
        case("a Service without endpoints", "empty", get("/"), "503"),
    ]
}

pub(super) fn redirects() -> Vec<Case> {
    const TO_THE_LETTER: &str =
        "Envoy puts the text for the prefix to the letter; the Gateway API has no empty segment there";
    vec![
        case(
            "redirect: scheme",
            "redirect",
            get("/scheme/x?y=z"),
            "302; answer +location: https://shop.example/scheme/x?y=z",
        ),
        case("redirect: host, 301", "redirect", get("/host/x"), "301; answer +location: http://other.example/host/x"),
        case("redirect: port", "redirect", get("/port/x"), "302; answer +location: http://shop.example:8443/port/x"),
        case(
            "redirect: all of these",
            "redirect",
            get("/all"),
            "302; answer +location: https://other.example:8443/all",
        ),
        case(
            "redirect: a well-known port",
            "redirect",
            get("/wellknown"),
            "302; answer +location: https://other.example:443/wellknown",
        )
        .differs(
            "302; answer +location: https://other.example/wellknown",
            "the Gateway API has a scheme's own port left out",
        ),
        case(
            "redirect: full path",
            "redirect",
            get("/full/x?y=z"),
            "302; answer +location: http://other.example/new?y=z",
        ),
        case(
            "redirect: prefix",
            "redirect",
            get("/prefix/x?y=z"),
            "302; answer +location: http://other.example/new/x?y=z",
        ),
        case(
            "redirect: the whole path is the prefix",
            "redirect",
            get("/prefix"),
            "302; answer +location: http://other.example/new",
        ),
        case("redirect: prefix dropped", "redirect", get("/drop/x"), "302; answer +location: http://other.example//x")
            .differs("302; answer +location: http://other.example/x", TO_THE_LETTER),
        case("redirect: no rule for it", "redirect", get("/x?y=z"), "404"),
    ]
}

pub(super) fn rewrites() -> Vec<Case> {
    vec![
        case("rewrite: prefix", "rewrite", get("/prefix/x?y=z"), "200 a, path /new/x?y=z"),
        case("rewrite: the whole path is the prefix", "rewrite", get("/prefix"), "200 a, path /new"),
        case("rewrite: prefix and a slash", "rewrite", get("/prefix/"), "200 a, path /new/"),
        case("rewrite: prefix dropped", "rewrite", get("/drop/x"), "200 a, path //x").differs(
            "200 a, path /x",
            "Envoy puts the text for the prefix to the letter; the Gateway API has no empty segment there",
        ),
        case("rewrite: all of the path dropped", "rewrite", get("/drop"), "200 a, path /"),
        case("rewrite: full path", "rewrite", get("/full/x?y=z"), "200 a, path /new?y=z"),
        case("rewrite: a path with a backslash", "rewrite", get("/odd/x"), "200 a, path /a\\1b"),
        case("rewrite: host", "rewrite", get("/host/x"), "200 a, host other.example"),
    ]
}

pub(super) fn headers() -> Vec<Case> {
    let answers = [Act::status(200).header("x-set", "old").header("x-add", "one").header("x-gone", "bye")];
    let backend = [Act::status(200).header("x-add", "one")];
    let sent = |path| get(path).header("x-set", "old").header("x-add", "one").header("x-gone", "bye");
    vec![
        case("request headers: set, add, remove", "edit", sent("/request"), "200 a x-add: one,more -x-gone x-set: new"),
        case("request headers: where there were none", "edit", get("/request"), "200 a +x-add: more +x-set: new"),
        case(
            "answer headers: set, add, remove",
            "edit",
            get("/response"),
            "200 a; answer x-add: one,more -x-gone x-set: new",
        )
        .plays(answers),
        case(
            "answer headers: where there were none",
            "edit",
            get("/response"),
            "200 a; answer +x-add: more +x-set: new",
        ),
        case("headers of one backend", "edit", sent("/backend"), "200 a -x-gone x-set: new; answer x-add: one,more")
            .plays(backend),
        case("headers of rule and backend", "edit", get("/levels"), "200 a +x-set: of-the-rule").differs(
            "200 a +x-set: of-the-backend",
            "a backend's filters come after the rule's, as the Gateway API has it; Envoy goes the other way",
        ),
    ]
}
