//! Bodies of messages on HTTP/2 streams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::path::body::{Body, BodyError};
use crate::path::upload::Upload;

/// A body that arrives on a stream. The window opens as frames are taken.
pub(crate) struct Http2Body {
    stream: RecvStream,
    length: Option<u64>,
    data_ended: bool,
    /// What still sends the request that this answers.
    _upload: Option<Upload>,
}

impl Http2Body {
    /// Of a message with these headers, which may have a `content-length`.
    pub(in crate::path) fn new(stream: RecvStream, headers: &http::HeaderMap, upload: Option<Upload>) -> Self {
        let length = headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { stream, length, data_ended: false, _upload: upload }
    }
}

impl HttpBody for Http2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails on a stream that is closed, whose window nobody needs.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if let Some(left) = &mut self.length {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends a body on a stream, at the pace that the peer takes it, and ends the stream.
///
/// Ends early where the peer resets the stream. A body that breaks off resets the stream, with the reason where it came
/// over HTTP/2 itself.
pub(crate) async fn send_body(mut body: Body, mut stream: SendStream<Bytes>) {
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => return,
        };
        let sent = match frame {
            None => stream.send_data(Bytes::new(), true),
            Some(Err(error)) => return stream.send_reset(reason(&error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    match send_data(data, last, &mut stream).await {
                        Ok(()) if !last => continue,
                        done => done,
                    }
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => stream.send_trailers(trailers),
                    Err(_) => continue,
                },
            },
        };
        // A stream that is closed already: the peer has what it wants.
        let _ = sent;
        return;
    }
}

async fn send_data(mut data: Bytes, last: bool, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = loop {
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(0)) => {}
                Some(granted) => break granted?,
                None => return Err(Reason::STREAM_CLOSED.into()),
            }
        };
        let chunk = data.split_to(granted.min(data.len()));
        let ends = last && data.is_empty();
        stream.send_data(chunk, ends)?;
        if ends {
            return Ok(());
        }
    }
    if last { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

fn reason(error: &BodyError) -> Reason {
    let h2_error = match error {
        BodyError::Http2(error) => Some(error),
        _ => None,
    };
    h2_error.and_then(h2::Error::reason).unwrap_or(Reason::CANCEL)
}
