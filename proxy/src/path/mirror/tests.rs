use std::future::poll_fn;

use super::*;

fn data(bytes: usize) -> Frame<Bytes> {
    Frame::data(Bytes::from(vec![0; bytes]))
}

async fn next(body: &CopyBody) -> Option<Result<Frame<Bytes>, BodyError>> {
    poll_fn(|cx| body.poll_frame(cx)).await
}

#[tokio::test]
async fn a_copy_has_the_frames_of_its_body() {
    let (sender, body) = copy();
    assert!(sender.push(&data(3)));
    assert!(!body.is_end_stream());
    let mut trailers = http::HeaderMap::new();
    trailers.insert("a", http::HeaderValue::from_static("b"));
    assert!(sender.push(&Frame::trailers(trailers.clone())));
    sender.end();
    assert_eq!(next(&body).await.unwrap().unwrap().into_data().unwrap().len(), 3);
    assert_eq!(next(&body).await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(body.is_end_stream());
    assert!(next(&body).await.is_none());
}

#[tokio::test]
async fn a_copy_that_falls_behind_is_given_up() {
    let (sender, body) = copy();
    assert!(sender.push(&data(MAX_WAITING)));
    assert!(!sender.push(&data(1)));
    assert!(matches!(next(&body).await, Some(Err(BodyError::CopyGivenUp))));
}

#[tokio::test]
async fn a_copy_of_a_body_that_breaks_off_breaks_off() {
    let (sender, body) = copy();
    sender.push(&data(1));
    drop(sender);
    assert!(matches!(next(&body).await, Some(Err(BodyError::CopyGivenUp))));
}

#[test]
fn a_copy_that_nobody_reads_takes_nothing() {
    let (sender, body) = copy();
    drop(body);
    assert!(!sender.push(&data(1)));
}
