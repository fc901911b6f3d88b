use super::*;

const CHUNKED: &[u8] = b"POST /a HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\nX-b: c\r\n\r\n\
    5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 6\r\n\r\n";

#[test]
fn takes_chunks_and_trailers_apart() {
    let message = Message::parse(CHUNKED).unwrap();
    assert_eq!(message.body, b"hello!");
    assert_eq!(message.trailers, ["X-Sum: 6"]);
    assert_eq!(message.end_to_end(), ["Host: api", "X-b: c"]);
    assert_eq!(message.header("x-B"), Some("c"));
}

#[test]
fn chunks_may_be_cut_otherwise_but_nothing_may_be_lost() {
    let other = b"POST /a HTTP/1.1\r\nHost: api\r\nX-b: c\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\nX-Sum: 6\r\n\r\n";
    same_end_to_end(CHUNKED, other).unwrap();
    let lower = b"POST /a HTTP/1.1\r\nhost: api\r\nX-b: c\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\nX-Sum: 6\r\n\r\n";
    same_end_to_end(CHUNKED, lower).unwrap_err();
}
