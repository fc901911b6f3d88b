use super::*;

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn header(name: &'static str) -> HashKey {
    HashKey::Header(HeaderName::from_static(name))
}

fn cookie(ttl: Option<u64>) -> HashKey {
    HashKey::Cookie { name: "s".to_owned(), ttl: ttl.map(Duration::from_secs), path: "/shop".to_owned() }
}

fn hashed(keys: &[HashKey], headers: &HeaderMap) -> Option<u64> {
    hash_of(keys, headers, SOURCE, 7).map(|hashed| hashed.hash)
}

/// Proxies of different versions must agree.
#[test]
fn the_hash_never_changes() {
    assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
    assert_eq!(hash(b"alice"), hash(b"alice"));
    assert_eq!(fnv(OFFSET, b"foobar"), 0x8594_4171_f739_67e8, "the test vector of FNV-1a");
    assert_eq!(mix(0), 0);
    assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c, "MurmurHash3's fmix64");
}

#[test]
fn the_first_key_that_is_there_counts() {
    let keys = [header("x-user"), cookie(None), HashKey::Source];
    let by_user = hashed(&keys, &map(&[("x-user", "alice"), ("cookie", "s=1")])).unwrap();
    assert_eq!(by_user, hash(b"alice"));
    assert_eq!(hashed(&keys, &map(&[("cookie", "t=0; s=1; s=2")])), Some(hash(b"1")));
    assert_eq!(hashed(&keys, &HeaderMap::new()), hashed(&[HashKey::Source], &HeaderMap::new()));
    assert_eq!(hashed(&keys[..2], &map(&[("cookie", "sx=1")])), None);
    assert_eq!(hashed(&[], &HeaderMap::new()), None);
}

#[test]
fn all_values_of_a_header_count() {
    let of = |lines: &[_]| hashed(&[header("x")], &map(lines));
    assert_eq!(of(&[("x", "a"), ("x", "b")]), of(&[("x", "a,b")]));
    assert_ne!(of(&[("x", "a"), ("x", "b")]), of(&[("x", "a")]));
}

#[test]
fn a_new_cookie_leads_where_it_will_lead_again() {
    let keys = [cookie(Some(3600))];
    let first = hash_of(&keys, &HeaderMap::new(), SOURCE, 0xabc).unwrap();
    assert_eq!(first.set_cookie.unwrap(), "s=0000000000000abc; Max-Age=3600; Path=/shop; HttpOnly");
    let again = hash_of(&keys, &map(&[("cookie", "s=0000000000000abc")]), SOURCE, 1).unwrap();
    assert_eq!((again.hash, again.set_cookie), (first.hash, None));
    let session = hash_of(&[cookie(Some(0))], &HeaderMap::new(), SOURCE, 1).unwrap().set_cookie.unwrap();
    assert_eq!(session, "s=0000000000000001; Path=/shop; HttpOnly");
}

#[test]
fn an_address_is_the_same_however_it_is_written() {
    let hash = |address: &str| hash_address(address.parse().unwrap());
    assert_eq!(hash("10.0.0.1:80"), hash("[::ffff:10.0.0.1]:80"));
    assert_ne!(hash("10.0.0.1:80"), hash("10.0.0.1:81"));
    assert_ne!(hash("10.0.0.1:80"), hash("10.0.0.2:80"));
}

#[test]
fn a_cookie_that_cannot_be_is_not_set() {
    assert!(cookies::set("a b", "1", "", None).is_none() && cookies::set("", "1", "", None).is_none());
    assert!(cookies::set("a", "1", "/; Domain=x", None).is_none());
    assert_eq!(cookies::set("a", "1", "", None).unwrap(), "a=1; HttpOnly");
}
