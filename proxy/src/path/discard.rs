//! An answer that nobody wants: read to its end where that is near, so that its connection can be used again.

use std::time::Duration;

use http_body_util::BodyExt as _;

use super::body::Body;

/// The most that is read, in bytes; an HTTP/1 connection with more to come is closed instead.
const MAX_BYTES: usize = 64 * 1024;
/// How long the reading may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Reads a body and throws it away, within limits.
pub(super) async fn discard(mut body: Body) {
    let read = async {
        let mut left = MAX_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, bytes::Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What takes longer is cut off.
    let _ = tokio::time::timeout(LIMIT, read).await;
}
