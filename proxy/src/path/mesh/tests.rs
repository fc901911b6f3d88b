//! Two ends of the transport in one process, without TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{LocalSet, spawn_local};

use super::client::builder;
use super::{DESTINATION, MeshListener, Tunnel, TunnelRequest, serve_connection};
use crate::drain::{self, Drainer};
use crate::path::body::Body;
use crate::path::http2::{Http2Body, client, send_body};

const POD: &str = "10.1.0.7:8080";

/// What the listener does with tunnels, by the port that they are for.
const ECHO: u16 = 1;
const RESET: u16 = 2;
const END: u16 = 3;
const UNREAD: u16 = 4;
const REFUSE: u16 = 5;
const ANSWER: u16 = 6;

/// Longer than what one frame takes, shorter than the window.
const LONG: usize = 100_000;

#[derive(Default)]
struct Listener {
    unread: RefCell<Vec<Tunnel>>,
}

impl MeshListener for Listener {
    async fn request(&self, destination: SocketAddr, request: Request<Body>) -> Response<Body> {
        assert_eq!(destination.to_string(), POD);
        assert!(!request.headers().contains_key(DESTINATION), "it must not reach the application");
        Response::new(request.into_body())
    }

    async fn http1(&self, _: SocketAddr, tunnel: TunnelRequest) {
        tunnel.refuse(StatusCode::NOT_IMPLEMENTED, "not_here");
    }

