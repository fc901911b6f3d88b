//! Whether a request is let in, and what its answer tells of that.

use std::time::Duration;

use foldhash::fast::FixedState;
use gungraun::{library_benchmark, library_benchmark_group};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use weft_rules::limits::Counter;
use weft_rules::rate_limit::{Attribute, Buckets, LocalLimit, Quota, TokenBucket, Told, tell};
use weft_rules::route::{Match, PathMatch, RequestHead};

use crate::{Decisions, decisions, randoms};

/// The time between two requests. Half of them are too many.
const APART: Duration = Duration::from_micros(500);
const QUOTA: Quota = Quota { requests: 1000, per: Duration::from_secs(1), burst: 10 };

#[library_benchmark]
#[bench::rate_limit_key(rate_limit_key())]
#[bench::one_bucket(one_bucket())]
#[bench::a_bucket_for_each(a_bucket_for_each(1000))]
#[bench::no_bucket_left(a_bucket_for_each(50))]
#[bench::tell(told())]
#[bench::breaker(breaker())]
fn admission(mut decisions: Decisions) -> Decisions {
    decisions();
    decisions
}

library_benchmark_group!(name = admission_group, benchmarks = admission);

fn rate_limit_key() -> Decisions {
    let user = HeaderName::from_static("x-user");
    let limit = LocalLimit {
        name: "orders".into(),
        matcher: Match { path: PathMatch::Segments("/orders".to_owned()), ..Match::any() },
        by: vec![Attribute::Header(user.clone()), Attribute::Method, Attribute::Peer],
        quota: QUOTA,
    };
    let named = |number| HeaderMap::from_iter([(user.clone(), HeaderValue::from(number))]);
    decisions((1000..1010_u32).map(named).collect(), move |headers| {
        let request = RequestHead { method: &Method::GET, path: "/orders/17", query: None, headers };
        limit.bucket(&request, Some("spiffe://cluster.local/ns/shop/sa/web"), &FixedState::default())
    })
}

fn one_bucket() -> Decisions {
    let (bucket, mut now) = (TokenBucket::default(), Duration::ZERO);
    decisions(vec![()], move |()| {
        now += APART;
        bucket.take(&QUOTA, now)
    })
}

/// The buckets of a hundred callers, for whom there are so many places.
fn a_bucket_for_each(places: usize) -> Decisions {
    let (mut buckets, mut now) = (Buckets::new(QUOTA, places), Duration::ZERO);
    decisions(randoms(), move |key| {
        now += APART;
        buckets.take(*key, now)
    })
}

fn told() -> Decisions {
    let decision = TokenBucket::default().take(&QUOTA, Duration::from_secs(1));
    let limits = ["orders", "all"].map(|name| Told { name, quota: QUOTA, decision });
    decisions(vec![()], move |()| {
        let mut headers = HeaderMap::new();
        tell(&limits, &mut headers);
        headers
    })
}

/// Fifty come and fifty go, again and again; five of them are too many.
fn breaker() -> Decisions {
    let counter = Counter::default();
    decisions(vec![true; 50].into_iter().chain([false; 50]).collect(), move |enters| {
        if *enters { counter.enter(45).is_ok() } else { counter.leave(45) }
    })
}
