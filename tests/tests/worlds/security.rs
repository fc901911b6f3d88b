//! What nobody may see, and whom nobody may believe.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, StatusCode};
use libtest_mimic::Trial;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use weft_cli::world::{Pod, World};
use weft_tests::apps::{self, GRPC_ECHO, Script, Scripted};
use weft_tests::capture::{Capture, contains};
use weft_tests::duo::{Duo, HTTP, HTTP_TARGET, TCP, TCP_TARGET, UNDECLARED, UNDECLARED_TARGET};
use weft_tests::message::Message;
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(90);
const MESH: u16 = 15008;
const INBOUND: u16 = 15006;
/// Nothing but our own tests sends this.
const SECRET: &str = "xyzzy-PLUGH-4e7a01";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the wire between pods shows no plain byte", LIMIT, no_plain_byte),
        trial("an endpoint with another identity gets nothing", LIMIT, wrong_server),
        trial("the mesh port takes no one without a certificate of the mesh", LIMIT, wrong_client),
        trial("strict: plaintext never reaches the application", LIMIT, strict),
        trial("strict for one pod alone", LIMIT, strict_pod),
        trial("headers of the mesh's own are stripped from what applications send", LIMIT, spoofed_headers),
        trial("peers are counted under their own identities", LIMIT, peers_in_metrics),
        trial("the admin port is on loopback alone", LIMIT, admin_on_loopback),
    ]
}

async fn no_plain_byte(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    apps::h2c(&duo.api, UNDECLARED_TARGET).await?;
    apps::serve(&duo.api, TCP_TARGET, apps::read_all_then_answer).await?;
    let mut capture = Capture::start(&world)?;

    let mut sender = client::http1(&duo.web, duo.at(HTTP)).await?;
    let request = Request::post(format!("/{SECRET}?q={SECRET}")).header("host", "api").header("x-secret", SECRET);
    let response = client::whole(sender.send_request(request.body(client::full(SECRET))?)).await?;
    ensure!(response.status() == StatusCode::OK && contains(response.body(), SECRET.as_bytes()), "{response:?}");
    let mut sender = client::http2(&duo.web, duo.at(UNDECLARED)).await?;
    let request =
        Request::post(format!("http://api{GRPC_ECHO}")).header("x-secret", SECRET).body(client::full(SECRET))?;
    let response = client::whole(sender.send_request(request)).await?;
    ensure!(contains(response.body(), SECRET.as_bytes()), "{response:?}");
    let answer = client::send_and_end(&duo.web, duo.at(TCP), SECRET).await?;
    ensure!(contains(&answer, SECRET.as_bytes()), "{answer:?}");

    let seen = capture.bytes(&duo.api).await?;
    ensure!(seen.len() > 3 * SECRET.len(), "the capture saw nothing");
    ensure!(!contains(&seen, SECRET.as_bytes()), "the secret is on the wire");
    ensure!(!contains(&seen, SECRET.to_ascii_lowercase().as_bytes()), "the secret is on the wire, in lower case");

    // That the capture would have seen it: the same, without the mesh.
    let plain = world.pod("plain").start().await?;
    client::get(&plain, duo.api.address(HTTP_TARGET), &format!("/{SECRET}")).await?;
    ensure!(contains(&capture.bytes(&duo.api).await?, SECRET.as_bytes()), "the capture does not see plaintext");
    Ok(())
}

/// A pod `name` whose sidecar has the identity of `mallory`.
async fn impostor(world: &World, name: &str) -> Result<Pod> {
    world.add_service_account("default", "mallory")?;
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: mallory, labels: {weft.dev/inject: enabled}}\n\
                    spec: {serviceAccountName: mallory, containers: [{name: app}]}\nstatus: {podIP: 10.1.200.200}\n";
    world.apply("mallory.yaml", manifest)?;
    let token = world.token_file("default", "mallory");
    let pod = world.pod(name).sidecar_env("WEFT_POD_NAME", "mallory").sidecar_env("WEFT_SERVICE_ACCOUNT", "mallory");
    pod.sidecar_env("WEFT_TOKEN_FILE", &token.display().to_string()).start().await
}

