//! Traces: one for each request, with the right parents, and at no cost when nobody collects them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Request;
use libtest_mimic::Trial;
use weft_cli::world::World;
use weft_tests::apps::{self, Script, Scripted};
use weft_tests::collector::{Collector, Span, SpanKind};
use weft_tests::duo::{Duo, HTTP, HTTP_TARGET};
use weft_tests::load::Load;
use weft_tests::message::Message;
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(90);
/// Spans are exported in batches.
const EXPORT: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a trace is started where none is", LIMIT, started),
        trial("W3C goes on", LIMIT, w3c),
        trial("B3 in one header goes on", LIMIT, b3_single),
        trial("B3 in several headers goes on", LIMIT, b3_multi),
        trial("what is not sampled is passed on and not exported", LIMIT, unsampled),
        trial("a dead collector costs nothing", LIMIT, dead_collector),
    ]
}

async fn duo_with_traces(world: &World, endpoint: &str) -> Result<Duo> {
    let control = world.control_plane().start().await?;
    let meshed = |name| world.pod(name).sidecar_env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let api = meshed("api").start().await?;
    let service = Duo::service(world, &api)?;
    let web = meshed("web").start().await?;
    Ok(Duo { control, web, api, service })
}

/// Sends one request with these headers; gives what the application was sent.
async fn request(duo: &Duo, headers: &str) -> Result<Message> {
    let answer = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
    let mut app = Scripted::start(&duo.api, HTTP_TARGET, [Script::new("\r\n\r\n", answer)]).await?;
    let text = format!("PUT /items/7?q=1 HTTP/1.1\r\nHost: api\r\n{headers}\r\n");
    client::exchange(&duo.web, duo.at(HTTP), text, "\r\n\r\nok").await?;
    Message::parse(&app.request().await?)
}

/// The CLIENT span of `web` and the SERVER span of `api`: of one trace, the second the child of the first, and the
/// parent of whatever the application does.
async fn pair(collector: &mut Collector, arrived: &Message) -> Result<(Span, Span)> {
    let spans = collector.spans(EXPORT, |spans| spans.len() >= 2).await?;
    let find = |service: &str, kind: SpanKind| {
        let found = spans.iter().find(|span| span.service == service && span.kind == kind).cloned();
        found.with_context(|| format!("no {kind:?} span of {service} in {spans:#?}"))
    };
    let (client, server) = (find("web", SpanKind::Client)?, find("api", SpanKind::Server)?);
    ensure!(spans.len() == 2, "more than two spans: {spans:#?}");
    ensure!(client.trace_id == server.trace_id && server.parent == client.span_id, "{spans:#?}");
    ensure!(client.name.starts_with("PUT") && !client.name.contains('7'), "the span is called {:?}", client.name);
    for span in [&client, &server] {
        ensure!(span.attribute("http.request.method") == Some("PUT"), "{span:#?}");
        ensure!(span.attribute("http.response.status_code") == Some("201"), "{span:#?}");
    }
    let expected = format!("00-{}-{}-01", server.trace_id, server.span_id);
    ensure!(arrived.header("traceparent") == Some(expected.as_str()), "{arrived:#?} is not told of {server:#?}");
    Ok((client, server))
}

async fn started(world: World) -> Result<()> {
    let mut collector = Collector::start(&world).await?;
    let duo = duo_with_traces(&world, &collector.endpoint()).await?;
    let arrived = request(&duo, "").await?;
    let (client, _) = pair(&mut collector, &arrived).await?;
    ensure!(client.parent.is_empty(), "the root has the parent {}", client.parent);
    Ok(())
}

async fn continued(world: World, headers: &str) -> Result<Message> {
    let mut collector = Collector::start(&world).await?;
    let duo = duo_with_traces(&world, &collector.endpoint()).await?;
    let arrived = request(&duo, headers).await?;
    let (client, server) = pair(&mut collector, &arrived).await?;
    ensure!(client.trace_id == TRACE && client.parent == PARENT, "{client:#?}");
    if let Some(b3) = arrived.header("b3") {
        ensure!(b3.starts_with(&format!("{TRACE}-{}-1", server.span_id)), "b3 is {b3}");
    }
    Ok(arrived)
}

async fn w3c(world: World) -> Result<()> {
    let headers = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=opaque,b=2\r\n");
    let arrived = continued(world, &headers).await?;
    ensure!(arrived.header("tracestate") == Some("vendor=opaque,b=2"), "{arrived:#?}");
    Ok(())
}

async fn b3_single(world: World) -> Result<()> {
    let arrived = continued(world, &format!("b3: {TRACE}-{PARENT}-1\r\n")).await?;
    ensure!(arrived.header("b3").is_some(), "{arrived:#?}");
    Ok(())
}

async fn b3_multi(world: World) -> Result<()> {
    let headers = format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {PARENT}\r\nX-B3-Sampled: 1\r\n");
    let arrived = continued(world, &headers).await?;
    ensure!(arrived.header("x-b3-traceid") == Some(TRACE), "{arrived:#?}");
    ensure!(arrived.header("x-b3-sampled") == Some("1"), "{arrived:#?}");
    ensure!(arrived.header("x-b3-spanid").is_some_and(|id| id != PARENT), "{arrived:#?}");
    Ok(())
}

async fn unsampled(world: World) -> Result<()> {
    let mut collector = Collector::start(&world).await?;
    let duo = duo_with_traces(&world, &collector.endpoint()).await?;
    let arrived = request(&duo, &format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n")).await?;
    let passed_on = arrived.header("traceparent").context("no traceparent")?;
    ensure!(passed_on.starts_with(&format!("00-{TRACE}-")) && passed_on.ends_with("-00"), "{passed_on}");
    // A request that is sampled comes after it, and its spans come alone.
    let mut sender = client::http1(&duo.web, duo.at(HTTP)).await?;
    let traced =
        Request::get("/").header("host", "api").header("traceparent", format!("00-{}-{PARENT}-01", "a".repeat(32)));
    client::whole(sender.send_request(traced.body(client::empty())?)).await?;
    let spans = collector.spans(EXPORT, |spans| spans.len() >= 2).await?;
    ensure!(spans.iter().all(|span| span.trace_id != TRACE), "{spans:#?}");
    Ok(())
}

async fn dead_collector(world: World) -> Result<()> {
    // Nobody is at this address: connections wait, none is refused.
    let duo = duo_with_traces(&world, "http://10.1.99.99:4317").await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let begin = Instant::now();
    let mut load = Load::start(&duo.web, duo.at(HTTP), 4);
    load.more(5000).await?;
    load.stop().await?.nothing_lost()?;
    ensure!(begin.elapsed() < Duration::from_secs(60), "5000 requests took {:?}", begin.elapsed());
    let memory = duo.web.sidecar()?.process().resident_bytes()?;
    ensure!(memory < 96 << 20, "the proxy takes {memory} bytes");
    Ok(())
}
