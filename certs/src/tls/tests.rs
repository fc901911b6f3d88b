use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing::{API, Forge, Forged, Handshake, WEB, domain, handshake, id, uri};

fn peer_of_server(done: &Handshake) -> SpiffeId {
    peer_id(done.0.as_ref().unwrap().get_ref().1.peer_certificates()).unwrap()
}

fn peer_of_client(done: &Handshake) -> SpiffeId {
    peer_id(done.1.as_ref().unwrap().get_ref().1.peer_certificates()).unwrap()
}

/// A server shows the certificate to `mesh_client`, which must refuse it.
async fn as_server(forge: &Forge, forged: &Forged, expected: &str) -> String {
    let web = forge.identity(WEB);
    let (client, _) = handshake(mesh_client(&web, &id(expected)), forged.server()).await;
    explain(&client.map(drop).expect_err("our client accepted the server"))
}

/// A client shows the certificate to `mesh_server`, which must refuse it; so must the other doors.
async fn as_client(forge: &Forge, forged: &Forged) -> String {
    let api = forge.identity(API);
    let mut reasons = Vec::new();
    for server in [mesh_server(&api), direct_server(&api), control_server(&api)] {
        let (_, server) = handshake(forged.client(&forge.bundle()), server).await;
        reasons.push(explain(&server.map(drop).expect_err("our server accepted the client")));
    }
    assert!(reasons.iter().all(|reason| *reason == reasons[0]), "{reasons:?}");
    reasons.swap_remove(0)
}

/// A certificate that is as it should be but for `change` is refused on both sides, for this reason.
async fn refused(reason: &str, change: impl Fn(&mut CertificateParams)) {
    let forge = Forge::new();
    let said = as_server(&forge, &forge.leaf(API, &change), API).await;
    assert!(said.contains(reason), "as a server: {said}");
    let said = as_client(&forge, &forge.leaf(WEB, &change)).await;
    assert!(said.contains(reason), "as a client: {said}");
}

#[tokio::test]
async fn two_workloads_meet() {
    let forge = Forge::new();
    let (web, api) = (forge.identity(WEB), forge.identity(API));
    let done = handshake(mesh_client(&web, &id(API)), mesh_server(&api)).await;
    assert_eq!(peer_of_server(&done), id(API));
    assert_eq!(peer_of_client(&done), id(WEB));
    let client = done.0.unwrap();
    let session = client.get_ref().1;
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(session.negotiated_cipher_suite().unwrap().suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[tokio::test]
async fn a_dns_name_beside_the_uri_is_harmless() {
    let forge = Forge::new();
    let forged = forge.leaf(API, |params| {
        params.subject_alt_names.insert(0, SanType::DnsName("api.shop.svc".try_into().unwrap()));
    });
    let done = handshake(mesh_client(&forge.identity(WEB), &id(API)), forged.server()).await;
    assert_eq!(peer_of_server(&done), id(API));
}

#[tokio::test]
async fn names_that_are_no_workloads() {
    refused("there are none", |params| params.subject_alt_names.clear()).await;
    refused("there is no URI", |params| {
        params.subject_alt_names = vec![SanType::DnsName("api.shop.identity.cluster.local".try_into().unwrap())];
    })
    .await;
    for spiffe in [
        "spiffe://cluster.local/ns/shop/sa/api\0.evil.example",
        "spiffe://cluster.local\0/ns/shop/sa/api",
        "spiffe://Cluster.Local/ns/shop/sa/api",
        "spiffe://cluster.local/ns/shop/sa/api/",
        "spiffe://cluster.local/ns/shop/sa/api?x",
        "spiffe://cluster.local/ns/shop/sa/%61pi",
        "spiffe://cluster.local/ns//sa/api",
        "https://cluster.local/ns/shop/sa/api",
    ] {
        refused("URI name is refused", |params| params.subject_alt_names = vec![uri(spiffe)]).await;
    }
}

#[tokio::test]
async fn two_uris() {
    for second in [WEB, API, "https://example.com/"] {
        refused("more than one URI", |params| params.subject_alt_names.push(uri(second))).await;
        refused("more than one URI", |params| params.subject_alt_names.insert(0, uri(second))).await;
    }
}

#[tokio::test]
async fn other_names() {
    // CVE-2022-21656: an otherName whose value reads like the name that is wanted.
    let other_name = || SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], API.into()));
    refused("otherName", |params| params.subject_alt_names = vec![other_name()]).await;
    refused("otherName", |params| params.subject_alt_names.push(other_name())).await;
    refused("rfc822Name", |params| {
        params.subject_alt_names.push(SanType::Rfc822Name("spiffe@cluster.local".try_into().unwrap()));
    })
    .await;
    refused("iPAddress", |params| params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()))).await;
}

