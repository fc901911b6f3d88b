//! What goes in at one side comes out at the other, and no more is held for it than it is.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::socket::reset_on_close;
use super::*;

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, accepted) = tokio::join!(connecting, listener.accept());
    (ours.unwrap(), accepted.unwrap().0)
}

/// Two ends with [`sockets`] between them.
async fn passed(prefix: &'static [u8]) -> (TcpStream, TcpStream, tokio::task::JoinHandle<io::Result<()>>) {
    let ((client, a), (server, b)) = (pair().await, pair().await);
    (client, server, tokio::spawn(sockets(a, Bytes::from_static(prefix), b, Bytes::new())))
}

#[tokio::test]
async fn a_side_that_has_ended_still_hears_the_other() {
    let (mut client, mut server, passing) = passed(b"first ").await;
    client.write_all(b"and last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"first and last");
    // More than the sockets take at once, to a reader that begins late.
    let answer: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    let write = {
        let answer = answer.clone();
        tokio::spawn(async move { server.write_all(&answer).await })
    };
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    write.await.unwrap().unwrap();
    assert!(heard == answer);
    passing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_side_that_breaks_resets_the_other() {
    let (client, mut server, passing) = passed(b"").await;
    reset_on_close(&client);
    drop(client);
    assert_eq!(server.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(passing.await.unwrap().is_err());
}

#[tokio::test]
async fn what_is_given_up_in_the_middle_resets_both_sides() {
    let (mut client, mut server, passing) = passed(b"").await;
    client.write_all(b"begun").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    passing.abort();
    assert_eq!(server.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_stream_that_breaks_resets_the_socket() {
    let (mut client, socket) = pair().await;
    let (stream, other_end) = tokio::io::duplex(1024);
    drop(other_end);
    let passing = tokio::spawn(socket_and_stream(socket, Bytes::from_static(b"for somebody who is gone"), stream));
    assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(passing.await.unwrap().is_err());
}

#[tokio::test]
async fn what_both_sides_had_said_before_comes_first() {
    let ((mut client, a), (mut server, b)) = (pair().await, pair().await);
    let passing = tokio::spawn(sockets(a, "asked".into(), b, "answered".into()));
    client.write_all(b" and more").await.unwrap();
    server.write_all(b" and more").await.unwrap();
    let (mut asked, mut answered) = ([0; 14], [0; 17]);
    server.read_exact(&mut asked).await.unwrap();
    client.read_exact(&mut answered).await.unwrap();
    assert_eq!((&asked, &answered), (b"asked and more", b"answered and more"));
    passing.abort();
}

#[tokio::test]
async fn one_connection_does_not_keep_a_worker_from_the_others() {
    let (mut client, mut server, _passing) = passed(b"").await;
    let flood = tokio::spawn(async move { while client.write_all(&[0; 65_536]).await.is_ok() {} });
    let drain = tokio::spawn(async move { while server.read(&mut [0; 65_536]).await.is_ok_and(|read| read > 0) {} });
    let (mut client, mut server, _also) = passed(b"").await;
    for _ in 0..100 {
        client.write_all(b"?").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'?');
    }
    assert!(!flood.is_finished());
    flood.abort();
    drain.abort();
}

#[tokio::test]
async fn what_was_read_holds_no_more_than_it_is() {
    let (mut sender, mut receiver) = pair().await;
    // The worker's own buffer is there once.
    scratch::with(scratch::BYTES, |_| ());
    for is_bulk in [false, true] {
        sender.write_all(&[7; 100]).await.unwrap();
        receiver.readable().await.unwrap();
        let mut read = None;
        let held = allocation_counter::measure(|| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            read = Some(poll_socket(&mut receiver.split().0, is_bulk, &mut context));
        });
        assert!(matches!(read, Some(Poll::Ready(Ok(read))) if read == [7; 100].as_slice()));
        assert!(held.bytes_current <= 200, "{} bytes for 100", held.bytes_current);
    }
}
