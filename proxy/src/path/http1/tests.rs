//! What is taken for ordinary, and that it is read and written as it was meant.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Method, StatusCode};

use super::head::{self, Parsed};
use super::*;

mod differential;
mod exchange;

fn request(text: &str) -> (Option<http::Request<()>>, Bytes) {
    let mut unread = Bytes::copy_from_slice(text.as_bytes());
    match head::request(&mut unread) {
        Parsed::Whole(head) => (Some(head.message), unread),
        Parsed::Partial | Parsed::Other => (None, unread),
    }
}

fn is_other(text: &str) -> bool {
    matches!(head::request(&mut Bytes::copy_from_slice(text.as_bytes())), Parsed::Other)
}

#[test]
fn takes_a_request_and_leaves_what_follows() {
    let (found, rest) = request("GET /a?b=c HTTP/1.1\r\nHost: api\r\nX-A: 1\r\nx-b:  2 \r\n\r\nGET /next");
    let found = found.unwrap();
    assert_eq!(found.method(), Method::GET);
    assert_eq!(found.uri(), "/a?b=c");
    assert_eq!(found.headers()[HOST], "api");
    assert_eq!(found.headers()["x-b"], "2");
    assert_eq!(rest, "GET /next");
}

#[test]
fn waits_for_the_whole_header() {
    let whole = "GET / HTTP/1.1\r\nHost: api\r\n\r\n";
    for length in 0..whole.len() {
        let mut unread = Bytes::copy_from_slice(&whole.as_bytes()[..length]);
        assert!(matches!(head::request(&mut unread), Parsed::Partial), "{length} bytes");
        assert_eq!(unread.len(), length, "nothing is lost");
    }
}

#[test]
fn leaves_to_hyper_what_is_not_ordinary() {
    for (why, text) in [
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
        ("CONNECT", "CONNECT api:80 HTTP/1.1\r\nHost: api\r\n\r\n"),
        ("absolute form", "GET http://api/ HTTP/1.1\r\nHost: api\r\n\r\n"),
        ("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: api\r\n\r\n"),
        ("an upgrade", "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        ("100-continue", "PUT / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"),
        ("two lengths", "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        ("different lengths", "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        ("a list of lengths", "PUT / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n"),
        ("a length with a sign", "PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"),
        ("both", "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("another coding", "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("nearly chunked", "PUT / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        ("chunked twice", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("bare line feeds", "GET / HTTP/1.1\nHost: api\n\n"),
        ("one bare line feed", "GET / HTTP/1.1\r\nHost: api\nX: y\r\n\r\n"),
        ("a folded line", "GET / HTTP/1.1\r\nHost: api\r\n x\r\n\r\n"),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : api\r\n\r\n"),
        ("NUL", "GET / HTTP/1.1\r\nHost: a\0pi\r\n\r\n"),
        ("no HTTP at all", "\x16\x03\x01\x02"),
    ] {
        assert!(is_other(text), "{why} is taken for ordinary");
    }
    let many = "X: y\r\n".repeat(MAX_FIELDS + 1);
    assert!(is_other(&format!("GET / HTTP/1.1\r\n{many}\r\n")), "too many fields");
    assert!(is_other(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(MAX_HEAD))), "too long a header");
}

#[test]
fn writes_a_request_as_it_was_spelled() {
    for text in [
        "GET /a?b HTTP/1.1\r\nhost: api\r\nx-a: 1\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: api\r\nX-A: 1\r\nAccept-Language: de\r\n\r\n",
        "GET / HTTP/1.1\r\nHOST: api\r\nX-a: 1\r\nSOAPAction: x\r\nx-A: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\neTag: q\r\n\r\n",
    ] {
        let written = head::write_request(&request(text).0.unwrap(), &framing::Framing::length(0));
        // Values of one name stand together, wherever they stood.
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(std::str::from_utf8(&written).unwrap()), sorted(text));
    }
}

#[test]
fn keeps_the_spelling_of_what_stays_when_fields_go_and_come() {
    let mut found = request("GET / HTTP/1.1\r\nHOST: api\r\nKEEP-alive: 1\r\nX-aBc: 2\r\n\r\n").0.unwrap();
    found.headers_mut().remove("keep-alive");
    found.headers_mut().insert("traceparent", "00".parse().unwrap());
    let written = head::write_request(&found, &framing::Framing::length(0));
    assert!(written.starts_with(b"GET / HTTP/1.1\r\nHOST: api\r\nX-aBc: 2\r\ntraceparent: 00\r\n\r\n"), "{written:?}");
}

fn response(text: &str, method: Method) -> (head::Head<http::Response<()>>, Bytes) {
    let mut unread = Bytes::copy_from_slice(text.as_bytes());
    match head::response(&mut unread, &method) {
        Parsed::Whole(head) => (head, unread),
        Parsed::Partial | Parsed::Other => panic!("{text:?} is no answer"),
    }
}

#[test]
fn knows_where_an_answer_ends() {
    use framing::Framing;
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    for (text, method, framing, keep_alive) in [
        (ok("Content-Length: 3\r\n"), Method::GET, Framing::length(3), true),
        (ok("Content-Length: 3\r\n"), Method::HEAD, Framing::length(0), true),
        (ok("Transfer-Encoding: chunked\r\n"), Method::GET, Framing::chunked(), true),
        (ok("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), Method::GET, Framing::chunked(), false),
        (ok("Transfer-Encoding: gzip\r\n"), Method::GET, Framing::until_close(), false),
        (ok(""), Method::GET, Framing::until_close(), false),
        (ok("Content-Length: 3\r\nConnection: x, Close\r\n"), Method::GET, Framing::length(3), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n".to_owned(), Method::GET, Framing::length(3), false),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Method::GET, Framing::length(0), true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_owned(), Method::GET, Framing::length(0), true),
    ] {
        let (found, rest) = response(&text, method.clone());
        assert_eq!((found.framing, found.keep_alive), (framing, keep_alive), "{text:?} to {method}");
        assert!(rest.is_empty());
    }
    let (both, _) = response(&ok("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), Method::GET);
    assert!(!both.message.headers().contains_key(CONTENT_LENGTH), "the length that does not count goes no further");
}

#[test]
fn refuses_answers_that_are_none() {
    for text in ["HTTP/1.1 OK\r\n\r\n", "220 smtp\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
        let parsed = head::response(&mut Bytes::copy_from_slice(text.as_bytes()), &Method::GET);
        assert!(matches!(parsed, Parsed::Other), "{text:?}");
    }
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n";
    assert!(matches!(head::response(&mut Bytes::copy_from_slice(two.as_bytes()), &Method::GET), Parsed::Other));
}

#[test]
fn writes_an_answer_with_what_it_lacks() {
    let written = |status: StatusCode, framing: framing::Framing, length, close| {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        parts.headers.insert("x-a", "1".parse().unwrap());
        String::from_utf8(head::write_response(&parts, &framing, length, close).to_vec()).unwrap()
    };
    let chunked = framing::Framing::chunked();
    assert_eq!(
        written(StatusCode::OK, chunked, None, false),
        "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let none = framing::Framing::length(0);
    assert_eq!(
        written(StatusCode::OK, none, Some(0), true),
        "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(written(StatusCode::NO_CONTENT, none, Some(0), false), "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n");
}
