//! Everything that a client may send, to our server and to hyper's: both must see the same requests and answer alike.
//!
//! What is not ordinary reaches hyper on both ways; so whatever differs is something that was wrongly taken for ordinary, or
//! wrongly read.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::drain;
use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::http::serve_http1;
use crate::path::http1::server;

/// A request as the handler saw it; the body is none where it broke off.
#[derive(Debug, PartialEq)]
struct Seen {
    line: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
    trailers: Vec<(String, Vec<u8>)>,
}

fn fields(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

async fn seen(request: Request<Body>) -> Seen {
    let (parts, body) = request.into_parts();
    let line = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
    let collected = body.collect().await.ok();
    let trailers = collected.as_ref().and_then(|body| body.trailers()).map(fields).unwrap_or_default();
    let body = collected.map(|body| body.to_bytes().to_vec());
    Seen { line, fields: fields(&parts.headers), body, trailers }
}

#[derive(Clone, Copy)]
enum Server {
    Ours,
    Hypers,
}

/// What a server's handler saw of what a client sent, in pieces that end at `cuts`, and what the client was answered; none where
/// the connection was reset: a reset may overtake the answer.
async fn serve(server: Server, sent: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let all = Rc::new(RefCell::new(Vec::new()));
    let handle = {
        let all = Rc::clone(&all);
        async move |request: Request<Body>| {
            let seen = seen(request).await;
            let whole = seen.body.is_some();
            all.borrow_mut().push(seen);
            Response::new(Body::text(if whole { "whole" } else { "broken" }))
        }
    };
    let (_drainer, drain) = drain::channel();
    let serving = async {
        match server {
            Server::Ours => server::serve(Connection::Socket(accepted), Bytes::new(), &drain, handle).await,
            Server::Hypers => serve_http1(accepted, &drain, handle).await,
        }
    };
    let asking = async {
        let mut answered = Vec::new();
        let (mut reader, mut writer) = client.split();
        let write = async {
            let mut begin = 0;
            for end in cuts.iter().map(|cut| cut % (sent.len() + 1)).chain([sent.len()]) {
                if end > begin && writer.write_all(&sent[begin..end]).await.is_err() {
                    return;
                }
                begin = begin.max(end);
                tokio::task::yield_now().await;
            }
            let _ = writer.shutdown().await;
        };
        let ((), read) = tokio::join!(write, reader.read_to_end(&mut answered));
        read.is_ok().then_some(answered)
    };
    let both = async { tokio::join!(serving, asking).1 };
    let answered = tokio::time::timeout(Duration::from_secs(20), both).await.expect("the connection never ends");
    (all.take(), answered.map(|answered| String::from_utf8_lossy(&answered).into_owned()))
}

fn compare(sent: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ours, hypers) = LocalSet::new()
        .block_on(&runtime, async { (serve(Server::Ours, sent, cuts).await, serve(Server::Hypers, sent, cuts).await) });
    let text = String::from_utf8_lossy(sent);
    prop_assert_eq!(&ours.0, &hypers.0, "the handlers see different requests of {:?}", text);
    if let (Some(ours), Some(hypers)) = (ours.1, hypers.1) {
        prop_assert_eq!(answers(&ours), answers(&hypers), "{:?}\nis answered\n{}\nand\n{}", text, ours, hypers);
    }
    Ok(())
}

/// What the handler's requests were answered. Not what hyper says of what is no request: that depends on how it came in pieces.
fn answers(answered: &str) -> Vec<&'static str> {
    let of = |part: &str| ["whole", "broken"].into_iter().find(|answer| part.starts_with(answer));
    answered.split("\r\n\r\n").filter_map(of).collect()
}

