use super::*;

#[test]
fn an_endpoint_is_the_address() {
    assert_eq!(endpoint("10.0.0.1:15012".parse().unwrap()).uri(), "http://10.0.0.1:15012/");
    assert_eq!(endpoint("[fd00::1]:15012".parse().unwrap()).uri(), "http://[fd00::1]:15012/");
}

#[test]
fn the_cause_is_the_innermost_that_is_known() {
    assert_eq!(cause(&tonic::Status::unauthenticated("unknown join token")), "unknown join token");
    let mut status = tonic::Status::unavailable("transport error");
    status.set_source(Arc::new(io::Error::other("the cable is out")));
    assert_eq!(cause(&status), "the cable is out");
}
