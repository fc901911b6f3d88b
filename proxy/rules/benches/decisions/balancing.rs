//! Which endpoint takes a request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use gungraun::{library_benchmark, library_benchmark_group};
use http::{HeaderMap, HeaderName, HeaderValue};
use weft_rules::balance::hash_ring::Ring;
use weft_rules::balance::locality::{Endpoints, stays};
use weft_rules::balance::maglev::Table;
use weft_rules::balance::turns::{RoundRobin, draw};
use weft_rules::balance::{PeakEwma, SlowStart, choose, least_request};
use weft_rules::hash::{HashKey, hash_address, hash_of};
use weft_rules::session::SessionPolicy;

use crate::{Decisions, decisions, randoms};

/// How many endpoints there are.
const ENDPOINTS: u8 = 20;

#[library_benchmark]
#[bench::peak_ewma(peak_ewma())]
#[bench::observe(observe())]
#[bench::least_request(fewest_requests())]
#[bench::round_robin(round_robin())]
#[bench::slow_start(slow_start())]
#[bench::ring_hash(ring_hash())]
#[bench::maglev(maglev())]
#[bench::same_zone(same_zone())]
#[bench::hash_header(hashed(&[HashKey::Header(HeaderName::from_static("x-user"))]))]
#[bench::hash_cookie(hashed(&[cookie()]))]
#[bench::hash_source(hashed(&[HashKey::Source]))]
#[bench::session(session())]
fn balancing(mut decisions: Decisions) -> Decisions {
    decisions();
    decisions
}

library_benchmark_group!(name = balancing_group, benchmarks = balancing);

fn address(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 1, number), 8080))
}

fn peak_ewma() -> Decisions {
    let now = Instant::now();
    let endpoints: Vec<_> = (0..ENDPOINTS).map(|number| (PeakEwma::new(now), u32::from(number % 3))).collect();
    let later = now + Duration::from_secs(1);
    decisions(randoms(), move |random| choose(&endpoints, *random, |(latency, pending)| latency.cost(later, *pending)))
}

/// Answers whole seconds apart: the parts of a second of the first moment, which is different in each run, are never carried.
fn observe() -> Decisions {
    let mut now = Instant::now();
    let mut latency = PeakEwma::new(now);
    decisions(randoms(), move |random| {
        now += Duration::from_secs(1);
        latency.observe(now, Duration::from_micros(random % 10_000));
    })
}

fn fewest_requests() -> Decisions {
    let endpoints: Vec<_> = (0..ENDPOINTS).map(|number| u32::from(number % 3)).collect();
    decisions(randoms(), move |random| choose(&endpoints, *random, |pending| least_request(*pending, 1.0)))
}

fn round_robin() -> Decisions {
    let mut turns = RoundRobin::default();
    decisions(randoms(), move |random| turns.pick(usize::from(ENDPOINTS), *random, |_| 1.0))
}

/// A draw among endpoints half of which are new.
fn slow_start() -> Decisions {
    let policy = SlowStart { window: Duration::from_secs(60), min_percent: 10, aggression: 1.0 };
    let weight = move |index: usize| policy.weight(Duration::from_secs(index as u64 * 6));
    decisions(randoms(), move |random| draw(usize::from(ENDPOINTS), *random, weight))
}

fn weights() -> Vec<(u64, u32)> {
    (0..ENDPOINTS).map(|number| (hash_address(address(number)), 1)).collect()
}

/// Every fifth endpoint is not usable.
fn is_usable(index: usize) -> bool {
    !index.is_multiple_of(5)
}

fn ring_hash() -> Decisions {
    let ring = Ring::build(&weights());
    decisions(randoms(), move |hash| ring.pick(*hash, is_usable))
}

fn maglev() -> Decisions {
    let table = Table::build(&weights());
    decisions(randoms(), move |hash| table.pick(*hash, is_usable))
}

fn same_zone() -> Decisions {
    let here = Endpoints { all: 10, usable: 6, in_flight: 60 };
    let elsewhere = Endpoints { all: 20, usable: 20, in_flight: 40 };
    decisions(randoms(), move |random| stays(here, elsewhere, *random))
}

/// A request that has all that requests may be hashed by.
fn headers() -> HeaderMap {
    let fields = [
        ("host", "shop.default.svc.cluster.local"),
        ("cookie", "theme=dark; session=0a0001051f90; lang=de"),
        ("x-user", "3f9c1c4e-7a8e-4b57-a8d0-6a1a3c0ce1b4"),
    ];
    fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn cookie() -> HashKey {
    HashKey::Cookie { name: "session".to_owned(), ttl: None, path: String::new() }
}

fn hashed(keys: &[HashKey]) -> Decisions {
    let (keys, headers, source) = (keys.to_vec(), headers(), IpAddr::from([10, 0, 0, 7]));
    decisions(randoms(), move |random| hash_of(&keys, &headers, source, *random))
}

/// Which endpoint a client says it is with, and what would keep it there.
fn session() -> Decisions {
    let policy = SessionPolicy::Cookie { name: "session".to_owned(), path: "/".to_owned(), ttl: None };
    decisions(vec![headers()], move |headers| policy.endpoint(headers).map(|endpoint| policy.keep(endpoint)))
}
