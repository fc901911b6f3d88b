use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{CertificateSigningRequest, KeyPair as RawKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use super::*;
use crate::key::KeyPair;
use crate::testing::{WEB, domain, id};
use crate::x509;

const HOUR: Duration = Duration::from_secs(3600);

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("ca").join(name)
    }

    fn load(&self) -> Result<Authority, AuthorityError> {
        Authority::load_or_create(&self.dir.path().join("ca"), &domain())
    }

    fn created() -> (Self, Authority) {
        let fixture = Self::new();
        let authority = fixture.load().unwrap();
        (fixture, authority)
    }

    /// Loads, and checks that the error names this file and has this text.
    fn refused(&self, file: &str, text: &str) {
        let error = self.load().unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(text), "{error}");
    }
}

fn csr() -> String {
    KeyPair::generate().unwrap().csr_pem().unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn pem(request: &CertificateSigningRequest) -> String {
    request.pem().unwrap()
}

#[test]
fn files_are_private_and_loaded_again() {
    let (fixture, first) = Fixture::created();
    for name in ["root.crt", "root.key", "issuer.crt", "issuer.key"] {
        let mode = std::fs::metadata(fixture.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::read_dir(fixture.path("")).unwrap().count(), 4, "no temporary file is left");
    let second = fixture.load().unwrap();
    assert_eq!(first.bundle(), second.bundle());
    assert_eq!(first.issuer_pem, second.issuer_pem);
}

#[test]
fn a_certificate_is_a_workloads_whatever_the_request_asks_for() {
    let (_fixture, authority) = Fixture::created();
    let key = RawKey::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::new(["evil.example".to_owned()]).unwrap();
    greedy.subject_alt_names.push(SanType::URI("spiffe://cluster.local/ns/kube-system/sa/admin".try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let request = pem(&greedy.serialize_request(&key).unwrap());

    let issued = authority.sign(&request, &id(WEB), HOUR).unwrap();
    assert_eq!(issued.chain_pem.len(), 2);
    let leaf = der(&issued.chain_pem[0]);
    let leaf = x509::parse(&leaf).unwrap();
    assert_eq!(*leaf.public_key().subject_public_key.data, *key.public_key_raw());
    assert!(!leaf.is_ca());
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    assert_eq!(names.value.general_names, [x509_parser::extensions::GeneralName::URI(WEB)]);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert_eq!(usage.value.flags, 1, "digitalSignature alone");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.code_signing && !extended.any);
    assert!(leaf.raw_serial().len() >= 8);
}

#[test]
fn times_are_backdated_and_end_with_the_issuer() {
    let (_fixture, authority) = Fixture::created();
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(2_000_000_000_500);
    let issued = authority.sign_at(&csr(), &id(WEB), Duration::from_secs(10), now).unwrap();
    let leaf = der(&issued.chain_pem[0]);
    let validity = x509::parse(&leaf).unwrap().validity().clone();
    assert_eq!(validity.not_before.timestamp(), 2_000_000_000 - 60);
    assert_eq!(validity.not_after.timestamp(), 2_000_000_010);
    assert_eq!(issued.not_after, x509::system_time(validity.not_after));

    let long = authority.sign(&csr(), &id(WEB), HOUR * 24 * 365 * 100).unwrap();
    assert_eq!(long.not_after, authority.issuer_not_after);
    let endless = authority.sign(&csr(), &id(WEB), Duration::MAX).unwrap();
    assert_eq!(endless.not_after, authority.issuer_not_after);
    let after = authority.issuer_not_after;
    assert!(matches!(authority.sign_at(&csr(), &id(WEB), HOUR, after), Err(SignError::IssuerExpired)));
}

#[test]
fn serial_numbers_differ() {
    let (_fixture, authority) = Fixture::created();
    let request = csr();
    let serial = || {
        let issued = authority.sign(&request, &id(WEB), HOUR).unwrap();
        x509::parse(&der(&issued.chain_pem[0])).unwrap().raw_serial().to_vec()
    };
    assert_ne!(serial(), serial());
}

#[test]
fn bad_requests_are_refused_with_the_reason() {
    let (_fixture, authority) = Fixture::created();
    let refused = |request: &str| match authority.sign(request, &id(WEB), HOUR) {
        Err(SignError::Csr(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(""), CsrError::Malformed(_)));
    assert!(matches!(
        refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"),
        CsrError::Malformed(_)
    ));
    assert!(matches!(refused(&authority.issuer_pem), CsrError::Malformed(_)));
    assert_eq!(refused(&"x".repeat(MAX_CSR_BYTES + 1)), CsrError::TooLong(MAX_CSR_BYTES + 1));
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = RawKey::generate_for(algorithm).unwrap();
        let request = pem(&CertificateParams::default().serialize_request(&key).unwrap());
        assert_eq!(refused(&request), CsrError::KeyType);
    }
}

#[test]
fn a_request_for_a_key_that_the_sender_does_not_hold_is_refused() {
    let (_fixture, authority) = Fixture::created();
    let request = csr();
    let mut bytes =
        rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let tampered = x509::to_pem(&bytes.into()).replace("CERTIFICATE", "CERTIFICATE REQUEST");
    assert!(matches!(authority.sign(&tampered, &id(WEB), HOUR), Err(SignError::Csr(CsrError::Signature))));
}

#[test]
fn it_signs_for_its_own_trust_domain_alone() {
    let (_fixture, authority) = Fixture::created();
    let foreign = id("spiffe://other.example/ns/shop/sa/web");
    assert!(matches!(authority.sign(&csr(), &foreign, HOUR), Err(SignError::ForeignTrustDomain { .. })));
}

#[test]
fn broken_missing_and_mismatching_files_are_named() {
    let (fixture, _) = Fixture::created();
    let (other, _) = Fixture::created();
    let keep = |name: &str| std::fs::read(fixture.path(name)).unwrap();

    for name in ["root.crt", "issuer.crt", "issuer.key"] {
        let good = keep(name);
        std::fs::write(fixture.path(name), "scribble").unwrap();
        fixture.refused(name, "PEM");
        std::fs::write(fixture.path(name), good).unwrap();
    }
    let good = keep("root.crt");
    std::fs::write(fixture.path("root.crt"), "").unwrap();
    fixture.refused("root.crt", "no certificate");
    std::fs::remove_file(fixture.path("root.crt")).unwrap();
    fixture.refused("root.crt", "missing");
    std::fs::copy(other.path("root.crt"), fixture.path("root.crt")).unwrap();
    fixture.refused("issuer.crt", "no certificate of root.crt has signed it");
    std::fs::write(fixture.path("root.crt"), good).unwrap();

    let good = keep("issuer.key");
    std::fs::copy(other.path("issuer.key"), fixture.path("issuer.key")).unwrap();
    fixture.refused("issuer.key", "not the key");
    std::fs::remove_file(fixture.path("issuer.key")).unwrap();
    fixture.refused("issuer.key", "missing");
    std::fs::write(fixture.path("issuer.key"), good).unwrap();
    fixture.load().unwrap();
}

#[test]
fn another_trust_domains_ca_is_refused() {
    let (fixture, _) = Fixture::created();
    let error =
        Authority::load_or_create(&fixture.path(""), &"other.example".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("issuer.crt") && error.contains("spiffe://cluster.local"), "{error}");
}

#[test]
fn an_expired_ca_is_refused_by_name() {
    let (fixture, authority) = Fixture::created();
    let dir = fixture.path("");
    let later = authority.issuer_not_after + HOUR * 5;
    let error = files::load_or_create(&dir, &domain(), later).unwrap_err().to_string();
    assert!(error.contains("issuer.crt") && error.contains("expired 5 h ago"), "{error}");
    let earlier = SystemTime::now() - HOUR * 3;
    let error = files::load_or_create(&dir, &domain(), earlier).unwrap_err().to_string();
    assert!(error.contains("skew"), "{error}");
}

#[test]
fn the_roots_key_may_be_kept_elsewhere_and_makes_a_new_issuer_when_it_is_there() {
    let (fixture, first) = Fixture::created();
    std::fs::remove_file(fixture.path("issuer.crt")).unwrap();
    let second = fixture.load().unwrap();
    assert_eq!(first.bundle(), second.bundle());
    assert_ne!(first.issuer_pem, second.issuer_pem);
    std::fs::remove_file(fixture.path("root.key")).unwrap();
    fixture.load().unwrap();
    std::fs::remove_file(fixture.path("issuer.crt")).unwrap();
    fixture.refused("root.key", "missing");
}

#[test]
fn further_roots_are_trusted_too() {
    let (fixture, _) = Fixture::created();
    let (other, theirs) = Fixture::created();
    let mut roots = std::fs::read(fixture.path("root.crt")).unwrap();
    roots.extend(std::fs::read(other.path("root.crt")).unwrap());
    std::fs::write(fixture.path("root.crt"), roots).unwrap();
    let authority = fixture.load().unwrap();
    assert_eq!(authority.bundle().root_count(), 2);
    assert_ne!(authority.bundle(), theirs.bundle());
}

#[test]
fn a_creation_cut_short_is_finished() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("")).unwrap();
    std::fs::write(fixture.path("root.key"), "half a k").unwrap();
    fixture.load().unwrap();
    fixture.load().unwrap();
}
