use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<SpiffeId, SpiffeError> {
    text.parse()
}

#[test]
fn an_id_has_its_parts_and_prints_as_it_was_read() {
    let id = parse("spiffe://cluster.local/ns/shop/sa/web-1").unwrap();
    assert_eq!(id.trust_domain().as_str(), "cluster.local");
    assert_eq!((id.namespace(), id.service_account()), ("shop", "web-1"));
    assert_eq!(id.to_string(), "spiffe://cluster.local/ns/shop/sa/web-1");
    assert_eq!(id.server_name(), "web-1.shop.identity.cluster.local");
    assert_eq!(id, SpiffeId::new(&"cluster.local".parse().unwrap(), "shop", "web-1").unwrap());
}

#[test]
fn the_control_plane_has_a_name() {
    let id = SpiffeId::control_plane(&"cluster.local".parse().unwrap()).unwrap();
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/weft-system/sa/weft-control");
}

#[test]
fn everything_else_is_refused() {
    for text in [
        "",
        "spiffe://",
        "spiffe:///ns/shop/sa/web",
        "http://cluster.local/ns/shop/sa/web",
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "spiffe:/cluster.local/ns/shop/sa/web",
        " spiffe://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web ",
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "spiffe://cluster.local/ns/shop",
        "spiffe://cluster.local/ns/shop/sa",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns/shop/sa/web/",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local/ns//sa/web",
        "spiffe://cluster.local//ns/shop/sa/web",
        "spiffe://cluster.local/NS/shop/sa/web",
        "spiffe://cluster.local/sa/web/ns/shop",
        "spiffe://cluster.local/ns/shop/sa/..",
        "spiffe://cluster.local/ns/./sa/web",
        "spiffe://cluster.local/ns/shop/sa/web?admin",
        "spiffe://cluster.local/ns/shop/sa/web#x",
        "spiffe://cluster.local/ns/shop/sa/w%65b",
        "spiffe://cluster.local/ns/shop/sa/we b",
        "spiffe://cluster.local/ns/shop/sa/web\0",
        "spiffe://cluster.local\0.evil/ns/shop/sa/web",
        "spiffe://Cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local:443/ns/shop/sa/web",
        "spiffe://me@cluster.local/ns/shop/sa/web",
        "spiffe://clüster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/wéb",
    ] {
        assert!(parse(text).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn lengths_are_bounded() {
    let domain = "d".repeat(MAX_TRUST_DOMAIN_BYTES);
    assert!(domain.parse::<TrustDomain>().is_ok());
    assert!(format!("{domain}d").parse::<TrustDomain>().is_err());
    let fits = MAX_ID_BYTES - "spiffe://d/ns/n/sa/".len();
    assert!(parse(&format!("spiffe://d/ns/n/sa/{}", "a".repeat(fits))).is_ok());
    assert!(parse(&format!("spiffe://d/ns/n/sa/{}", "a".repeat(fits + 1))).is_err());
    assert!(SpiffeId::new(&"d".parse().unwrap(), "n", &"a".repeat(fits + 1)).is_err());
}

#[test]
fn an_error_names_part_value_and_rule_and_is_safe_to_log() {
    let error = parse("spiffe://Cluster.local/ns/a/sa/b").unwrap_err().to_string();
    assert!(
        error.contains("trust domain") && error.contains("Cluster.local") && error.contains("lower case"),
        "{error}"
    );
    let error = parse("spiffe://d/ns/a/sa/b\n2026 forged line").unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    assert!(parse(&"x".repeat(5000)).unwrap_err().to_string().len() < 300);
}

proptest! {
    #[test]
    fn what_is_made_of_good_parts_comes_back(
        domain in "[a-z0-9._-]{1,60}",
        namespace in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,62}",
        account in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,200}",
    ) {
        let id = SpiffeId::new(&domain.parse().unwrap(), &namespace, &account).unwrap();
        let again = parse(id.as_str()).unwrap();
        prop_assert_eq!(&again, &id);
        prop_assert_eq!(again.namespace(), namespace);
        prop_assert_eq!(again.service_account(), account);
        prop_assert_eq!(again.trust_domain().as_str(), domain);
    }

    #[test]
    fn what_is_accepted_is_canonical(text in "(spiffe://)?[a-zA-Z0-9./%?#:@_ -]{0,40}(/ns/)?[a-z./%]{0,9}(/sa/)?[a-z./%]{0,9}") {
        if let Ok(id) = parse(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert_eq!(SpiffeId::new(id.trust_domain(), id.namespace(), id.service_account()).unwrap(), id);
        }
    }

    #[test]
    fn nothing_panics(text in ".*") {
        let _ = parse(&text);
        let _ = text.parse::<TrustDomain>();
    }
}
