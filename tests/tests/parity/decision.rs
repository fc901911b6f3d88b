//! What a proxy made of a request, in a few words that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::join_all;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, HOST, SERVER, SET_COOKIE, TE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use tokio::time::{sleep, timeout};
use weft_tests::apps::{Act, SCENE, Seen};
use weft_tests::client::{self, Body};

use crate::case::{self, Ask, Case, Look};
use crate::scene::{Scene, Side};

/// No answer takes longer than that.
const PATIENCE: Duration = Duration::from_secs(10);
/// A mirrored request comes within this, or not at all.
const MIRRORED: Duration = Duration::from_millis(400);
/// Different keys that are hashed, and requests with each.
const KEYS: usize = 24;
const REQUESTS_A_KEY: usize = 3;
/// Requests of a session after its first.
const REQUESTS_A_SESSION: usize = 9;

/// What came back.
struct Outcome {
    status: StatusCode,
    headers: HeaderMap,
    /// Of the body's end; `None`: it broke off.
    trailers: Option<HeaderMap>,
    elapsed: Duration,
}

/// The proxy's decision, or why there is none.
pub(crate) async fn of(scene: &Scene, side: &Side, case: &Case) -> String {
    let decision = async {
        match case.look {
            Look::Once => once(scene, side, case).await.map(|(text, _)| text),
            Look::Timed(least) => {
                let (text, elapsed) = once(scene, side, case).await?;
                Ok(format!("{text}, {}", if elapsed < least { "at once" } else { "late" }))
            }
            Look::Mirrored(expected) => mirrored(scene, side, case, expected).await,
            Look::Spread(requests) => spread(scene, side, case, requests).await,
            Look::Even(requests) => even(scene, side, case, requests).await,
            Look::Crowd(requests) => crowd(scene, side, case, requests).await,
            Look::Sticky(header) => sticky(scene, side, case, header).await,
            Look::Session(name, in_cookie) => session(scene, side, case, name, in_cookie).await,
        }
    };
    decision.await.unwrap_or_else(|error: anyhow::Error| format!("no answer ({error:#})"))
}

async fn once(scene: &Scene, side: &Side, case: &Case) -> Result<(String, Duration)> {
    let key = begin(scene, side, case);
    let outcome = Line::open(side, case).await?.send(&case.ask, &key).await?;
    let seen = scene.stage.scene(&key);
    Ok((describe(case, &outcome, &seen.iter().collect::<Vec<_>>()), outcome.elapsed))
}

async fn mirrored(scene: &Scene, side: &Side, case: &Case, expected: bool) -> Result<String> {
    let key = begin(scene, side, case);
    let outcome = Line::open(side, case).await?.send(&case.ask, &key).await?;
    let until = Instant::now() + if expected { PATIENCE } else { MIRRORED };
    let is_copy = |seen: &&Seen| seen.pod == "mirror";
    while Instant::now() < until && !(expected && scene.stage.scene(&key).iter().any(|seen| is_copy(&seen))) {
        sleep(Duration::from_millis(10)).await;
    }
    let seen = scene.stage.scene(&key);
    let (copies, requests): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(is_copy);
    let copies = copies.iter().map(|copy| format!(" + mirror{}", on_the_way(&case.ask, copy)));
    Ok(describe(case, &outcome, &requests) + &copies.collect::<String>())
}

async fn spread(scene: &Scene, side: &Side, case: &Case, requests: usize) -> Result<String> {
    let mut answers = BTreeSet::new();
    for _ in 0..requests {
        answers.insert(once(scene, side, case).await?.0);
    }
    Ok(answers.into_iter().collect::<Vec<_>>().join(" or "))
}

async fn even(scene: &Scene, side: &Side, case: &Case, requests: usize) -> Result<String> {
    let key = begin(scene, side, case);
    let mut line = Line::open(side, case).await?;
    for _ in 0..requests {
        line.send(&case.ask, &key).await?;
    }
    let mut counts: Vec<usize> = by_pod(&scene.stage.scene(&key)).into_values().collect();
    counts.sort_unstable();
    Ok(format!("{counts:?}"))
}

async fn crowd(scene: &Scene, side: &Side, case: &Case, requests: usize) -> Result<String> {
    let key = begin(scene, side, case);
    let lines = join_all((0..requests).map(|_| Line::open(side, case))).await;
    let answers = lines.into_iter().map(async |line| line?.send(&case.ask, &key).await);
    let mut counts = BTreeMap::<u16, usize>::new();
    for answer in join_all(answers).await {
        *counts.entry(answer?.status.as_u16()).or_default() += 1;
    }
    Ok(counts.iter().map(|(status, count)| format!("{count} x {status}")).collect::<Vec<_>>().join(", "))
}