fn line() -> impl Strategy<Value = String> {
    let method = prop_oneof![6 => "GET|POST|PUT|DELETE", 1 => "[A-Z]{1,8}", 1 => "CONNECT|HEAD|get|P OST"];
    let target = prop_oneof![6 => "/[a-z/]{0,8}(\\?[a-z=&]{0,6})?", 1 => "\\*|http://api/x|//|/#|/%2e%2e|/\\t|api:80|"];
    let version = prop_oneof![12 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0"), 1 => Just("")];
    (method, target, version).prop_map(|(method, target, version)| format!("{method} {target} {version}"))
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "(X-[A-Z][a-z]{0,5}|x-[a-zA-Z]{1,5}|Accept): [ -~]{0,12}",
        2 => Just("Host: api".to_owned()),
        2 => "Content-Length: ?[0-9]{1,2}",
        1 => "content-length ?: ?(0x5|\\+5|5,5|-1| |00005|99999999999999999999999)",
        2 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => "(Transfer-Encoding|transfer-encoding) ?: ?(Chunked|xchunked|chunked, gzip|gzip, chunked|identity|\\tchunked)",
        2 => "Connection: (close|keep-alive|Close, x|x, close|upgrade|)",
        1 => "(Expect: 100-continue|Upgrade: h2c|TE: trailers|Trailer: x-t)",
        1 => "[ -~]{0,10}",
        1 => "[a-z]{1,3}:[\\x00-\\xff]{0,3}",
    ]
}

fn body() -> impl Strategy<Value = String> {
    let extension = prop_oneof![8 => Just(""), 1 => Just(";a=b"), 1 => Just(" ;x"), 1 => Just(" ")];
    let chunk = (
        prop_oneof![12 => Just(0_usize), 1 => Just(1)],
        "[a-z]{1,20}",
        extension,
        prop_oneof![9 => Just("\r\n"), 1 => Just("\n")],
    )
        .prop_map(|(more, data, extension, end)| format!("{:x}{extension}\r\n{data}{end}", data.len() + more));
    let last = prop_oneof![
        6 => Just("0\r\n\r\n".to_owned()),
        1 => Just("0\r\nX-T: 1\r\n\r\n".to_owned()),
        1 => Just("0\r\nX T: 1\r\n\r\n".to_owned()),
        1 => Just("000;e\r\n\r\n".to_owned()),
        1 => Just(String::new()),
    ];
    let chunks = (prop::collection::vec(chunk, 0..4), last).prop_map(|(chunks, last)| chunks.concat() + &last);
    prop_oneof![3 => "[a-z]{0,30}", 4 => chunks]
}

/// A request of which head and body mostly fit together.
fn message() -> impl Strategy<Value = String> {
    let end = || prop_oneof![14 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\n "), 1 => Just("\r")];
    let wild = (line(), prop::collection::vec((field(), end()), 0..5), body()).prop_map(|(line, fields, body)| {
        let fields: String = fields.into_iter().map(|(field, end)| field + end).collect();
        format!("{line}\r\n{fields}\r\n{body}")
    });
    let sized = (line(), "[a-z]{0,40}")
        .prop_map(|(line, body)| format!("{line}\r\nHost: api\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let chunked = (line(), body())
        .prop_map(|(line, body)| format!("{line}\r\nhost: api\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    let plain = line().prop_map(|line| format!("{line}\r\nHost: api\r\n\r\n"));
    prop_oneof![2 => wild, 2 => sized, 2 => chunked, 2 => plain]
}

/// A byte that takes another's place, comes in between, or replaces one by nothing.
fn mutation() -> impl Strategy<Value = (usize, u8, Option<u8>)> {
    (
        any::<usize>(),
        0_u8..3,
        prop::option::of(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':')]),
    )
}

fn mutate(bytes: &mut Vec<u8>, (at, how, byte): (usize, u8, Option<u8>)) {
    let at = at % (bytes.len() + 1);
    let byte = byte.unwrap_or(b'0');
    match how {
        0 if at < bytes.len() => bytes[at] = byte,
        1 if at < bytes.len() => drop(bytes.remove(at)),
        _ => bytes.insert(at, byte),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, rng_seed: RngSeed::Fixed(0x5eed), ..ProptestConfig::default() })]

    #[test]
    fn both_servers_see_the_same(
        messages in prop::collection::vec(message(), 1..4),
        mutations in prop::collection::vec(mutation(), 0..3),
        cuts in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        let mut sent = messages.concat().into_bytes();
        mutations.into_iter().for_each(|mutation| mutate(&mut sent, mutation));
        let mut cuts = cuts;
        cuts.sort_by_key(|cut| cut % (sent.len() + 1));
        compare(&sent, &cuts)?;
    }
}

#[test]
fn smuggled_requests_stay_where_they_are() {
    for sent in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\n\r\nhello\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nGET /evil HTTP/1.1\r\n\r\n",
    ] {
        compare(sent.as_bytes(), &[]).unwrap();
    }
}
