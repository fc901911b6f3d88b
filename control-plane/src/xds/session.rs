//! One stream from its first request to its end.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use weft_api::xds::pb::envoy::config::core::v3::Node;
use weft_certs::spiffe::SpiffeId;

use super::protocol::{Incoming, Protocol};
use super::publisher::Publisher;
use super::resources::NodeRef;
use super::subscriber::Subscriber;
use super::subscriptions::LimitError;

/// How long a client may take for its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// A stream that is open, before anything was read from it.
pub(super) struct Opened<P: Protocol> {
    pub(super) publisher: Arc<Publisher>,
    pub(super) peer: SpiffeId,
    pub(super) requests: Streaming<P::Request>,
    pub(super) shutdown: CancellationToken,
}

/// A stream whose node is known and authorized.
struct Session<P: Protocol> {
    connection: Connection,
    requests: Streaming<P::Request>,
    shutdown: CancellationToken,
}

/// A stream in the index of streams, for as long as this lives.
struct Connection {
    publisher: Arc<Publisher>,
    subscriber: Arc<Subscriber>,
}

impl<P: Protocol> Opened<P> {
    /// The responses. Requests are read, and responses made, as the client takes them; dropping this ends the session.
    pub(super) fn responses(self) -> impl Stream<Item = Result<P::Response, Status>> + Send + 'static {
        stream::once(self.begin()).flat_map(|begun| match begun {
            Ok(Some(session)) => stream::unfold(Some(session), Session::step).left_stream(),
            Ok(None) => stream::empty().left_stream().right_stream(),
            Err(status) => stream::once(async { Err(status) }).right_stream().right_stream(),
        })
    }

    async fn begin(mut self) -> Result<Option<Session<P>>, Status> {
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(None),
            first = tokio::time::timeout(FIRST_REQUEST, self.requests.message()) => first,
        };
        let late = |_| Status::deadline_exceeded(format!("no request came within {FIRST_REQUEST:?}"));
        let Some(request) = first.map_err(late)?? else { return Ok(None) };
        let request = P::decode(request)?;
        let node = request.node.as_ref().ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        let node = authorize(&self.publisher, node, &self.peer).inspect_err(|status| {
            tracing::warn!(peer = %self.peer, reason = status.message(), "a discovery stream was refused");
        })?;
        let subscriber = self.publisher.connect(node, self.peer)?;
        tracing::info!(node = %subscriber, identity = %subscriber.identity(), "a proxy connected");
        let connection = Connection { publisher: self.publisher, subscriber };
        let session = Session { connection, requests: self.requests, shutdown: self.shutdown };
        session.handle(request)?;
        Ok(Some(session))
    }
}

/// Is the node the pod that it says it is?
pub(crate) fn authorize(publisher: &Publisher, node: &Node, peer: &SpiffeId) -> Result<NodeRef, Status> {
    let parsed = node.id.rsplit_once('.').filter(|(pod, namespace)| !pod.is_empty() && !namespace.is_empty());
    let shown: String = node.id.chars().take(120).collect();
    let Some((pod, namespace)) = parsed else {
        return Err(Status::invalid_argument(format!("node.id {shown:?} is not POD.NAMESPACE")));
    };
    let mesh = publisher.mesh();
    let Some(known) = mesh.pod(namespace, pod) else {
        return Err(Status::permission_denied(format!("pod {shown:?} is not in the registry, or not yet; retry")));
    };
    if mesh.identity(known).as_ref() != Some(peer) {
        let reason = format!("node {shown:?} does not run as {peer}, which the stream's certificate is for");
        return Err(Status::permission_denied(reason));
    }
    Ok(NodeRef { namespace: namespace.to_owned(), pod: pod.to_owned() })
}

impl<P: Protocol> Session<P> {
    async fn step(session: Option<Self>) -> Option<(Result<P::Response, Status>, Option<Self>)> {
        let mut session = session?;
        match session.next().await {
            Ok(response) => Some((Ok(response?), Some(session))),
            Err(status) => {
                tracing::warn!(node = %session.connection.subscriber, reason = status.message(), "a discovery stream was ended");
                Some((Err(status), None))
            }
        }
    }

    /// The next response; `None`: the stream is over.
    async fn next(&mut self) -> Result<Option<P::Response>, Status> {
        loop {
            let Connection { publisher, subscriber } = &self.connection;
            if let Some(outgoing) = publisher.next(subscriber, P::WHOLE) {
                return Ok(Some(P::encode(outgoing)));
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = subscriber.wake.notified() => {}
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.handle(P::decode(request)?)?,
                    Ok(None) => return Ok(None),
                    Err(status) => {
                        tracing::debug!(node = %subscriber, error = status.message(), "a discovery stream broke");
                        return Ok(None);
                    }
                },
            }
        }
    }

    fn handle(&self, request: Incoming) -> Result<(), Status> {
        let Connection { publisher, subscriber } = &self.connection;
        let Incoming { node, kind, nonce, error, names } = request;
        if let Some(node) = node {
            subscriber.report(&node);
        }
        // A state-of-the-world request that answers an older response has older names.
        let stale = P::WHOLE && !nonce.is_empty() && !subscriber.state.lock().subscriptions.is_latest(kind, &nonce);
        if !nonce.is_empty() {
            publisher.answer(subscriber, kind, &nonce, error.as_deref());
        }
        if stale || subscriber.state.lock().subscriptions.is_unchanged_by(kind, &names) {
            return Ok(());
        }
        publisher.request(subscriber, kind, names).map_err(|error| match error {
            LimitError::Subscriptions(_) => Status::resource_exhausted(error.to_string()),
            LimitError::Name(..) => Status::invalid_argument(error.to_string()),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        tracing::info!(node = %self.subscriber, "a proxy disconnected");
        self.publisher.disconnect(&self.subscriber);
    }
}
