use std::time::Duration;

use crate::mesh::{Abort, FaultInjection, TextMatch};
use crate::registry::testing::{faults, good};

fn manifest(spec: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: FaultInjection\nmetadata: {{name: f, namespace: shop}}\nspec: {{{spec}}}"
    )
}

fn fault(spec: &str) -> FaultInjection {
    good(&manifest(spec)).fault_injections.values().next().unwrap().as_ref().clone()
}

#[test]
fn delays_and_aborts_have_a_share_and_conditions() {
    let found = fault(
        "delay: {fixed: 2s, percent: 10}, abort: {httpStatus: 503, percent: 1.5}, \
         headers: [{name: X-Fault, value: 'yes', type: Exact}]",
    );
    assert_eq!(found.delay, Some((Duration::from_secs(2), 100_000)));
    assert_eq!(found.abort, Some((Abort::Http(503), 15_000)));
    assert_eq!(found.headers, [("x-fault".into(), TextMatch::Exact("yes".into()))]);
    let found = fault("abort: {grpcStatus: UNAVAILABLE}");
    assert_eq!((found.delay, found.abort), (None, Some((Abort::Grpc(14), 1_000_000))));
    assert_eq!(fault("abort: {grpcStatus: UNAUTHENTICATED, percent: 0.0001}").abort, Some((Abort::Grpc(16), 1)));
}

#[test]
fn what_is_wrong_is_told_and_the_object_left_out() {
    for (spec, expected) in [
        ("", "spec: has neither delay nor abort"),
        ("delay: {fixed: 0s}", "spec.delay.fixed: \"0s\" is out of range: 1ms to 3600s"),
        ("delay: {fixed: 2 s}", "spec.delay.fixed: \"2 s\" is no duration"),
        ("delay: {percent: 1}", "spec.delay: missing field `fixed`"),
        ("delay: {fixed: 1s, percent: 101}", "spec.delay.percent: 101 is out of range: 0 to 100"),
        ("abort: {}", "spec.abort: has neither httpStatus nor grpcStatus"),
        ("abort: {httpStatus: 600}", "spec.abort.httpStatus: 600 is not the status of an answer: 200 to 599"),
        ("abort: {httpStatus: 500, grpcStatus: INTERNAL}", "spec.abort.grpcStatus: and httpStatus exclude each other"),
        ("abort: {grpcStatus: OK}", "spec.abort.grpcStatus: \"OK\" is not one of CANCELLED, UNKNOWN"),
        ("abort: {httpStatus: 500}, abord: {}", "spec.abord: is no field of a FaultInjection"),
        (
            "abort: {httpStatus: 500}, headers: [{name: a, value: '(', type: RegularExpression}]",
            "spec.headers[0].value: \"(\" is",
        ),
    ] {
        let faults = faults(&manifest(spec));
        assert!(faults[0].contains(expected) && faults[0].ends_with("the object is left out"), "{spec}: {faults:?}");
    }
}

#[test]
fn a_last_good_one_stays() {
    use crate::registry::files::state::{FileState, Merged};

    let good = FileState::read("f.yaml", &manifest("abort: {httpStatus: 500}"), &FileState::default());
    let bad = FileState::read("f.yaml", &manifest("abort: {httpStatus: 5000}"), &good);
    let mut merged = Merged::default();
    merged.put("f.yaml", bad);
    let (manifests, faults) = (merged.manifests().clone(), merged.faults());
    assert_eq!(manifests.fault_injections.values().next().unwrap().abort, Some((Abort::Http(500), 1_000_000)));
    assert!(faults[0].message.ends_with("; its last good state stays in force"), "{faults:?}");
}
