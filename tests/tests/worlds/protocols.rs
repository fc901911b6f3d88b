//! Every protocol through both sidecars, to the letter.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use libtest_mimic::Trial;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_cli::world::{Pod, World};
use weft_tests::apps::{self, GREETING, GRPC_ECHO, Script, Scripted};
use weft_tests::duo::{Duo, HTTP, HTTP_TARGET, TCP, TCP_TARGET, UNDECLARED, UNDECLARED_TARGET};
use weft_tests::message::{Message, same_end_to_end};
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(90);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("HTTP/1.0", LIMIT, http_1_0),
        trial("HTTP/1.1 keeps its connection", LIMIT, keep_alive),
        trial("chunks and trailers, both ways", LIMIT, chunks_and_trailers),
        trial("header case and order", LIMIT, header_case_and_order),
        trial("answers without a body", LIMIT, no_body),
        trial("expect: 100-continue", LIMIT, expect_continue),
        trial("HTTP/2 with prior knowledge, declared and not", LIMIT, h2c),
        trial("gRPC streams both ways, with trailers", LIMIT, grpc),
        trial("WebSocket and unknown upgrades", LIMIT, upgrades),
        trial("an upgraded connection that breaks does not look ended, on either side", LIMIT, upgrade_breaks),
        trial("CONNECT", LIMIT, connect),
        trial("opaque bytes with half-close, declared and not", LIMIT, opaque),
        trial("server speaks first, declared and not", LIMIT, server_first),
        trial("the application's own TLS", LIMIT, own_tls),
        trial("IPv6", LIMIT, ipv6),
        trial("a pod that is dialled by its own address", LIMIT, pod_address),
        trial("a pod outside the mesh", LIMIT, unmeshed),
        trial("a port that nobody listens on", LIMIT, nobody_listens),
    ]
}

async fn http_1_0(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let request = b"GET /old?q=1 HTTP/1.0\r\nX-First: 1\r\nUser-Agent: old\r\n\r\n";
    let answer = b"HTTP/1.0 200 OK\r\nServer: old\r\nContent-Type: text/plain\r\n\r\nuntil the end";
    let mut app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", answer).then_close()]).await?;
    let mut stream = client::connect(&duo.web, duo.at(HTTP)).await?;
    stream.write_all(request).await?;
    same_end_to_end(answer, &client::read_to_end(&mut stream).await?)?;
    same_end_to_end(request, &app.request().await?)
}

async fn keep_alive(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let mut sender = client::http1(&duo.web, duo.at(HTTP)).await?;
    for n in 0..5 {
        let body = format!("body {n}");
        let request = Request::post("/").header("host", "api").body(client::full(body.clone()))?;
        let response = client::whole(sender.send_request(request)).await?;
        ensure!(response.version() == Version::HTTP_11 && response.status() == StatusCode::OK, "{response:?}");
        ensure!(**response.body() == *format!("api\n{body}").as_bytes(), "{response:?}");
        sender.ready().await.with_context(|| format!("the connection ended after {} requests", n + 1))?;
    }
    Ok(())
}

async fn chunks_and_trailers(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let request =
        b"POST /sum HTTP/1.1\r\nHost: api\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5\r\nhello\r\n7\r\n, world\r\n0\r\nX-Sum: 12\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nTrailer: X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nfoo\r\n3\r\nbar\r\n0\r\nX-Digest: 6\r\n\r\n";
    let mut app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new(": 12\r\n\r\n", answer)]).await?;
    let received = client::exchange(&duo.web, duo.at(HTTP), request, ": 6\r\n\r\n").await?;
    same_end_to_end(answer, &received)?;
    same_end_to_end(request, &app.request().await?)
}

async fn header_case_and_order(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let request =
        b"GET /Path/%7Bas%7D/it//is?A=b&a=B HTTP/1.1\r\nX-zUlU: 1\r\nHost: api\r\naccept: a\r\nX-ALPHA: 2\r\n\
                    Cookie: a=1; b=2\r\nUSER-agent: me\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nX-Zulu: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nCONTENT-TYPE: text/plain\r\n\
                   x-alpha: 2\r\nContent-Length: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nok";
    let mut app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", answer)]).await?;
    same_end_to_end(answer, &client::exchange(&duo.web, duo.at(HTTP), request, "\r\n\r\nok").await?)?;
    same_end_to_end(request, &app.request().await?)
}

