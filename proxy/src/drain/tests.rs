use futures::FutureExt as _;

use super::*;

#[test]
fn what_the_application_opens_is_drained_when_no_worker_has_a_connection_to_it() {
    let (drainer, drain) = channel();
    let stages = Stages::new(drain, 2);
    let begun = |drain: &Drain| drain.started().now_or_never().is_some();
    assert!(!begun(&stages.inbound) && !begun(&stages.outbound));
    drainer.start();
    assert!(begun(&stages.inbound) && !begun(&stages.outbound));
    stages.clone().inbound_ended();
    assert!(!begun(&stages.outbound), "one of two workers still has connections");
    stages.inbound_ended();
    assert!(begun(&stages.outbound));
}
