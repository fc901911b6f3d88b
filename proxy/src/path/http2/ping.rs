//! Notices a connection whose peer is gone without a word.

use std::time::Duration;

use h2::{Ping, PingPong};

/// How often the peer is asked for a sign of life.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to give one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends when the peer no longer answers.
pub(in crate::path) async fn until_silent(ping_pong: Option<PingPong>) {
    let Some(mut ping_pong) = ping_pong else { return std::future::pending().await };
    loop {
        tokio::time::sleep(INTERVAL).await;
        match tokio::time::timeout(PATIENCE, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