async fn no_body(world: World) -> Result<()> {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-A: head\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nX-A: none\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nX-A: same\r\n\r\n",
    ];
    let _control = world.control_plane().start().await?;
    let api = world.pod("api").sidecar().start().await?;
    let service = world.service("api").port(1, 8001, "http").port(2, 8002, "http").port(3, 8003, "http");
    let service = service.backends([&api]).create()?;
    let web = world.pod("web").sidecar().start().await?;
    for (port, (method, answer)) in (1..).zip(["HEAD", "DELETE", "GET"].into_iter().zip(answers)) {
        let request = format!("{method} /x HTTP/1.1\r\nHost: api\r\n\r\n");
        let mut app = Scripted::start(&api, 8000 + port, [Script::new("\r\n\r\n", answer)]).await?;
        let received = client::exchange(&web, service.address(port), &request, "\r\n\r\n").await?;
        same_end_to_end(answer, &received)?;
        same_end_to_end(request.as_bytes(), &app.request().await?)?;
        if method == "HEAD" {
            ensure!(Message::parse(&received)?.header("content-length") == Some("12345"), "HEAD lost its length");
        }
    }
    Ok(())
}

async fn expect_continue(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let mut stream = client::connect(&duo.web, duo.at(HTTP)).await?;
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: api\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await?;
    let interim = client::read_until(&mut stream, "\r\n\r\n").await?;
    ensure!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    stream.write_all(b"body").await?;
    let answer = client::read_until(&mut stream, "api\nbody").await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

async fn h2c(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    for (port, target) in [(HTTP, HTTP_TARGET), (UNDECLARED, UNDECLARED_TARGET)] {
        apps::h2c(&duo.api, target).await?;
        let mut sender = client::http2(&duo.web, duo.at(port)).await?;
        let trailers = HeaderMap::from_iter([("x-sum".parse()?, HeaderValue::from_static("5"))]);
        let body = client::full("hello").with_trailers(async move { Some(Ok(trailers)) }).boxed();
        let request =
            Request::builder().method(Method::PATCH).uri("http://api/h2?x=y").header("x-a", "1").body(body)?;
        let (parts, body) = sender.send_request(request).await?.into_parts();
        ensure!(parts.version == Version::HTTP_2 && parts.status == StatusCode::OK, "{parts:?}");
        ensure!(parts.headers.get("x-seen-x-a").is_some_and(|value| value == "1"), "{parts:?}");
        let received = body.collect().await?;
        ensure!(received.trailers().and_then(|all| all.get("x-sum")).is_some_and(|sum| sum == "5"), "no trailers");
        ensure!(received.to_bytes() == "api\nhello", "another body");
    }
    Ok(())
}

async fn grpc(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h2c(&duo.api, HTTP_TARGET).await?;
    let mut sender = client::http2(&duo.web, duo.at(HTTP)).await?;
    let (send, messages) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(messages).map(|message| Ok(Frame::data(message)));
    let request = Request::post(format!("http://api{GRPC_ECHO}")).header("te", "trailers");
    let request = request.header("content-type", "application/grpc").body(BodyExt::boxed(StreamBody::new(frames)))?;
    let mut response = sender.send_request(request).await?;
    ensure!(response.headers().get("content-type").is_some_and(|kind| kind == "application/grpc"), "{response:?}");
    // Each message is answered before the next is sent: nothing on the way may wait for more.
    for n in 0..20_u8 {
        let message = [&[0, 0, 0, 0, 3], [n; 3].as_slice()].concat();
        send.send(message.clone().into()).await?;
        let mut echoed = Vec::new();
        while echoed.len() < message.len() {
            let frame = response.frame().await.context("the stream ended early")??;
            echoed.extend_from_slice(&frame.into_data().map_err(|_| anyhow::anyhow!("trailers came early"))?);
        }
        ensure!(echoed == message, "{echoed:?} is not {message:?}");
    }
    drop(send);
    let trailers = response.into_body().collect().await?.trailers().cloned().context("no trailers")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "{trailers:?}");
    ensure!(trailers.get("grpc-message").is_some_and(|text| text == "all echoed"), "{trailers:?}");
    Ok(())
}

