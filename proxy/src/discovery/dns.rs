//! Resolves the names of STRICT_DNS clusters, for as long as they are needed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::graph::NameChange;

/// An answer is used for its TTL, but asked for again after this time at the earliest.
const LEAST_TTL: Duration = Duration::from_secs(1);
/// An answer is used for its TTL, but asked for again after this time at the latest.
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// After a failure, also after the answer that the name does not exist, the name is asked for again after this time at
/// the latest.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Answers that wait for the control thread.
const QUEUE: usize = 64;

/// What a name resolves to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) host: Arc<str>,
    /// `None`: it could not be resolved.
    pub(super) addresses: Option<Vec<IpAddr>>,
}

/// The names that are being resolved; each by a task of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Names {
    resolver: Result<TokioResolver, String>,
    tasks: JoinSet<()>,
    running: HashMap<Arc<str>, AbortHandle>,
    answers: mpsc::Sender<Resolved>,
}

impl Names {
    /// Resolves by this resolver; the answers come by the channel.
    pub(super) fn new(resolver: Result<TokioResolver, String>) -> (Self, mpsc::Receiver<Resolved>) {
        let (answers, received) = mpsc::channel(QUEUE);
        (Self { resolver, tasks: JoinSet::new(), running: HashMap::new(), answers }, received)
    }

    /// Begins or ends to resolve a name.
    pub(super) fn change(&mut self, change: NameChange) {
        // What has ended is taken out, so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        match change {
            NameChange::Start(host) => {
                let resolving = resolve(self.resolver.clone(), host.clone(), self.answers.clone());
                let task = self.tasks.spawn(resolving);
                self.running.insert(host, task);
            }
            NameChange::Stop(host) => {
                if let Some(task) = self.running.remove(&host) {
                    task.abort();
                }
            }
        }
    }
}

/// Resolves one name, again and again, until nobody wants the answers.
async fn resolve(resolver: Result<TokioResolver, String>, host: Arc<str>, answers: mpsc::Sender<Resolved>) {
    let mut failures = 0;
    loop {
        let (addresses, wait) = match lookup(resolver.as_ref(), &host).await {
            Ok((addresses, ttl)) => {
                failures = 0;
                (Some(addresses), ttl.clamp(LEAST_TTL, LONGEST_TTL))
            }
            Err(reason) => {
                let wait = retry_after(failures);
                failures += 1;
                tracing::warn!(%host, %reason, again_in = ?wait, "a name outside the mesh cannot be resolved; what it resolved to before stays");
                (None, wait)
            }
        };
        if answers.send(Resolved { host: host.clone(), addresses }).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

async fn lookup(resolver: Result<&TokioResolver, &String>, host: &str) -> Result<(Vec<IpAddr>, Duration), String> {
    if let Ok(address) = host.parse() {
        return Ok((vec![address], LONGEST_TTL));
    }
    // ExternalName is a full name: no search list.
    let absolute = if host.ends_with('.') { host.to_owned() } else { format!("{host}.") };
    let found = resolver.map_err(String::clone)?.lookup_ip(absolute).await.map_err(|error| error.to_string())?;
    let addresses: Vec<_> = found.iter().collect();
    // The shortest of the chain, aliases included.
    let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    if addresses.is_empty() {
        Err("it has no address".to_owned())
    } else {
        Ok((addresses, Duration::from_secs(ttl.into())))
    }
}

/// 1 s, doubled for each failure in a row.
fn retry_after(failures: u32) -> Duration {
    LEAST_TTL.saturating_mul(1 << failures.min(16)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests;