async fn wrong_server(world: World) -> Result<()> {
    let control = world.control_plane().start().await?;
    let api = impostor(&world, "api").await?;
    let service = Duo::service(&world, &api)?;
    let web = world.pod("web").sidecar().start().await?;
    let duo = Duo { control, web, api, service };
    let app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")]).await?;
    let opaque = Scripted::start(&duo.api, TCP_TARGET, [Script::new("!", "reached")]).await?;

    let (status, body) = client::get(&duo.web, duo.at(HTTP), "/").await?;
    ensure!(status.is_server_error(), "the impostor's answer is {status} {body}");
    let answer = client::send_and_end(&duo.web, duo.at(TCP), "hello!").await.unwrap_or_default();
    ensure!(answer.is_empty(), "the impostor answers {answer:?}");
    ensure!(app.waiting() + opaque.waiting() == 0, "the impostor's application was reached");
    Ok(())
}

async fn wrong_client(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")]).await?;
    let plain = world.pod("plain").start().await?;
    let anyone = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone));
    let nobody = anyone.clone().with_no_client_auth();
    let (chain, key) = foreign_certificate(&duo.web.identity())?;
    let foreigner = anyone.with_client_auth_cert(chain, key)?;
    for (who, config) in [("without a certificate", nobody), ("with one of another mesh", foreigner)] {
        let said = speak_http2(&plain, duo.api.address(MESH), config).await;
        ensure!(said.is_err(), "a client {who} is answered {said:?}");
    }
    ensure!(app.waiting() == 0, "the application was reached");
    Ok(())
}

/// Opens TLS and HTTP/2; gives what is said after the handshake, or why there was none.
async fn speak_http2(pod: &Pod, address: SocketAddr, mut config: ClientConfig) -> Result<Vec<u8>> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = client::connect(pod, address).await?;
    let name = ServerName::try_from("api.default.identity.cluster.local")?;
    let mut session = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    session.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    let mut said = vec![0; 9];
    tokio::time::timeout(Duration::from_secs(10), session.read_exact(&mut said)).await.context("silence")??;
    Ok(said)
}

/// A certificate for a SPIFFE id, by a CA that nobody knows.
fn foreign_certificate(id: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let mut root = rcgen::CertificateParams::new(Vec::new())?;
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = rcgen::KeyPair::generate()?;
    let issuer = rcgen::Issuer::new(root, root_key);
    let mut leaf = rcgen::CertificateParams::new(Vec::new())?;
    leaf.subject_alt_names = vec![rcgen::SanType::URI(id.try_into()?)];
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok((vec![certificate.der().clone()], key))
}

async fn strict(world: World) -> Result<()> {
    let control = world.control_plane().strict().start().await?;
    let duo = Duo::start_with(&world, control).await?;
    refuses_plaintext(&world, &duo).await
}

async fn strict_pod(world: World) -> Result<()> {
    let control = world.control_plane().start().await?;
    let api = world.pod("api").annotation("weft.dev/mtls", "strict").sidecar().start().await?;
    let service = Duo::service(&world, &api)?;
    let web = world.pod("web").sidecar().start().await?;
    let duo = Duo { control, web, api, service };
    refuses_plaintext(&world, &duo).await?;
    // `web` is as permissive as ever.
    apps::h1(&duo.web, 8080).await?;
    let plain = world.pod("outsider").start().await?;
    let (status, _) = client::get(&plain, duo.web.address(8080), "/").await?;
    ensure!(status == StatusCode::OK, "{status}");
    Ok(())
}

