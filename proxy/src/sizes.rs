//! What a connection and a request take of memory: a future that grows is paid for by each of them, so it shows here first.

use std::rc::Rc;

use http::Request;
use tokio::net::TcpStream;

use crate::path::body::Body;
use crate::path::upstream::EndpointState;
use crate::worker::Worker;
use crate::{inbound, outbound};

/// The size of the future that a function gives, in bytes.
fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connection_that_waits_is_small() {
    let serve = size_of_future(|(worker, stream): (Rc<Worker>, TcpStream)| outbound::serve(worker, stream));
    assert!(serve <= 1024, "outbound: {serve} bytes");
    let serve = size_of_future(|(worker, stream): (Rc<Worker>, TcpStream)| inbound::serve_redirected(worker, stream));
    assert!(serve <= 1536, "inbound, redirected: {serve} bytes");
    let serve = size_of_future(|(worker, stream): (Rc<Worker>, TcpStream)| inbound::serve_mesh(worker, stream));
    assert!(serve <= 7680, "inbound, a peer's: {serve} bytes");
}

#[test]
fn a_request_that_is_sent_is_small() {
    let send =
        size_of_future(|(endpoint, request): (&'static Rc<EndpointState>, Request<Body>)| endpoint.send(request));
    assert!(send <= 2048, "{send} bytes");
}
