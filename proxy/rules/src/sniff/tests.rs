use proptest::prelude::*;

use super::*;

/// A TLS 1.3 client's first bytes.
const HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];

#[test]
fn http1() {
    for line in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"G /",
        b"DELETE /a",
        b"M-SEARCH * HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.0\r\n",
        b"UPDATEREDIRECTREF /x HTTP/1.1\r\n",
        b"GET http://host/ HTTP/1.1\r\n",
        b"GET HTTPS://host/ HTTP/1.1\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n",
        b"CONNECT [::1]:443 HTTP/1.1\r\n",
        b"PRI * HTTP/1.1\r\n",
    ] {
        assert_eq!(sniff(line), Sniffed::Http1, "{}", line.escape_ascii());
    }
}

#[test]
fn http2_is_the_whole_preface() {
    assert_eq!(sniff(HTTP2_PREFACE), Sniffed::Http2);
    assert_eq!(sniff(&[HTTP2_PREFACE, b"\0\0\0\x04"].concat()), Sniffed::Http2);
    assert_eq!(sniff(&HTTP2_PREFACE[..23]), Sniffed::NeedMore);
    assert_eq!(sniff(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), Sniffed::Http1);
    assert_eq!(sniff(b"pri * http/2.0\r\n\r\nsm\r\n\r\n"), Sniffed::Opaque);
}

#[test]
fn tls() {
    assert_eq!(sniff(HELLO), Sniffed::Tls);
    assert_eq!(sniff(&HELLO[..6]), Sniffed::Tls);
    assert_eq!(sniff(&HELLO[..5]), Sniffed::NeedMore);
    for wrong in [
        &[0x15, 0x03, 0x01, 0x02, 0x00, 0x01][..],
        &[0x16, 0x02, 0x01, 0x02, 0x00, 0x01],
        &[0x16, 0x03, 0x05, 0x02, 0x00, 0x01],
        &[0x16, 0x03, 0x01, 0x40, 0x01, 0x01],
        &[0x16, 0x03, 0x01, 0x00, 0x00, 0x01],
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x02],
        &[0x16, 0x03, 0x01, 0x7f],
    ] {
        assert_eq!(sniff(wrong), Sniffed::Opaque, "{wrong:?}");
    }
}

#[test]
fn other_protocols_are_opaque() {
    for (name, bytes) in [
        ("SSH", &b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3\r\n"[..]),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("Redis inline", b"SET key value\r\n"),
        ("Redis ping", b"PING\r\n"),
        ("memcached", b"get key\r\n"),
        ("memcached with a path as the key", b"get /key\r\n"),
        ("SMTP", b"EHLO example.com\r\n"),
        ("FTP", b"USER anonymous\r\n"),
        ("IRC", b"NICK http\r\n"),
        ("NATS", b"CONNECT {\"verbose\":false}\r\n"),
        ("STOMP", b"CONNECT\naccept-version:1.2\n"),
        ("RTSP", b"OPTIONS rtsp://camera/1 RTSP/1.0\r\n"),
        ("RTSP asterisk", b"OPTIONS * RTSP/1.0\r\n"),
        ("SIP", b"INVITE sip:bob@example.com SIP/2.0\r\n"),
        ("PostgreSQL", &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
        ("MongoDB", &[0x3a, 0, 0, 0, 1, 0, 0, 0]),
        ("MQTT", &[0x10, 0x1a, 0, 4, b'M', b'Q', b'T', b'T']),
        ("AMQP", b"AMQP\0\0\x09\x01"),
        ("PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        ("HTTP/0.9 without a target", b"GET\r\n"),
        ("no method", b" / HTTP/1.1\r\n"),
        ("two spaces", b"GET  / HTTP/1.1\r\n"),
        ("an empty line first", b"\r\nGET / HTTP/1.1\r\n"),
        ("a method without end", &[b'A'; METHOD_MAX + 1]),
        ("spaces", b"   "),
    ] {
        assert_eq!(sniff(bytes), Sniffed::Opaque, "{name}");
    }
}

#[test]
fn waits_while_it_can_be_more_than_one() {
    for bytes in [&b""[..], b"P", b"GET", b"GET ", b"OPTIONS *", b"OPTIONS * HT", b"GET htt", b"\x16", b"CONNECT "] {
        assert_eq!(sniff(bytes), Sniffed::NeedMore, "{}", bytes.escape_ascii());
    }
}

/// Beginnings that come near to something, which random bytes hardly ever do.
fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    let near = prop::sample::select(vec![
        HTTP2_PREFACE.to_vec(),
        HELLO.to_vec(),
        b"PRI * HTTP/2".to_vec(),
        b"OPTIONS * HTTP/1.1".to_vec(),
        b"GET /path HTTP/1.1".to_vec(),
        b"CONNECT a".to_vec(),
        b"PUT https://".to_vec(),
        vec![b'X'; METHOD_MAX],
        vec![b'X'; METHOD_MAX + 1],
        vec![],
    ]);
    (near, 0_usize..60, prop::collection::vec(any::<u8>(), 0..50)).prop_map(|(mut near, cut, rest)| {
        near.truncate(cut);
        near.extend(rest);
        near
    })
}

proptest! {
    #[test]
    fn a_prefix_needs_more_or_has_the_final_answer(bytes in beginnings()) {
        let whole = sniff(&bytes);
        let mut answered = false;
        for end in 0..=bytes.len() {
            let part = sniff(&bytes[..end]);
            prop_assert!(part == whole || part == Sniffed::NeedMore, "{part:?} at {end}, then {whole:?}");
            prop_assert!(!answered || part != Sniffed::NeedMore, "an answer was taken back at {end}");
            answered = part != Sniffed::NeedMore;
        }
    }

    #[test]
    fn never_needs_more_than_the_bound(bytes in beginnings(), filler: u8) {
        let mut bytes = bytes;
        bytes.resize(bytes.len().max(MAX_LOOKAHEAD), filler);
        prop_assert_ne!(sniff(&bytes[..MAX_LOOKAHEAD]), Sniffed::NeedMore);
    }
}
