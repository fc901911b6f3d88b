//! What goes in at one side comes out at the other, and no more is held for it than it is.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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
    (client, server, tokio::spawn(sockets(a, Bytes::from_static(prefix), b)))
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
    scratch::with(|_| ());
    for is_bulk in [false, true] {
        sender.write_all(&[7; 100]).await.unwrap();
        receiver.readable().await.unwrap();
        let mut read = None;
        let held = allocation_counter::measure(|| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            read = Some(poll_chunk(&mut receiver.split().0, is_bulk, &mut context));
        });
        assert!(matches!(read, Some(Poll::Ready(Ok(read))) if read == [7; 100].as_slice()));
        assert!(held.bytes_current <= 200, "{} bytes for 100", held.bytes_current);
    }
}
