//! Applications that answer as a trial tells them to, and remember every request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use weft_cli::world::Pod;

use super::act::{Act, Failure, Played};
use super::serve;

/// The header that names the [script](Stage::play) by which a request is answered.
pub const SCENE: &str = "x-scene";

/// A request as an application saw it, trailers apart.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name of the pod that got it.
    pub pod: String,
    /// The method.
    pub method: Method,
    /// The path and query; of HTTP/2 with scheme and authority.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// When it was whole.
    pub at: Instant,
}

impl Seen {
    /// What the request says of its host: `:authority` or `Host`.
    pub fn host(&self) -> &str {
        let header = self.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        self.uri.authority().map(http::uri::Authority::as_str).or(header).unwrap_or_default()
    }

    /// The path with its query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// All applications of a trial, whatever pod they are in: HTTP/1.1 and HTTP/2 with prior knowledge on the same port.
///
/// A request that names a [scene](SCENE) is answered by its script, an act for each time the scene is asked for; any
/// other by what its pod [does always](Stage::always), by default 200 with the pod's name.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    scenes: BTreeMap<String, Scene>,
    /// What each pod does over and over, and how often it did.
    habits: BTreeMap<String, (Vec<Act>, usize)>,
    /// What a pod answers at a path, whatever else it does.
    doors: BTreeMap<(String, String), Act>,
    /// Requests without a scene.
    seen: Vec<Seen>,
    connections: BTreeMap<String, Connections>,
}

/// The connections of a pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// Those that are open.
    pub open: usize,
    /// The most that were open at once.
    pub peak: usize,
    /// All that there ever were.
    pub all: usize,
}

#[derive(Debug, Default)]
struct Scene {
    script: Vec<Act>,
    seen: Vec<Seen>,
}

impl Stage {
    /// Opens the port of the pod.
    ///
    /// # Errors
    /// Where the port cannot be opened.
    pub async fn open(&self, pod: &Pod, port: u16) -> Result<()> {
        let (stage, name) = (self.clone(), pod.name().to_owned());
        serve(pod, port, move |stream| stage.clone().converse(name.clone(), stream)).await
    }

    /// How requests of this scene are answered, in order; the last act is repeated.
    pub fn play(&self, scene: &str, script: impl IntoIterator<Item = Act>) {
        let script = script.into_iter().collect();
        self.0.lock().scenes.insert(scene.to_owned(), Scene { script, seen: Vec::new() });
    }

    /// How the pod answers requests that are in no scene or in one without a script, from now on.
    pub fn always(&self, pod: &Pod, act: Act) {
        self.flap(pod, [act]);
    }

    /// The same, in turns: as an application that works now and then.
    pub fn flap(&self, pod: &Pod, acts: impl IntoIterator<Item = Act>) {
        self.0.lock().habits.insert(pod.name().to_owned(), (acts.into_iter().collect(), 0));
    }

    /// How the pod answers at this very path, from now on: requests that are neither in a scene nor counted.
    pub fn at(&self, pod: &Pod, path: &str, act: Act) {
        self.0.lock().doors.insert((pod.name().to_owned(), path.to_owned()), act);
    }

    /// The requests of a scene so far, in order.
    pub fn scene(&self, scene: &str) -> Vec<Seen> {
        self.0.lock().scenes.get(scene).map(|scene| scene.seen.clone()).unwrap_or_default()
    }

    /// The requests without a scene, since the last look.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().seen)
    }

    /// How many requests without a scene each pod has had, since the last look.
    pub fn take_counts(&self) -> BTreeMap<String, usize> {
        self.take().into_iter().fold(BTreeMap::new(), |mut counts, seen| {
            *counts.entry(seen.pod).or_default() += 1;
            counts
        })
    }

    /// How many connections the pod has, and has had.
    pub fn connections(&self, pod: &Pod) -> Connections {
        self.0.lock().connections.get(pod.name()).copied().unwrap_or_default()
    }

    async fn converse(self, pod: String, stream: TcpStream) -> Result<()> {
        let _open = self.count(&pod);
        // A second handle on the socket, to reset it from within an answer; given up with the conversation.
        let handle = Arc::new(socket2::SockRef::from(&stream).try_clone()?);
        let service = service_fn(move |request| {
            let (stage, pod, handle) = (self.clone(), pod.clone(), Arc::clone(&handle));
            async move { stage.answer(pod, &handle, request).await }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().half_close(true).auto_date_header(false);
        server.http2().auto_date_header(false);
        match server.serve_connection(TokioIo::new(stream), service).await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}"),
        }
    }

    /// Counts a connection, until the guard is dropped.
    fn count(&self, pod: &str) -> impl Drop + use<> {
        let mut state = self.0.lock();
        let counts = state.connections.entry(pod.to_owned()).or_default();
        counts.all += 1;
        counts.open += 1;
        counts.peak = counts.peak.max(counts.open);
        Open { stage: self.clone(), pod: pod.to_owned() }
    }

    async fn answer(&self, pod: String, socket: &socket2::Socket, request: Request<Incoming>) -> Played {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| Failure(error.into()))?.to_bytes();
        let (at, name) = (Instant::now(), pod.clone());
        let seen = Seen { pod, method: parts.method, uri: parts.uri, headers: parts.headers, body, at };
        let act = self.note(seen);
        act.play(&name, || {
            // As a crash does: no end, but a reset.
            let _ = socket.set_linger(Some(Duration::ZERO));
        })
        .await
    }

    /// Remembers the request and tells what to do with it.
    fn note(&self, seen: Seen) -> Act {
        let State { scenes, habits, doors, seen: others, .. } = &mut *self.0.lock();
        let pod = seen.pod.clone();
        if let Some(act) = doors.get(&(pod.clone(), seen.uri.path().to_owned())) {
            return act.clone();
        }
        let scene = seen.header(SCENE).and_then(|name| scenes.get_mut(name));
        let played = match scene {
            Some(scene) => {
                let act = scene.script.get(scene.seen.len()).or(scene.script.last()).cloned();
                scene.seen.push(seen);
                act
            }
            None => {
                others.push(seen);
                None
            }
        };
        played.or_else(|| habit(habits.get_mut(&pod)?)).unwrap_or_default()
    }
}

/// A connection that is open.
struct Open {
    stage: Stage,
    pod: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(counts) = self.stage.0.lock().connections.get_mut(&self.pod) {
            counts.open -= 1;
        }
    }
}

fn habit((acts, times): &mut (Vec<Act>, usize)) -> Option<Act> {
    let act = acts.get(times.checked_rem(acts.len())?).cloned();
    *times += 1;
    act
}
