//! What Weft adds to load reports (LRS): latencies as buckets, open breakers, and how long an endpoint stays ejected.

/// Upper bounds of the latency buckets, in seconds; what takes longer is in a last bucket without a bound.
pub const LATENCY_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The bucket without a bound, as it stands in names.
const UNBOUNDED: &str = "+Inf";
const LATENCY: &str = "weft.latency_seconds.le.";
const BREAKER: &str = "weft.breaker.";

/// Endpoint metadata of a report: for how many seconds the endpoint stays ejected, a number.
pub const EJECTED_SECONDS_LEFT: &str = "ejected_seconds_left";

/// The load metric that counts a bucket: `weft.latency_seconds.le.0.25`, or with `+Inf` for none of
/// [`LATENCY_BOUNDS`]. Not cumulative.
pub fn latency_metric(bucket: usize) -> String {
    match LATENCY_BOUNDS.get(bucket) {
        Some(bound) => format!("{LATENCY}{bound}"),
        None => format!("{LATENCY}{UNBOUNDED}"),
    }
}

/// The bucket that a load metric counts; `None`: it is no latency. A bound that is not one of [`LATENCY_BOUNDS`] falls
/// into the next longer bucket.
pub fn latency_bucket(metric: &str) -> Option<usize> {
    let bound = metric.strip_prefix(LATENCY)?;
    if bound == UNBOUNDED {
        return Some(LATENCY_BOUNDS.len());
    }
    let bound: f64 = bound.parse().ok().filter(|bound: &f64| bound.is_finite())?;
    Some(LATENCY_BOUNDS.partition_point(|known| *known < bound))
}

/// The load metric that stands for an open breaker, such as `weft.breaker.max_requests`; its value is 1.
pub fn breaker_metric(which: &str) -> String {
    format!("{BREAKER}{which}")
}

/// The breaker that a load metric tells of.
pub fn breaker(metric: &str) -> Option<&str> {
    metric.strip_prefix(BREAKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_is_found_by_its_name() {
        for bucket in 0..=LATENCY_BOUNDS.len() {
            assert_eq!(latency_bucket(&latency_metric(bucket)), Some(bucket), "{}", latency_metric(bucket));
        }
    }

    #[test]
    fn a_bound_of_others_counts_as_the_next_longer() {
        assert_eq!(latency_bucket("weft.latency_seconds.le.0.3"), Some(9));
        assert_eq!(latency_bucket("weft.latency_seconds.le.60"), Some(14));
        assert_eq!(latency_bucket("weft.latency_seconds.le.NaN"), None);
        assert_eq!(latency_bucket("cpu"), None);
    }

    #[test]
    fn a_breaker_is_found_by_its_name() {
        assert_eq!(breaker(&breaker_metric("max_requests")), Some("max_requests"));
        assert_eq!(breaker("weft.latency_seconds.le.1"), None);
    }
}
