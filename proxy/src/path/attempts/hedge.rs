//! Attempts beside each other: the next one begins while the one before has not answered, and the first good answer
//! counts.

use std::future::pending;
use std::rc::Rc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use weft_rules::retry::Verdict;

use super::outcome::{Tried, give_up, observe, sent};
use super::{Attempts, Judged, Sent};
use crate::path::exchange::Exchange;
use crate::path::replay::Replayable;
use crate::path::upstream::EndpointState;

impl Attempts<'_> {
    /// As [`Attempts::send`], with the next attempt begun when the time for one is over, and the one before left to go
    /// on.
    pub(super) async fn hedged(mut self, exchange: &mut Exchange) -> Sent {
        let mut running = FuturesUnordered::new();
        running.push(self.begin(self.pick()?, exchange)?);
        loop {
            let next = async {
                match self.forward.timeouts.per_try {
                    Some(after) if self.may_hedge() => tokio::time::sleep(after).await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                biased;
                // Another one is under way already, and takes the place of the one that failed.
                Some((endpoint, tried)) = running.next() => if !running.is_empty() && self.had_better_wait(&tried) {
                    observe(&endpoint, &tried);
                    give_up(tried);
                } else {
                    match self.judge(&endpoint, &tried) {
                        Judged::Final { wanted } => {
                            exchange.went_to(&endpoint);
                            return self.finish(tried, wanted, &endpoint, exchange);
                        }
                        Judged::Again { after } => {
                            exchange.attempt_over(tried.status(), tried.reason());
                            give_up(tried);
                            tokio::time::sleep(after).await;
                            running.push(self.begin(self.pick()?, exchange)?);
                        }
                    }
                },
                () = next => {
                    // Where there is no endpoint for another one, those under way go on alone.
                    if let Ok(endpoint) = self.pick()
                        && self.cluster.withdraw(Instant::now())
                    {
                        exchange.attempt_over(None, Some("hedged"));
                        running.push(self.begin(endpoint, exchange)?);
                    }
                }
            }
        }
    }

    /// Whether an attempt may begin beside the others: all of the body must be there for both, the method must be one
    /// that may be repeated, and there must be an attempt left.
    fn may_hedge(&self) -> bool {
        let retry = &self.forward.retry;
        let repeatable = retry.may_repeat(&self.request.method);
        repeatable && self.made < retry.max_attempts && self.body.as_ref().is_none_or(Replayable::is_complete)
    }

    /// Whether it is better to wait for the other attempts: this one failed, or would be repeated if it were the first.
    fn had_better_wait(&self, tried: &Tried) -> bool {
        match tried {
            Tried::Answered(_) => matches!(self.wish(tried, 1), Verdict::Retry { .. }),
            Tried::Failed(_) | Tried::TimedOut | Tried::Idle | Tried::OutOfTime => true,
        }
    }

    fn begin(
        &mut self,
        endpoint: Rc<EndpointState>,
        exchange: &mut Exchange,
    ) -> Result<impl Future<Output = (Rc<EndpointState>, Tried)> + use<>, super::Failure> {
        let request = self.next_request(&endpoint, exchange)?;
        self.tried.push(endpoint.endpoint.address);
        Ok(async move {
            let answered = endpoint.send(request).await;
            (endpoint, sent(answered))
        })
    }
}