#[tokio::test]
async fn the_names_extension_twice() {
    // SEQUENCE { [6] "spiffe://cluster.local/ns/shop/sa/api" }
    let mut value = vec![0x30, API.len() as u8 + 2, 0x86, API.len() as u8];
    value.extend(API.bytes());
    refused("can't be read", |params| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], value.clone())];
    })
    .await;
}

#[tokio::test]
async fn wrong_usages() {
    refused("no extended key usage", |params| params.extended_key_usages.clear()).await;
    for purpose in [ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::Any] {
        refused("RequiredEku", |params| params.extended_key_usages = vec![purpose.clone()]).await;
    }
    refused("digitalSignature", |params| params.key_usages.clear()).await;
    refused("digitalSignature", |params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]).await;
    refused("may sign certificates", |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)).await;
    refused("may sign certificates", |params| params.key_usages.push(KeyUsagePurpose::CrlSign)).await;
}

#[tokio::test]
async fn usages_for_the_other_side() {
    // CVE-2022-21657, CVE-2025-66220.
    let forge = Forge::new();
    let client_only = forge.leaf(API, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let said = as_server(&forge, &client_only, API).await;
    assert!(said.contains("RequiredEku"), "{said}");
    let server_only = forge.leaf(WEB, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let said = as_client(&forge, &server_only).await;
    assert!(said.contains("RequiredEku"), "{said}");
}

#[tokio::test]
async fn a_ca_as_a_leaf() {
    refused("CA certificate", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })
    .await;
}

#[tokio::test]
async fn a_workload_that_signs_others() {
    let forge = Forge::new();
    let middle = forge.leaf(WEB, |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    });
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    let mut forged = Forge::signing_with(params, middle.key, middle.chain[0].clone()).leaf(API, |_| {});
    forged.chain.push(middle.chain[0].clone());
    let said = as_server(&forge, &forged, API).await;
    assert!(said.contains("EndEntityUsedAsCa"), "{said}");
}

#[tokio::test]
async fn out_of_time() {
    let from_now = |minutes: i32| {
        let span = Duration::from_secs(60 * u64::from(minutes.unsigned_abs()));
        if minutes < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    };
    for hint in ["expired 30 min ago", "skew"] {
        refused(hint, |params| {
            params.not_before = from_now(-90).into();
            params.not_after = from_now(-30).into();
        })
        .await;
    }
    for hint in ["valid only 3 h from now", "skew"] {
        refused(hint, |params| {
            params.not_before = from_now(181).into();
            params.not_after = from_now(240).into();
        })
        .await;
    }
}

#[tokio::test]
async fn a_foreign_trust_domain_under_a_root_that_we_believe() {
    let forge = Forge::new();
    let foreign = "spiffe://other.example/ns/shop/sa/api";
    let said = as_client(&forge, &forge.leaf(foreign, |_| {})).await;
    assert!(said.contains("our trust domain is cluster.local"), "{said}");
    let said = as_server(&forge, &forge.leaf(foreign, |_| {}), API).await;
    assert!(said.contains("was expected"), "{said}");
}

#[tokio::test]
async fn another_mesh() {
    let (ours, theirs) = (Forge::new(), Forge::new());
    let said = as_server(&ours, &theirs.leaf(API, |_| {}), API).await;
    assert!(said.contains("not signed by any of our 1 roots"), "{said}");
    let said = as_client(&ours, &theirs.leaf(WEB, |_| {})).await;
    assert!(said.contains("not signed by any of our 1 roots"), "{said}");
}

