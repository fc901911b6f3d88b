use super::*;

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

#[test]
fn a_secret_holds_the_ca_and_keeps_what_else_is_in_it() {
    let made = AuthorityPem::create(&domain()).unwrap();
    let mut secret = Secret::default();
    secret.data.get_or_insert_default().insert("notes".to_owned(), ByteString(b"x".to_vec()));
    fill(&mut secret, &made);
    assert_eq!(pem(&secret), Ok(made.clone()));
    assert!(secret.data.as_ref().unwrap().contains_key("notes"));
    let authority = Authority::from_pem(&made, &domain()).unwrap();
    assert!(authority.issuer_spent(SystemTime::now()) < 0.01);
    let far = SystemTime::now() + Duration::from_secs(8 * 365 * 24 * 3600);
    assert!(authority.issuer_spent(far) > SPENT);
}

#[test]
fn a_new_issuer_is_of_the_same_root() {
    let made = AuthorityPem::create(&domain()).unwrap();
    let again = AuthorityPem::with_issuer(made.root_crt.clone(), made.root_key.clone().unwrap(), &domain()).unwrap();
    assert_ne!(made.issuer_crt, again.issuer_crt);
    let bundle = |pem: &AuthorityPem| Authority::from_pem(pem, &domain()).unwrap().bundle();
    assert_eq!(bundle(&made), bundle(&again));
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let made = AuthorityPem::create(&domain()).unwrap();
    let mut secret = Secret::default();
    fill(&mut secret, &made);
    for key in [ROOT_CRT, ISSUER_CRT, ISSUER_KEY] {
        let mut lacking = secret.clone();
        lacking.data.as_mut().unwrap().remove(key);
        assert_eq!(pem(&lacking), Err(key));
    }
    secret.data.as_mut().unwrap().remove(ROOT_KEY);
    assert_eq!(pem(&secret).map(|pem| pem.root_key), Ok(None));
    let other = AuthorityPem::create(&domain()).unwrap();
    let mixed = AuthorityPem { issuer_key: other.issuer_key, ..made.clone() };
    let error = Authority::from_pem(&mixed, &domain()).unwrap_err().to_string();
    assert!(error.starts_with("issuer.key: it is not the key"), "{error}");
    let mixed = AuthorityPem { root_crt: other.root_crt, ..made };
    let error = Authority::from_pem(&mixed, &domain()).unwrap_err().to_string();
    assert!(error.starts_with("issuer.crt: no certificate of root.crt"), "{error}");
}