async fn sticky(scene: &Scene, side: &Side, case: &Case, header: &'static str) -> Result<String> {
    let (mut kept, mut used) = (true, BTreeSet::new());
    for key in 0..KEYS {
        let mut ask = case.ask.clone();
        ask.headers.insert(HeaderName::from_static(header), HeaderValue::try_from(format!("key-{key}"))?);
        let pods = pods_of(scene, side, case, &ask, REQUESTS_A_KEY).await?;
        kept &= pods.len() == 1;
        used.extend(pods.into_keys());
    }
    Ok(format!("each key {} its pod, {} pods", if kept { "keeps" } else { "changes" }, used.len()))
}

async fn session(scene: &Scene, side: &Side, case: &Case, name: &'static str, in_cookie: bool) -> Result<String> {
    let key = begin(scene, side, case);
    let outcome = Line::open(side, case).await?.send(&case.ask, &key).await?;
    let given = match in_cookie {
        true => {
            let cookies = outcome.headers.get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
            cookies
                .filter_map(|cookie| cookie.split(';').next())
                .find(|cookie| cookie.starts_with(name))
                .map(str::to_owned)
        }
        false => outcome.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned),
    };
    let Some(given) = given else { return Ok(format!("{}, no session", outcome.status.as_u16())) };
    let first = scene.stage.scene(&key).first().map(|seen| seen.pod.clone());
    let header = if in_cookie { COOKIE } else { HeaderName::from_static(name) };
    let mut ask = case.ask.clone();
    ask.headers.insert(header, HeaderValue::try_from(given)?);
    let pods = pods_of(scene, side, case, &ask, REQUESTS_A_SESSION).await?;
    let kept = pods.len() == 1 && pods.keys().next() == first.as_ref();
    Ok(format!("the session {} its pod", if kept { "keeps" } else { "changes" }))
}

/// Where so many of these requests go, each on a connection of its own.
async fn pods_of(
    scene: &Scene,
    side: &Side,
    case: &Case,
    ask: &Ask,
    requests: usize,
) -> Result<BTreeMap<String, usize>> {
    let key = begin(scene, side, case);
    for _ in 0..requests {
        Line::open(side, case).await?.send(ask, &key).await?;
    }
    Ok(by_pod(&scene.stage.scene(&key)))
}

fn by_pod(seen: &[Seen]) -> BTreeMap<String, usize> {
    seen.iter().fold(BTreeMap::new(), |mut counts, seen| {
        *counts.entry(seen.pod.clone()).or_default() += 1;
        counts
    })
}

/// Puts the case's script on the stage; the scene's name.
fn begin(scene: &Scene, side: &Side, case: &Case) -> String {
    let key = format!("{}: {}", side.name, case.name);
    scene.stage.play(&key, case.script.clone());
    key
}

/// A connection through the proxy.
enum Line {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Line {
    async fn open(side: &Side, case: &Case) -> Result<Self> {
        let address = side.at(case.service)?;
        Ok(match case.ask.http2 {
            false => Self::Http1(client::http1(&side.pod, address).await?),
            true => Self::Http2(client::http2(&side.pod, address).await?),
        })
    }

