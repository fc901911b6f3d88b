use super::*;
use crate::testing::{Forge, WEB};

#[test]
fn several_roots_come_back_in_whatever_order() {
    let (old, new) = (Forge::named("old"), Forge::named("new"));
    let pem = format!("{}# a comment\n{}{}", old.bundle().to_pem(), new.bundle().to_pem(), old.bundle().to_pem());
    let bundle = TrustBundle::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(bundle.root_count(), 2);
    let swapped = format!("{}{}", new.bundle().to_pem(), old.bundle().to_pem());
    assert_eq!(bundle, TrustBundle::from_pem(swapped.as_bytes()).unwrap());
    assert_eq!(bundle, TrustBundle::from_pem(bundle.to_pem().as_bytes()).unwrap());
    assert_ne!(bundle, old.bundle());
}

#[test]
fn pem_lines_have_64_characters() {
    let pem = Forge::new().bundle().to_pem();
    let lines: Vec<_> = pem.lines().collect();
    let (last, full) = lines[1..lines.len() - 1].split_last().unwrap();
    assert!(full.iter().all(|line| line.len() == 64) && (1..=64).contains(&last.len()), "{pem}");
}

#[test]
fn faults_say_which_certificate_and_why() {
    assert_eq!(TrustBundle::from_pem(b"").unwrap_err(), BundleError::Empty);
    assert_eq!(TrustBundle::from_pem(b"hello").unwrap_err(), BundleError::Empty);
    let forge = Forge::new();
    let leaf = x509::to_pem(&forge.leaf(WEB, |_| {}).chain[0]);
    let error = TrustBundle::from_pem(format!("{}{leaf}", forge.bundle().to_pem()).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("certificate 2") && error.contains("not a CA"), "{error}");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(TrustBundle::from_pem(broken.as_bytes()), Err(BundleError::Root { number: 1, .. })));
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert!(matches!(TrustBundle::from_pem(cut.as_bytes()), Err(BundleError::Pem(_))));
}