    async fn opaque(&self, destination: SocketAddr, tunnel: TunnelRequest) {
        if destination.port() == REFUSE {
            return tunnel.refuse(StatusCode::SERVICE_UNAVAILABLE, "connect_failed");
        }
        let mut tunnel = tunnel.accept().unwrap();
        match destination.port() {
            ECHO => {
                let (mut reader, mut writer) = tokio::io::split(tunnel);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            }
            END => tunnel.shutdown().await.unwrap(),
            ANSWER => {
                tunnel.write_all(&[1; LONG]).await.unwrap();
                tunnel.shutdown().await.unwrap();
            }
            UNREAD => self.unread.borrow_mut().push(tunnel),
            _ => {
                tunnel.write_all(b"half of it").await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn with_connection<F: Future>(test: impl FnOnce(SendRequest<Bytes>, Drainer) -> F) -> F::Output {
    LocalSet::new()
        .run_until(async {
            let (near, far) = tokio::io::duplex(1 << 20);
            let (drainer, drain) = drain::channel();
            spawn_local(serve_connection(far, Rc::new(Listener::default()), drain));
            let sender = client::open(near, builder(), "the peer".to_owned()).await.unwrap();
            test(sender, drainer).await
        })
        .await
}

async fn tunnel(sender: &SendRequest<Bytes>, port: u16) -> Result<Tunnel, StatusCode> {
    let request = Request::connect(format!("10.1.0.7:{port}")).body(()).unwrap();
    let mut sender = sender.clone().ready().await.unwrap();
    let (response, send) = sender.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    if response.status().is_success() { Ok(Tunnel::new(send, response.into_body())) } else { Err(response.status()) }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_and_half_closes() {
    with_connection(|sender, _| async move {
        let mut tunnel = tunnel(&sender, ECHO).await.unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|byte| byte as u8).collect();
        let ending = tunnel.ending();
        let (mut reader, mut writer) = tokio::io::split(&mut tunnel);
        let send = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(send, reader.read_to_end(&mut received));
        assert_eq!(read.unwrap(), sent.len());
        assert_eq!(received, sent);
        assert!(ending.is_clean());
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_is_cut_off_is_an_error_not_an_end() {
    with_connection(|sender, _| async move {
        let mut tunnel = tunnel(&sender, RESET).await.unwrap();
        let mut received = Vec::new();
        let error = tunnel.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(!tunnel.ending().is_clean());
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_ends_before_it_was_asked_ends_cleanly() {
    with_connection(|sender, _| async move {
        let mut tunnel = tunnel(&sender, END).await.unwrap();
        assert_eq!(tunnel.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert!(tunnel.ending().is_clean());
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_ends_first_has_said_all_it_wrote() {
    with_connection(|sender, _| async move {
        let mut tunnel = tunnel(&sender, ANSWER).await.unwrap();
        let mut received = Vec::new();
        assert_eq!(tunnel.read_to_end(&mut received).await.unwrap(), LONG);
        assert!(tunnel.ending().is_clean());
    })
    .await;
}

#[tokio::test]
async fn what_was_read_ahead_in_part_comes_whole_to_who_reads_on_in_chunks() {
    with_connection(|sender, _| async move {
        let mut tunnel = tunnel(&sender, ANSWER).await.unwrap();
        let mut received = vec![tunnel.read_u8().await.unwrap()];
        while let Some(chunk) = poll_fn(|cx| tunnel.poll_chunk(cx)).await.unwrap() {
            received.extend_from_slice(&chunk);
            tunnel.release(chunk.len());
        }
        assert_eq!(received, [1; LONG]);
    })
    .await;
}

#[tokio::test]
async fn a_refused_tunnel_says_so() {
    with_connection(|sender, _| async move {
        assert_eq!(tunnel(&sender, REFUSE).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    })
    .await;
}

#[tokio::test]
async fn streams_that_nobody_reads_do_not_hold_up_others() {
    with_connection(|sender, _| async move {
        let mut stuck = Vec::new();
        for _ in 0..8 {
            let mut tunnel = tunnel(&sender, UNREAD).await.unwrap();
            // Writes as much as the window takes; the rest waits for a reader that never comes.
            let filled = async { while tunnel.write_all(&[0; 64 * 1024]).await.is_ok() {} };
            assert!(tokio::time::timeout(std::time::Duration::from_millis(50), filled).await.is_err());
            stuck.push(tunnel);
        }
        let mut echo = tunnel(&sender, ECHO).await.unwrap();
        let sent = vec![7; 2_000_000];
        let (mut reader, mut writer) = tokio::io::split(&mut echo);
        let mut received = vec![0; sent.len()];
        let (sent, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
        sent.unwrap();
        read.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_request_is_a_stream_with_its_trailers() {
    with_connection(|sender, _| async move {
        let request = Request::builder()
            .method(Method::POST)
            .uri("http://api/echo")
            .header(DESTINATION, POD)
            .header("trailer", "checksum")
            .body(())
            .unwrap();
        let mut sender = sender.ready().await.unwrap();
        let (response, mut send) = sender.send_request(request, false).unwrap();
        send.send_data(Bytes::from_static(b"payload"), false).unwrap();
        send.send_trailers(http::HeaderMap::from_iter([("checksum".parse().unwrap(), "7".parse().unwrap())])).unwrap();
        let response = response.await.unwrap();
        let (parts, stream) = response.into_parts();
        let collected = Http2Body::new(stream, &parts.headers, None).collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["checksum"], "7");
        assert_eq!(collected.to_bytes(), "payload");
    })
    .await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_open_and_refuses_what_is_new() {
    with_connection(|sender, drainer| async move {
        let mut open = tunnel(&sender, ECHO).await.unwrap();
        drainer.start();
        // The peer has seen the GOAWAY when a new stream fails.
        let refused = async {
            loop {
                let Ok(mut sender) = sender.clone().ready().await else { return };
                let request = Request::connect("10.1.0.7:1").body(()).unwrap();
                let Ok((response, _send)) = sender.send_request(request, false) else { return };
                if response.await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), refused).await.unwrap();
        open.write_all(b"still here").await.unwrap();
        open.shutdown().await.unwrap();
        let mut received = String::new();
        open.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "still here");
    })
    .await;
}

#[tokio::test]
async fn a_body_is_sent_whole() {
    with_connection(|sender, _| async move {
        let request = Request::post("http://api/").header(DESTINATION, POD).body(()).unwrap();
        let mut sender = sender.ready().await.unwrap();
        let (response, send) = sender.send_request(request, false).unwrap();
        spawn_local(send_body(Body::text("what was said"), send));
        let (parts, stream) = response.await.unwrap().into_parts();
        let received = Http2Body::new(stream, &parts.headers, None).collect().await.unwrap().to_bytes();
        assert_eq!(received, "what was said");
    })
    .await;
}
