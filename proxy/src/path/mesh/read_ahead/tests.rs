//! What goes in comes out, in whatever parts it is read.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ReadAhead;

#[tokio::test]
async fn everything_comes_through_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut reader = ReadAhead::new(listener.accept().await.unwrap().0);
    let sent: Vec<u8> = (0..2_000_000_u32).map(|number| (number % 251) as u8).collect();
    let write = {
        let sent = sent.clone();
        tokio::spawn(async move {
            sender.write_all(&sent).await.unwrap();
            sender
        })
    };
    let mut received = Vec::new();
    let mut part = vec![0; 4096];
    // By parts as rustls takes them, then by smaller and larger ones.
    for size in [4096, 1, 100, 4096, 4000, 4096].into_iter().cycle() {
        let read = reader.read(&mut part[..size]).await.unwrap();
        assert!(read > 0);
        received.extend_from_slice(&part[..read]);
        if received.len() == sent.len() {
            break;
        }
    }
    assert!(received == sent);
    // After much comes little: it is there at once, and nothing is held for it.
    let mut sender = write.await.unwrap();
    sender.write_all(b"little").await.unwrap();
    let read = reader.read(&mut part).await.unwrap();
    assert_eq!(&part[..read], b"little");
    assert!(reader.ahead.is_empty());
    drop(sender);
    assert_eq!(reader.read(&mut part).await.unwrap(), 0);
}