#[tokio::test]
async fn another_workload_than_expected() {
    let forge = Forge::new();
    // The identity is compared literally, never as a pattern (CVE-2026-39350).
    for (shown, expected) in [
        (WEB, API),
        ("spiffe://cluster.local/ns/shop/sa/apiX1", "spiffe://cluster.local/ns/shop/sa/api.1"),
        ("spiffe://cluster.local/ns/shop/sa/Api", API),
    ] {
        let said = as_server(&forge, &forge.leaf(shown, |_| {}), expected).await;
        assert!(said.contains(shown) && said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn other_kinds_of_keys() {
    let forge = Forge::new();
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = || rcgen::KeyPair::generate_for(algorithm).unwrap();
        let web = forge.identity(WEB);
        let server = forge.leaf_for(key(), API, |_| {}).server();
        let (client, _) = handshake(mesh_client(&web, &id(API)), server).await;
        client.map(drop).expect_err("a key that is not P-256");
    }
}

#[tokio::test]
async fn a_client_without_certificate() {
    let forge = Forge::new();
    let api = forge.identity(API);
    let client = || control_client(None, &forge.bundle(), &id(API));
    for server in [mesh_server(&api), direct_server(&api)] {
        let (_, server) = handshake(client(), server).await;
        assert!(explain(&server.map(drop).unwrap_err()).contains("no certificate"));
    }
    let done = handshake(client(), control_server(&api)).await;
    assert_eq!(peer_of_server(&done), id(API));
    let server = done.1.unwrap();
    assert_eq!(peer_id(server.get_ref().1.peer_certificates()), Err(PeerIdError::NoCertificate));
}

#[tokio::test]
async fn tls_1_2() {
    let forge = Forge::new();
    let mut old = (*mesh_client(&forge.identity(WEB), &id(API))).clone();
    old = {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap();
        let verifier = PeerVerifier::new(Roots::Fixed(forge.bundle()), Expected::Domain(domain()), Clients::Required);
        let resolver = old.client_auth_cert_resolver.clone();
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_client_cert_resolver(resolver)
    };
    let (_, server) = handshake(Arc::new(old), mesh_server(&forge.identity(API))).await;
    server.map(drop).expect_err("TLS 1.2 was spoken");
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    let forge = Forge::new();
    let client = mesh_client(&forge.identity(WEB), &id(API));
    let server = mesh_server(&forge.identity(API));
    for _ in 0..2 {
        let (client, server) = handshake(client.clone(), server.clone()).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        client.read_u8().await.unwrap();
        assert_ne!(client.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn rotation_touches_no_open_connection_and_every_new_one() {
    let (old, new) = (Forge::named("old"), Forge::named("new"));
    let both = TrustBundle::from_pem(format!("{}{}", old.bundle().to_pem(), new.bundle().to_pem()).as_bytes()).unwrap();
    let (web, api) = (old.identity(WEB), old.identity(API));
    let (client, server) = (mesh_client(&web, &id(API)), mesh_server(&api));
    let (open_client, open_server) = handshake(client.clone(), server.clone()).await;
    let (mut open_client, mut open_server) = (open_client.unwrap(), open_server.unwrap());

    let rotate = |identity: &WorkloadIdentity, forge: &Forge, bundle: &TrustBundle| {
        let (key, chain) = forge.leaf(identity.id().as_str(), |_| {}).into_parts();
        identity.replace(&key, &chain, bundle.clone()).unwrap();
    };
    // Both roots are believed first, then the new one signs, at last the old one is gone: each step in turn, and at
    // none of them do the two fail to meet.
    let steps = [(&web, &old, &both), (&api, &old, &both), (&api, &new, &both), (&web, &new, &both)];
    for (identity, forge, bundle) in steps {
        rotate(identity, forge, bundle);
        let done = handshake(client.clone(), server.clone()).await;
        assert_eq!((peer_of_server(&done), peer_of_client(&done)), (id(API), id(WEB)));
    }
    rotate(&api, &new, &new.bundle());
    rotate(&web, &new, &new.bundle());
    let done = handshake(client.clone(), server.clone()).await;
    assert_eq!((peer_of_server(&done), peer_of_client(&done)), (id(API), id(WEB)));
    let straggler = handshake(old.leaf(WEB, |_| {}).client(&new.bundle()), server).await;
    assert!(explain(&straggler.1.map(drop).unwrap_err()).contains("not signed by any"));

    open_client.write_all(b"still here").await.unwrap();
    open_client.flush().await.unwrap();
    let mut read = [0; 10];
    open_server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still here");
}

#[tokio::test]
async fn the_refused_side_learns_why_in_general() {
    let forge = Forge::new();
    let stranger = Forge::new().leaf(WEB, |_| {});
    let (client, _server) = handshake(stranger.client(&forge.bundle()), mesh_server(&forge.identity(API))).await;
    // In TLS 1.3 the client is done before the server has judged it.
    let error = client.unwrap().read_u8().await.unwrap_err();
    let said = explain(&error);
    assert!(said.contains("does not accept our certificate"), "{said}");
}

#[test]
fn an_sni_is_sent_where_the_id_can_be_one() {
    assert_eq!(server_name(&id(API)).to_str(), "api.shop.identity.cluster.local");
    let long = format!("spiffe://cluster.local/ns/shop/sa/{}", "a".repeat(64));
    assert!(matches!(server_name(&id(&long)), ServerName::IpAddress(_)));
}

#[test]
fn groups_are_read_by_their_names() {
    assert_eq!("x25519mlkem768".parse(), Ok(Group::X25519MlKem768));
    assert_eq!("X25519".parse(), Ok(Group::X25519));
    assert!("kyber".parse::<Group>().unwrap_err().to_string().contains("kyber"));
    let empty = TlsPolicy { groups: Vec::new(), ..TlsPolicy::default() };
    assert_eq!(install_policy(empty), Err(PolicyError::Empty));
}