    async fn send(&mut self, ask: &Ask, scene: &str) -> Result<Outcome> {
        let uri = if ask.http2 { format!("http://{}{}", case::HOST, ask.path) } else { ask.path.to_owned() };
        let mut request = Request::builder().method(ask.method.clone()).uri(uri);
        if let Some(headers) = request.headers_mut() {
            *headers = ask.headers.clone();
            headers.insert(SCENE, HeaderValue::try_from(scene)?);
            if !ask.http2 {
                headers.insert(HOST, HeaderValue::from_static(case::HOST));
            }
        }
        let body = if ask.body.is_empty() { client::empty() } else { client::full(ask.body.clone()) };
        let (request, begun) = (request.body(body)?, Instant::now());
        let exchange = async {
            let response = match self {
                Self::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Self::Http2(sender) => sender.send_request(request).await?,
            };
            let (parts, body) = response.into_parts();
            let trailers = body.collect().await.ok().map(|body| body.trailers().cloned().unwrap_or_default());
            anyhow::Ok(Outcome { status: parts.status, headers: parts.headers, trailers, elapsed: begun.elapsed() })
        };
        timeout(PATIENCE, exchange).await.context("silence")?
    }
}

/// `200 trio x3, path /new, +x-add: more; answer -x-gone; grpc-status 14, cut`
fn describe(case: &Case, outcome: &Outcome, seen: &[&Seen]) -> String {
    let mut text = format!("{}{}", outcome.status.as_u16(), asked(seen));
    if let Some(last) = seen.last() {
        text += &on_the_way(&case.ask, last);
    }
    let act = seen.len().checked_sub(1).and_then(|n| case.script.get(n).or(case.script.last()));
    let given = act.map(Act::headers).cloned().unwrap_or_default();
    let changes = changes(&given, &outcome.headers, is_noise_of_an_answer);
    if !changes.is_empty() {
        text += &format!("; answer{changes}");
    }
    let trailers = outcome.trailers.as_ref();
    let status = outcome.headers.get("grpc-status").or_else(|| trailers?.get("grpc-status"));
    if let Some(status) = status {
        text += &format!("; grpc-status {}", String::from_utf8_lossy(status.as_bytes()));
    }
    text + if trailers.is_none() { ", cut" } else { "" }
}

/// Which applications were asked, in order: ` a b`, ` trio x3`; pods that do the same go by one name.
fn asked(seen: &[&Seen]) -> String {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for seen in seen {
        let label = seen.pod.split('-').next().unwrap_or_default();
        match runs.last_mut() {
            Some((name, count)) if *name == label => *count += 1,
            _ => runs.push((label, 1)),
        }
    }
    let text = |(name, count): (&str, usize)| if count == 1 { format!(" {name}") } else { format!(" {name} x{count}") };
    runs.into_iter().map(text).collect()
}

/// What was changed of a request before an application saw it.
fn on_the_way(sent: &Ask, seen: &Seen) -> String {
    let mut text = String::new();
    if seen.method != sent.method {
        text += &format!(", {}", seen.method);
    }
    if seen.path() != sent.path {
        text += &format!(", path {}", seen.path());
    }
    if seen.host() != case::HOST {
        text += &format!(", host {}", seen.host());
    }
    if seen.body != sent.body {
        text += &format!(", {} bytes of the body", seen.body.len());
    }
    text + &changes(&sent.headers, &seen.headers, is_noise_of_a_request)
}

fn changes(before: &HeaderMap, after: &HeaderMap, is_noise: fn(&HeaderName) -> bool) -> String {
    let values = |headers: &HeaderMap, name: &HeaderName| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        values.collect::<Vec<_>>().join(",")
    };
    let names: BTreeSet<&str> =
        before.keys().chain(after.keys()).filter(|name| !is_noise(name)).map(HeaderName::as_str).collect();
    let names = names.into_iter().filter_map(|name| HeaderName::try_from(name).ok());
    let change = |name: HeaderName| match (before.contains_key(&name), after.contains_key(&name)) {
        (true, false) => format!(" -{name}"),
        (false, _) => format!(" +{name}: {}", values(after, &name)),
        (true, true) if values(before, &name) == values(after, &name) => String::new(),
        // How much is left of it is a matter of luck.
        (true, true) if name == "grpc-timeout" => less(&values(before, &name), &values(after, &name)),
        (true, true) => format!(" {name}: {}", values(after, &name)),
    };
    names.map(change).collect()
}

/// Whether a deadline became shorter; another unit is no change.
fn less(before: &str, after: &str) -> String {
    match (in_nanoseconds(before), in_nanoseconds(after)) {
        (Some(before), Some(after)) if after == before => String::new(),
        (Some(before), Some(after)) if after < before => " grpc-timeout: less".to_owned(),
        _ => format!(" grpc-timeout: {after}"),
    }
}

fn in_nanoseconds(timeout: &str) -> Option<u64> {
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let of_unit = ["n", "u", "m", "S"].iter().position(|known| *known == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(1000_u64.pow(u32::try_from(of_unit).ok()?))
}

/// What every hop adds for itself, or that frames the message.
fn is_noise(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, DATE, SERVER].contains(name)
        || name.as_str().starts_with("x-envoy-")
}

fn is_noise_of_a_request(name: &HeaderName) -> bool {
    let added = [SCENE, "x-forwarded-proto", "x-forwarded-for", "x-request-id", "traceparent", "tracestate"];
    is_noise(name) || [HOST, TE].contains(name) || added.contains(&name.as_str())
}

fn is_noise_of_an_answer(name: &HeaderName) -> bool {
    // The status of a call is told apart from its headers: it may as well be a trailer.
    let apart = ["grpc-status", "grpc-message", "x-weft-reason"];
    is_noise(name) || [CONTENT_TYPE, SET_COOKIE].contains(name) || apart.contains(&name.as_str())
}