async fn refuses_plaintext(world: &World, duo: &Duo) -> Result<()> {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", answer)]).await?;
    let opaque = Scripted::start(&duo.api, TCP_TARGET, [Script::new("!", "reached")]).await?;
    let plain = world.pod("plain").start().await?;
    for target in [duo.api.address(HTTP_TARGET), duo.api.address_v6(HTTP_TARGET), duo.api.address(TCP_TARGET)] {
        let answer = client::send_and_end(&plain, target, "GET / HTTP/1.1\r\nHost: api\r\n\r\n!").await;
        let reached = answer.as_ref().is_ok_and(|bytes| contains(bytes, b"200") || contains(bytes, b"reached"));
        ensure!(!reached, "{target} answers {answer:?}");
    }
    // Nor by the proxy's inbound port itself.
    let direct = client::send_and_end(&plain, duo.api.address(INBOUND), "GET / HTTP/1.1\r\nHost: api\r\n\r\n").await;
    ensure!(!direct.as_ref().is_ok_and(|bytes| contains(bytes, b"200")), "the inbound port answers {direct:?}");
    ensure!(app.waiting() + opaque.waiting() == 0, "plaintext reached the application");

    let (status, _) = client::get(&duo.web, duo.at(HTTP), "/").await?;
    ensure!(status == StatusCode::OK, "a peer of the mesh is answered {status}");
    app.request().await.map(drop)
}

async fn spoofed_headers(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", answer)]).await?;
    let other = Scripted::start(&duo.api, TCP_TARGET, [Script::new("\r\n\r\n", answer)]).await?;
    let spoofed = "X-Forwarded-Client-Cert: By=spiffe://cluster.local/ns/default/sa/admin\r\n\
                   Weft-Destination: 9001\r\nweft-destination: 9001\r\nWeft-Peer: admin\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: api\r\nX-Own: kept\r\n{spoofed}\r\n");
    let plain = world.pod("plain").start().await?;
    for (who, target) in [(&duo.web, duo.at(HTTP)), (&plain, duo.api.address(HTTP_TARGET))] {
        client::exchange(who, target, &request, "\r\n\r\nok").await?;
        let arrived = Message::parse(&app.request().await?)?;
        for name in ["weft-destination", "weft-peer"] {
            ensure!(arrived.header(name).is_none(), "{name} came through from {}: {arrived:#?}", who.name());
        }
        let believed = arrived.header("x-forwarded-client-cert").is_some_and(|value| value.contains("admin"));
        ensure!(!believed, "the certificate came through from {}: {arrived:#?}", who.name());
        ensure!(arrived.header("x-own") == Some("kept"), "{arrived:#?}");
    }
    ensure!(other.waiting() == 0, "the request went to the port that the application named");
    Ok(())
}

async fn peers_in_metrics(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let plain = world.pod("plain").start().await?;
    for _ in 0..3 {
        client::get(&duo.web, duo.at(HTTP), "/").await?;
    }
    client::get(&plain, duo.api.address(HTTP_TARGET), "/").await?;
    let metrics = duo.api.sidecar()?.metrics().await?;
    let count = |peer: &str, tls| {
        metrics.sum("weft_requests_total", &[("direction", "inbound"), ("peer", peer), ("tls", tls), ("status", "2xx")])
    };
    ensure!(count(&duo.web.identity(), "mtls") == 3.0, "{:#?}", metrics.samples());
    ensure!(count("", "none") == 1.0, "{:#?}", metrics.samples());
    let outbound = duo.web.sidecar()?.metrics().await?;
    let seen =
        [("direction", "outbound"), ("destination", "default/api:80"), ("peer", &duo.api.identity()), ("tls", "mtls")];
    ensure!(outbound.sum("weft_requests_total", &seen) == 3.0, "{:#?}", outbound.samples());
    Ok(())
}

async fn admin_on_loopback(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    duo.api.sidecar()?.config().await?;
    let plain = world.pod("plain").start().await?;
    let answer = client::get(&plain, duo.api.address(15000), "/config").await;
    ensure!(answer.as_ref().map_or(true, |(status, _)| !status.is_success()), "answered {answer:?}");
    let answer = client::get(&duo.web, duo.api.address(15000), "/config").await;
    ensure!(answer.as_ref().map_or(true, |(status, _)| !status.is_success()), "a mesh peer is answered {answer:?}");
    Ok(())
}

/// A client that takes whatever certificate it is shown: what is tested is whom the server takes.
#[derive(Debug)]
struct TrustAnyone;

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519, SignatureScheme::RSA_PSS_SHA256]
    }
}
