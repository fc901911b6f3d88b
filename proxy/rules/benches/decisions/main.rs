//! What the decisions on a request's way cost, in instructions; `make instructions` compares it with what was accepted.
//!
//! Each benchmark decides [`TIMES`] times, on what was prepared and used as often before: what happens only the first time is
//! not counted. Times, random numbers and the seeds of hashes are fixed, so that a figure is the same in each run.

#![allow(clippy::unwrap_used, reason = "what is prepared here is known to be well formed")]

mod admission;
mod balancing;
mod failures;
mod headers;
mod routing;

use std::hint::black_box;

use gungraun::main;

use admission::admission_group;
use balancing::balancing_group;
use failures::failures_group;
use headers::headers_group;
use routing::routing_group;

/// How many decisions are counted. The shortest take 20 instructions, and what calls them all about 40: among so many decisions, that
/// is a thousandth.
const TIMES: usize = 2000;
/// How many random numbers there are, which are used in turn.
const RANDOMS: u64 = 100;

/// So many decisions.
type Decisions = Box<dyn FnMut()>;

/// A decision on each of the inputs in turn, again and again, which were all made once already.
fn decisions<I: 'static, D>(inputs: Vec<I>, mut decide: impl FnMut(&I) -> D + 'static) -> Decisions {
    let mut all = move || {
        for input in inputs.iter().cycle().take(TIMES) {
            black_box(decide(black_box(input)));
        }
    };
    all();
    Box::new(all)
}

/// Numbers that look drawn, and are the same each time (SplitMix64).
fn randoms() -> Vec<u64> {
    let numbers = (1..=RANDOMS).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    numbers.map(|number| weft_rules::hash::hash(&number.to_be_bytes())).collect()
}

main!(library_benchmark_groups = [routing_group, headers_group, admission_group, balancing_group, failures_group]);