async fn upgrades(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    for protocol in ["websocket", "weft-test/7", "TLS/1.2"] {
        let mut stream = client::connect(&duo.web, duo.at(HTTP)).await?;
        let request = format!("GET /up HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let answer = Message::parse(&client::read_until(&mut stream, "\r\n\r\n").await?)?;
        ensure!(answer.start.starts_with("HTTP/1.1 101"), "{answer:?}");
        ensure!(answer.header("upgrade") == Some(protocol), "{answer:?}");
        for block in [b"\x81\x85any bytes\r\n\r\n".as_slice(), &[0; 4096], b"GET / HTTP/1.1\r\n\r\n"] {
            stream.write_all(block).await?;
            ensure!(read_exactly(&mut stream, block.len()).await? == block, "{protocol} is not passed on as it is");
        }
        stream.shutdown().await?;
        ensure!(client::read_to_end(&mut stream).await?.is_empty(), "something came after the end");
    }
    Ok(())
}

async fn upgrade_breaks(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    // The application breaks its connection at a "b", and tells how the connection ended for it otherwise.
    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
    apps::serve(&duo.api, HTTP_TARGET, move |mut stream: TcpStream| {
        let told = told.clone();
        async move {
            client::read_until(&mut stream, "\r\n\r\n").await?;
            let switch =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome";
            stream.write_all(switch).await?;
            match stream.read_u8().await {
                Ok(b'b') => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
                ended => told.send(ended.map_err(|error| error.kind()))?,
            }
            Ok(())
        }
    })
    .await?;
    let open = async || {
        let mut stream = client::connect(&duo.web, duo.at(HTTP)).await?;
        stream.write_all(b"GET /up HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await?;
        client::read_until(&mut stream, "welcome").await?;
        anyhow::Ok(stream)
    };
    let mut of_the_application = open().await?;
    of_the_application.write_all(b"b").await?;
    let ended = of_the_application.read_u8().await.map_err(|error| error.kind());
    ensure!(ended == Err(ErrorKind::ConnectionReset), "the application broke, the client saw {ended:?}");
    let of_the_client = open().await?;
    SockRef::from(&of_the_client).set_linger(Some(Duration::ZERO))?;
    drop(of_the_client);
    let ended = ends.recv().await;
    ensure!(ended == Some(Err(ErrorKind::ConnectionReset)), "the client broke, the application saw {ended:?}");
    Ok(())
}

async fn connect(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let answer = b"HTTP/1.1 200 Connection established\r\nX-Via: app\r\n\r\n";
    let (seen, mut heads) = tokio::sync::mpsc::unbounded_channel();
    apps::serve(&duo.api, HTTP_TARGET, move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(client::read_until(&mut stream, "\r\n\r\n").await?)?;
            stream.write_all(answer).await?;
            apps::echo(stream).await
        }
    })
    .await?;
    let request = b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example:443\r\nX-A: 1\r\n\r\n";
    let mut stream = client::connect(&duo.web, duo.at(HTTP)).await?;
    stream.write_all(request).await?;
    same_end_to_end(answer, &client::read_until(&mut stream, "\r\n\r\n").await?)?;
    same_end_to_end(request, &heads.recv().await.context("no request")?)?;
    stream.write_all(b"through the tunnel").await?;
    stream.shutdown().await?;
    ensure!(client::read_to_end(&mut stream).await? == b"through the tunnel", "the tunnel changes bytes");
    Ok(())
}

async fn opaque(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    for (port, target) in [(TCP, TCP_TARGET), (UNDECLARED, UNDECLARED_TARGET)] {
        apps::serve(&duo.api, target, apps::read_all_then_answer).await?;
        let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let received = client::send_and_end(&duo.web, duo.at(port), &sent).await?;
        ensure!(received == [b"400000:".as_slice(), &sent].concat(), "port {port} changes bytes");
    }
    Ok(())
}

async fn server_first(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    for (port, target) in [(TCP, TCP_TARGET), (UNDECLARED, UNDECLARED_TARGET)] {
        apps::serve(&duo.api, target, apps::greet_first).await?;
        let mut stream = client::connect(&duo.web, duo.at(port)).await?;
        let greeting = client::read_until(&mut stream, "\r\n").await.with_context(|| format!("on port {port}"))?;
        ensure!(greeting == GREETING, "another greeting");
        stream.write_all(b"HELO\r\n").await?;
        ensure!(client::read_until(&mut stream, "\r\n").await? == b"HELO\r\n", "no echo");
    }
    Ok(())
}

