use proptest::prelude::*;

use super::*;

fn cookie(ttl: Option<u64>) -> SessionPolicy {
    SessionPolicy::Cookie { name: "weft".to_owned(), path: "/".to_owned(), ttl: ttl.map(Duration::from_secs) }
}

fn map(name: &'static str, value: &str) -> HeaderMap {
    [(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())].into_iter().collect()
}

#[test]
fn a_client_comes_back_with_what_it_was_given() {
    let endpoint: SocketAddr = "10.1.2.3:8080".parse().unwrap();
    let (name, value) = cookie(Some(60)).keep(endpoint).unwrap();
    assert_eq!((name, value.to_str().unwrap()), (SET_COOKIE, "weft=0a0102031f90; Max-Age=60; Path=/; HttpOnly"));
    assert_eq!(cookie(None).keep(endpoint).unwrap().1, "weft=0a0102031f90; Path=/; HttpOnly");
    assert_eq!(cookie(None).endpoint(&map("cookie", "a=1; weft=0a0102031f90")), Some(endpoint));
    let header = SessionPolicy::Header { name: HeaderName::from_static("x-session") };
    let (name, value) = header.keep(endpoint).unwrap();
    assert_eq!(header.endpoint(&[(name, value)].into_iter().collect()), Some(endpoint));
    assert_eq!(header.endpoint(&HeaderMap::new()), None);
}

#[test]
fn what_we_did_not_make_is_no_session() {
    for token in ["", "0a010203", "0a0102031f9", "0a0102031f900", "0a0102031f9g", "10.1.2.3:8080", "+a0102031f90"] {
        assert_eq!(decode(token.as_bytes()), None, "{token}");
        assert_eq!(cookie(None).endpoint(&map("cookie", &format!("weft={token}"))), None);
    }
}

proptest! {
    #[test]
    fn every_endpoint_survives(ip: std::net::IpAddr, port: u16) {
        let endpoint = SocketAddr::new(ip.to_canonical(), port);
        prop_assert_eq!(decode(encode(endpoint).as_bytes()), Some(endpoint));
    }

    #[test]
    fn anything_may_come(token in prop::collection::vec(any::<u8>(), 0..40)) {
        decode(&token);
    }
}
