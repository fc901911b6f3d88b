//! How much a stream keeps, counted by the allocator.

use std::task::{Context, Poll, Waker};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use http_body::Body;
use tonic::codec::EncodeBody;

use super::*;

/// A response with one resource of this many bytes.
fn response(bytes: usize) -> DeltaDiscoveryResponse {
    let value = envoy_types::pb::google::protobuf::Any { value: vec![1; bytes], ..Default::default() };
    let resource = Resource { resource: Some(value), ..Resource::default() };
    DeltaDiscoveryResponse { resources: vec![resource], ..DeltaDiscoveryResponse::default() }
}

/// The frames of a stream that sends responses of these sizes and then stays open, and the bytes that it keeps on the heap.
fn send(sizes: &[usize]) -> (usize, i64) {
    let (mut body, mut frames) = (None, 0);
    let counted = allocation_counter::measure(|| {
        let responses: Vec<_> = sizes.iter().map(|bytes| Ok(response(*bytes))).collect();
        let source = tokio_stream::StreamExt::chain(tokio_stream::iter(responses), tokio_stream::pending());
        let encoder = LeanCodec::<_, DeltaDiscoveryRequest>::default().encoder();
        let body = body.insert(Box::pin(EncodeBody::new_server(encoder, source, None, Default::default(), None)));
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut context) {
            assert!(frame.is_ok_and(|frame| frame.is_data()));
            frames += 1;
        }
    });
    assert!(body.is_some());
    (frames, counted.bytes_current)
}

#[test]
fn messages_are_not_gathered() {
    assert_eq!(send(&[1_000; 20]).0, 20);
}

#[test]
fn a_stream_keeps_less_than_twice_its_largest_message() {
    let (_, none) = send(&[]);
    let (_, kept) = send(&[100, 3_000, 100, 4_000, 4_000, 100]);
    assert!(kept - none <= 8_000, "{kept} bytes, {none} of an idle one");
}

#[test]
fn a_stream_that_sent_nothing_keeps_next_to_nothing() {
    let (_, kept) = send(&[]);
    assert!(kept <= 1_024, "{kept} bytes");
}
