//! Requests to an application that answers as it likes.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::path::body::Body;
use crate::path::connection::Connection;
use crate::path::http1::Wire;
use crate::path::http1::client::{self, Error};
use crate::path::http1::head::Spelling;
use crate::path::mirror;

async fn pair() -> (Rc<Wire>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (application, _) = listener.accept().await.unwrap();
    (Rc::new(Wire::new(Connection::Socket(ours), Bytes::new(), None)), application)
}

fn request(method: Method, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_static("/x");
    request.headers_mut().insert("host", "api".parse().unwrap());
    request.extensions_mut().insert(Spelling::Title);
    request
}

fn get() -> Request<Body> {
    request(Method::GET, Body::empty())
}

async fn send(wire: &Rc<Wire>, mut request: Request<Body>) -> Result<Response<Body>, client::Failed> {
    client::send(wire, &mut request).await
}

/// Reads what was sent up to `end`.
async fn until(application: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        assert!(application.read_buf(&mut read).await.unwrap() > 0, "ended after {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("it takes too long") };
    LocalSet::new().block_on(&runtime, limited);
}

#[test]
fn one_request_after_the_other_on_one_connection() {
    run(async {
        let (wire, mut application) = pair().await;
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", "one"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n", "two"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthree",
                "three",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ] {
            assert!(wire.is_idle(), "before {answer:?}");
            let answered = spawn_local({
                let wire = Rc::clone(&wire);
                async move { text(client::send(&wire, &mut get()).await.map_err(|failed| failed.error).unwrap()).await }
            });
            assert_eq!(until(&mut application, "\r\n\r\n").await, "GET /x HTTP/1.1\r\nHost: api\r\n\r\n");
            assert!(!wire.is_idle(), "it waits for the answer");
            application.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(answered.await.unwrap(), body);
        }
    });
}

#[test]
fn a_connection_is_not_used_again_when_it_must_not_be() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (wire, mut application) = pair().await;
            application.write_all(b"").await.unwrap();
            let mut request = get();
            let sent = client::send(&wire, &mut request);
            let answering = async {
                until(&mut application, "\r\n\r\n").await;
                application.write_all(answer.as_bytes()).await.unwrap();
            };
            let (answered, ()) = tokio::join!(sent, answering);
            assert_eq!(text(answered.map_err(|failed| failed.error).unwrap()).await, "ok");
            assert!(!wire.is_idle(), "after {answer:?}");
        }
    });
}

#[test]
fn an_idle_connection_that_is_closed_is_noticed() {
    run(async {
        let (wire, application) = pair().await;
        assert!(wire.is_idle());
        drop(application);
        // The end comes by the kernel's event, which the next turn of the runtime takes.
        while wire.is_idle() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_answer_that_ends_with_its_connection() {
    run(async {
        let (wire, mut application) = pair().await;
        let answering = async {
            until(&mut application, "\r\n\r\n").await;
            application.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").await.unwrap();
            drop(application);
        };
        let (answered, ()) = tokio::join!(send(&wire, get()), answering);
        assert_eq!(text(answered.map_err(|failed| failed.error).unwrap()).await, "all of it");
        assert!(!wire.is_idle());
    });
}

#[test]
fn an_answer_that_is_cut_short_is_an_error() {
    run(async {
        for (answer, in_head) in [
            ("", true),
            ("HTTP/1.1 200 OK\r\nContent-", true),
            ("220 hello\r\n", true),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false),
        ] {
            let (wire, mut application) = pair().await;
            let answering = async {
                until(&mut application, "\r\n\r\n").await;
                application.write_all(answer.as_bytes()).await.unwrap();
                drop(application);
            };
            let (answered, ()) = tokio::join!(send(&wire, get()), answering);
            match answered {
                Ok(response) => {
                    assert!(!in_head, "{answer:?} counts as an answer");
                    assert!(response.into_body().collect().await.is_err(), "{answer:?} counts as whole");
                }
                Err(failed) => {
                    assert!(in_head, "{answer:?}: {}", failed.error);
                    assert!(!failed.is_unsent, "it was sent");
                    assert_eq!(
                        answer.is_empty(),
                        matches!(failed.error, Error::Closed),
                        "{answer:?}: {}",
                        failed.error
                    );
                }
            }
            assert!(!wire.is_idle());
        }
    });
}

#[test]
fn endless_interim_answers_end() {
    run(async {
        let (wire, mut application) = pair().await;
        spawn_local(async move {
            // Until nobody reads them any more.
            while application.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {}
        });
        let failed = send(&wire, get()).await.map(drop).unwrap_err();
        assert!(matches!(failed.error, Error::EndlessInterim), "{}", failed.error);
    });
}

#[test]
fn a_body_goes_out_as_it_comes_and_may_be_answered_before_its_end() {
    run(async {
        let (wire, mut application) = pair().await;
        let (sender, copy) = mirror::testing::copy();
        let sent = spawn_local({
            let wire = Rc::clone(&wire);
            async move { send(&wire, request(Method::POST, copy.into())).await.map_err(|failed| failed.error) }
        });
        let head = until(&mut application, "\r\n\r\n").await;
        assert!(head.ends_with("Transfer-Encoding: chunked\r\n\r\n"), "{head:?}");
        sender.push("first");
        until(&mut application, "5\r\nfirst\r\n").await;
        application.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await.unwrap();
        let response = sent.await.unwrap().unwrap();
        sender.push("second");
        until(&mut application, "6\r\nsecond\r\n").await;
        sender.end();
        until(&mut application, "0\r\n\r\n").await;
        assert_eq!(text(response).await, "early");
        assert!(wire.is_idle(), "all was sent and all was read");
    });
}

#[test]
fn a_body_that_breaks_off_is_not_the_end_of_an_answer_that_ends_with_its_connection() {
    run(async {
        let (wire, mut application) = pair().await;
        let (sender, copy) = mirror::testing::copy();
        let sent = spawn_local({
            let wire = Rc::clone(&wire);
            async move { send(&wire, request(Method::POST, copy.into())).await.ok() }
        });
        until(&mut application, "\r\n\r\n").await;
        application.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of ").await.unwrap();
        let mut answer = sent.await.unwrap().expect("an answer").into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "half of ");
        drop(sender);
        assert!(answer.frame().await.unwrap().is_err(), "half of an answer is taken for a whole one");
    });
}

#[test]
fn a_body_that_breaks_off_breaks_the_connection() {
    run(async {
        let (wire, mut application) = pair().await;
        let (sender, copy) = mirror::testing::copy();
        let sent = spawn_local({
            let wire = Rc::clone(&wire);
            async move { send(&wire, request(Method::POST, copy.into())).await.map(drop) }
        });
        until(&mut application, "\r\n\r\n").await;
        drop(sender);
        assert!(sent.await.unwrap().is_err());
        assert!(!wire.is_idle());
        let mut rest = Vec::new();
        let ended = application.read_to_end(&mut rest).await;
        assert!(ended.is_err() || !rest.ends_with(b"0\r\n\r\n"), "the application takes it for whole");
    });
}