async fn own_tls(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let key = rcgen::generate_simple_self_signed(["app.example".to_owned()])?;
    let certificate = key.cert.der().clone();
    let private =
        rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let server = rustls::ServerConfig::builder().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![certificate.clone()], private)?);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone())?;
    let trusting = Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    for (port, target) in [(TCP, TCP_TARGET), (UNDECLARED, UNDECLARED_TARGET)] {
        apps::tls_echo(&duo.api, target, Arc::clone(&server)).await?;
        let stream = client::connect(&duo.web, duo.at(port)).await?;
        let connector = TlsConnector::from(Arc::clone(&trusting));
        let mut session = connector.connect(ServerName::try_from("app.example")?, stream).await?;
        let shown = session.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        ensure!(shown == Some(&certificate), "the application's certificate was replaced");
        session.write_all(b"secret").await?;
        let mut echoed = [0; 6];
        session.read_exact(&mut echoed).await?;
        ensure!(&echoed == b"secret", "{echoed:?}");
    }
    Ok(())
}

async fn ipv6(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    apps::serve(&duo.api, TCP_TARGET, apps::read_all_then_answer).await?;
    let (status, body) = client::get(&duo.web, duo.service.address_v6(HTTP), "/six").await?;
    ensure!(status == StatusCode::OK && body.starts_with("api"), "{status} {body}");
    let answer = client::send_and_end(&duo.web, duo.service.address_v6(TCP), b"six").await?;
    ensure!(answer == b"3:six", "{answer:?}");
    mutual_tls(&duo.web, &duo.api).await
}

async fn pod_address(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    for address in [duo.api.address(HTTP_TARGET), duo.api.address_v6(HTTP_TARGET)] {
        let (status, body) = client::get(&duo.web, address, "/").await?;
        ensure!(status == StatusCode::OK && body.starts_with("api"), "{address}: {status} {body}");
    }
    mutual_tls(&duo.web, &duo.api).await
}

async fn unmeshed(world: World) -> Result<()> {
    let plain = world.pod("plain").start().await?;
    apps::h1(&plain, 8080).await?;
    apps::serve(&plain, 9001, apps::greet_first).await?;
    let service = world.service("plain").port(80, 8080, "http").port(9000, 9001, "tcp").backends([&plain]).create()?;
    let duo = Duo::start(&world).await?;
    for address in [service.address(80), plain.address(8080)] {
        let (status, body) = client::get(&duo.web, address, "/").await?;
        ensure!(status == StatusCode::OK && body.starts_with("plain"), "{address}: {status} {body}");
    }
    let greeting = client::exchange(&duo.web, service.address(9000), "", "\r\n").await?;
    ensure!(greeting == GREETING, "{greeting:?}");
    // And the other way: who has no sidecar may call, in plaintext, unless the port is strict.
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let (status, _) = client::get(&plain, duo.api.address(HTTP_TARGET), "/").await?;
    ensure!(status == StatusCode::OK, "a plaintext caller is answered {status}");
    Ok(())
}

async fn nobody_listens(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let (status, _) = client::get(&duo.web, duo.at(HTTP), "/").await?;
    ensure!(status == StatusCode::BAD_GATEWAY || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    let answer = client::send_and_end(&duo.web, duo.at(TCP), b"anybody?").await;
    ensure!(answer.as_ref().map_or(true, Vec::is_empty), "{answer:?} came from nowhere");
    Ok(())
}

/// Asserts that `from` was seen by the sidecar of `to` under its identity.
async fn mutual_tls(from: &Pod, to: &Pod) -> Result<()> {
    let metrics = to.sidecar()?.metrics().await?;
    let (peer, all) = (from.identity(), [("direction", "inbound")]);
    let seen = metrics.sum("weft_requests_total", &[("direction", "inbound"), ("tls", "mtls"), ("peer", &peer)]);
    ensure!(seen > 0.0 && seen == metrics.sum("weft_requests_total", &all), "{:#?}", metrics.samples());
    Ok(())
}

async fn read_exactly(stream: &mut TcpStream, length: usize) -> Result<Vec<u8>> {
    let mut received = vec![0; length];
    tokio::time::timeout(Duration::from_secs(15), stream.read_exact(&mut received)).await.context("silence")??;
    Ok(received)
}
