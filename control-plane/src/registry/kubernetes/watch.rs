//! One kind of a cluster: looked for, listed, watched, read.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, Resource as _};
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;

use super::object::Raw;
use super::resource;
use crate::mesh::{ObjectName, RouteKind};
use crate::registry::decode::{Head, HeadMetadata};
use crate::registry::fault::Report;
use crate::registry::manifest::{self, Kind, Origin, Reading};
use crate::traffic::store::is_split;

/// How long a watch is open before another one goes on where it ended, seconds. A connection that died unnoticed is given
/// up 5 s later.
const WATCH_SECONDS: u32 = 90;
/// Objects of a page of a list.
const PAGE: u32 = 500;
/// How often a kind that an API server doesn't have is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often a kind that was there must be missing before its objects count as gone: an API server that has just begun
/// may not know its CRDs yet.
const LOOKS: u32 = 4;
/// Pauses between attempts, of which each is up to twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(8)];

/// What a watch says.
#[derive(Debug)]
pub(super) enum Message {
    /// All objects of the kind follow.
    Begin(Kind),
    /// One of them.
    Listed(Kind, Read),
    /// These were all. Others are gone.
    Done(Kind),
    /// An object came or changed.
    Applied(Kind, Read),
    /// An object is gone.
    Deleted(Kind, ObjectName),
}

/// An object that was read.
#[derive(Debug)]
pub(super) struct Read {
    /// As the API server has it: also where it could not be used.
    pub(super) name: ObjectName,
    /// `metadata.generation`; 0: it has none.
    pub(super) generation: i64,
    pub(super) reading: Reading,
    pub(super) report: Report,
}

impl Read {
    pub(super) fn of(kind: Kind, object: &Raw) -> Self {
        let metadata = object.meta();
        let head = HeadMetadata { name: metadata.name.clone(), namespace: metadata.namespace.clone() };
        let head = Head { metadata: head, ..Head::default() };
        let mut report = Report::default();
        let reading = match kind {
            // The traffic store has it.
            Kind::Route(RouteKind::Http) if is_split(&object.value) => Reading::Nothing,
            _ => manifest::read_as(kind, Origin::Cluster, &head, &object.value, &mut report),
        };
        Self { name: name(object), generation: metadata.generation.unwrap_or_default(), reading, report }
    }
}

fn name(object: &Raw) -> ObjectName {
    let metadata = object.meta();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectName::new(text(&metadata.namespace), text(&metadata.name))
}

/// Follows a kind until nobody listens any more.
pub(super) async fn follow(kind: Kind, client: kube::Client, to: mpsc::Sender<Message>) {
    let mut retry = Retry::new(kind);
    // As if it had been there, but for the first look.
    let mut missing = LOOKS - 1;
    while !to.is_closed() {
        match resource::served(&client, kind).await {
            Err(error) => retry.failed(&error).await,
            Ok(None) => {
                retry.succeeded();
                missing = missing.saturating_add(1);
                if missing == LOOKS {
                    tracing::info!(%kind, "the API server doesn't have this kind; it counts as empty until it has");
                    let _ = to.send(Message::Begin(kind)).await;
                    let _ = to.send(Message::Done(kind)).await;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(Some(found)) => {
                if watch(kind, &client, &found, &to, &mut retry).await {
                    missing = 0;
                }
                tokio::time::sleep(PAUSES[0]).await;
            }
        }
    }
}

/// Watches a kind until the API server doesn't have it any more. Returns whether it was read.
async fn watch(
    kind: Kind,
    client: &kube::Client,
    found: &ApiResource,
    to: &mpsc::Sender<Message>,
    retry: &mut Retry,
) -> bool {
    let api = Api::<Raw>::all_with(client.clone(), found);
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let mut events = pin!(watcher(api, config));
    let mut read = false;
    while let Some(event) = events.next().await {
        let message = match event {
            Ok(event) => message(kind, event),
            Err(error) if is_gone(&error) => break,
            Err(error) => {
                retry.failed(&error).await;
                // Who watches what is no more is answered by a page in plain text, which the client takes for a broken event.
                if retry.lasts() && matches!(resource::served(client, kind).await, Ok(None)) {
                    break;
                }
                continue;
            }
        };
        // The begin of a list says nothing of whether it will be answered.
        if !matches!(message, Message::Begin(_)) {
            retry.succeeded();
        }
        read |= matches!(message, Message::Done(_));
        if to.send(message).await.is_err() {
            break;
        }
    }
    read
}

fn message(kind: Kind, event: Event<Raw>) -> Message {
    match event {
        Event::Init => Message::Begin(kind),
        Event::InitApply(object) => Message::Listed(kind, Read::of(kind, &object)),
        Event::InitDone => Message::Done(kind),
        Event::Apply(object) => Message::Applied(kind, Read::of(kind, &object)),
        Event::Delete(object) => Message::Deleted(kind, name(&object)),
    }
}

/// Whether the API server doesn't have the kind any more, in this version.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => resource::is_missing(error),
        watcher::Error::WatchError(status) => status.code == 404,
        watcher::Error::NoResourceVersion => false,
    }
}

/// The pauses between attempts, and a log that says once that something fails, and once that it works again.
struct Retry {
    kind: Kind,
    failures: u32,
}

impl Retry {
    fn new(kind: Kind) -> Self {
        Self { kind, failures: 0 }
    }

    async fn failed(&mut self, error: &(impl std::error::Error + 'static)) {
        self.report(error);
        let [first, longest] = PAUSES;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
    }

    fn report(&self, error: &(dyn std::error::Error + 'static)) {
        let Self { kind, failures } = self;
        // A watch that ended for its age or for the API server's restart is nothing to speak of.
        match failures {
            1 => tracing::warn!(%kind, error, "can't follow this kind; what is known of it stays in force, trying on"),
            _ => tracing::debug!(%kind, error, failures, "can't follow this kind yet"),
        }
    }

    /// Whether it failed more than once in a row.
    fn lasts(&self) -> bool {
        self.failures > 1
    }

    fn succeeded(&mut self) {
        if self.lasts() {
            tracing::info!(kind = %self.kind, "this kind is followed again");
        }
        self.failures = 0;
    }
}
