//! An endpoint's connections: opened, waited for where their number is limited, and given up.

use std::io;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::EndpointState;
use crate::path::connection::Connection;
use crate::path::upstream::held::Held;
use crate::path::upstream::http1::Kind;
use crate::path::upstream::limits::Limiter;
use crate::path::upstream::{SendError, http1, http2};

impl EndpointState {
    /// Closes connections that were idle for too long.
    pub(in crate::path::upstream) fn prune(&self, now: Instant) {
        self.http1.prune(now);
        if let Some(http2) = self.http2.get().filter(|_| self.pending.get() == 0) {
            // Without a policy it stays for as long as the other side lets it.
            self.reach.idle_timeout.inspect(|patience| http2.prune(now, *patience));
        }
    }

    /// Closes all connections that nobody uses, for others who need them more.
    pub(in crate::path::upstream) fn close_idle(&self) {
        self.http1.clear();
        if let Some(http2) = self.http2.get().filter(|_| self.pending.get() == 0) {
            http2.clear();
        }
    }

    /// Whether it has a connection or something under way.
    pub(in crate::path::upstream) fn is_used(&self) -> bool {
        self.pending.get() > 0 || !self.http1.is_empty() || self.http2.get().is_some_and(|http2| http2.is_open())
    }

    /// A connection for HTTP/1, and whether it is a new one.
    pub(super) async fn http1_connection(&self, kind: Kind) -> Result<(http1::Pooled, bool), SendError> {
        let Some(limiter) = self.limiter() else { return Ok((self.connect_http1(kind, None).await?, true)) };
        let permit = match limiter.try_connection() {
            Some(permit) => Some(permit),
            // Boxed: waiting is rare and its future is large.
            None => match Box::pin(self.permit_or_idle(kind, limiter)).await? {
                Slot::New(permit) => permit,
                Slot::Idle(idle) => return Ok((idle, false)),
            },
        };
        Ok((self.connect_http1(kind, permit).await?, true))
    }

    /// Opens the connection for HTTP/2, or waits for who does.
    pub(super) async fn connect_http2(&self, http2: &http2::Shared) -> Result<http2::Sender, SendError> {
        let address = self.endpoint.address;
        let full = self.limiter().filter(|limiter| !limiter.has_room());
        let _waiting = full.map(Limiter::wait).transpose()?;
        // Dialling has its own time-out; this one is for waiting, also behind others whose dialling times out.
        let turn = async {
            let dialling = http2.dialling.lock().await;
            if let Some(sender) = http2.usable(self.reach.max_age) {
                return Turn::Done(sender);
            }
            let permit = match self.limiter() {
                Some(limiter) => limiter.connection().await,
                None => None,
            };
            Turn::Dial(dialling, permit)
        };
        let (_dialling, permit) = match tokio::time::timeout(self.reach.timeout, turn).await {
            Ok(Turn::Done(sender)) => return Ok(sender),
            Ok(Turn::Dial(dialling, permit)) => (dialling, permit),
            Err(_) => {
                let source = || io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
                let timed_out = || SendError::Connect { address, source: source() };
                return Err(full.map_or_else(timed_out, |limiter| limiter.no_connection().into()));
            }
        };
        let stream = Held::new(self.dial().await?, permit);
        http2.open(address, stream).await.map_err(|source| SendError::Http2 { address, source, unhandled: true })
    }

    /// Leave to open a connection for bytes.
    pub(super) async fn permit(&self) -> Result<Option<OwnedSemaphorePermit>, SendError> {
        let Some(limiter) = self.limiter() else { return Ok(None) };
        if let Some(permit) = limiter.try_connection() {
            return Ok(Some(permit));
        }
        let _waiting = limiter.wait()?;
        match tokio::time::timeout(self.reach.timeout, limiter.connection()).await {
            Ok(permit) => Ok(permit),
            Err(_) => Err(limiter.no_connection().into()),
        }
    }

    /// Lets the HTTP/2 connection go when nothing is under way on it and others wait for one.
    pub(super) fn make_room(&self) {
        if self.pending.get() == 0
            && let Some(http2) = self.http2.get()
            && self.limiter().is_some_and(|limiter| limiter.waiting() > 0)
        {
            http2.clear();
        }
    }

    /// Keeps an idle connection, unless those who wait for one elsewhere need the room. They get their part: as many of
    /// the connections as they are among all who wait.
    pub(super) fn give_back(&self, connection: http1::Pooled) {
        if let Some(limiter) = self.limiter() {
            let (here, all) = (self.http1.waiting(), limiter.waiting());
            if all > here && rand::random_range(0..all) >= here {
                return;
            }
        }
        self.http1.give_back(connection);
    }

    async fn connect_http1(
        &self,
        kind: Kind,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<http1::Pooled, SendError> {
        let connection = match &self.reach.mesh {
            Some(peer) => {
                Connection::Tunnel(Box::pin(peer.tunnel(self.endpoint.address, true, self.patience())).await?)
            }
            None => Connection::Socket(self.dial().await?),
        };
        let connected = http1::handshake(kind, connection, permit).await;
        connected.map_err(|source| SendError::Http { address: self.endpoint.address, source, unhandled: true })
    }

    /// Waits for leave to open a connection for HTTP/1, or for one that becomes idle.
    async fn permit_or_idle(&self, kind: Kind, limiter: &Limiter) -> Result<Slot, SendError> {
        let _waiting = limiter.wait()?;
        tokio::select! {
            permit = limiter.connection() => Ok(Slot::New(permit)),
            idle = self.http1.next_idle(kind) => Ok(Slot::Idle(idle)),
            () = tokio::time::sleep(self.reach.timeout) => Err(limiter.no_connection().into()),
        }
    }

    /// The limits of connections, where there are any.
    fn limiter(&self) -> Option<&Limiter> {
        let limiter = self.core.as_ref()?.limiter.as_deref()?;
        limiter.limits_connections().then_some(limiter)
    }
}

/// Leave to use a connection for HTTP/1.
enum Slot {
    /// To open one.
    New(Option<OwnedSemaphorePermit>),
    /// To use one that has become idle.
    Idle(http1::Pooled),
}

/// What waiting for the connection for HTTP/2 leads to.
enum Turn<'a> {
    /// Somebody else has opened it.
    Done(http2::Sender),
    /// It is ours to open, while the others wait.
    Dial(tokio::sync::MutexGuard<'a, ()>, Option<OwnedSemaphorePermit>),
}
