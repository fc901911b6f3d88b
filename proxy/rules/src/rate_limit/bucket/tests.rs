use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn quota(requests: u32, per: Duration, burst: u32) -> Quota {
    Quota { requests, per, burst }
}

#[test]
fn lets_the_burst_in_and_then_the_rate() {
    let quota = quota(10, 1000 * MS, 3);
    let bucket = TokenBucket::default();
    let start = Duration::from_secs(5);
    let remaining: Vec<_> =
        (0..3).map(|_| bucket.take(&quota, start)).map(|taken| (taken.allowed, taken.remaining)).collect();
    assert_eq!(remaining, [(true, 2), (true, 1), (true, 0)]);
    let refused = bucket.take(&quota, start + 30 * MS);
    let expected = Decision { allowed: false, limit: 3, remaining: 0, reset: 270 * MS, retry_after: 70 * MS };
    assert_eq!(refused, expected);
    assert!(!bucket.take(&quota, start + 99 * MS).allowed);
    assert!(bucket.take(&quota, start + 100 * MS).allowed);
    let full = bucket.take(&quota, start + Duration::from_secs(60));
    assert_eq!((full.remaining, full.reset, full.retry_after), (2, 100 * MS, Duration::ZERO));
}

#[test]
fn odd_quotas_do_no_harm() {
    for odd in
        [quota(0, Duration::ZERO, 0), quota(1, Duration::MAX, 1), quota(u32::MAX, Duration::from_nanos(1), u32::MAX)]
    {
        let bucket = TokenBucket::default();
        bucket.take(&odd, Duration::ZERO);
        bucket.take(&odd, Duration::MAX);
    }
}

#[test]
fn threads_together_get_no_more() {
    let bucket = TokenBucket::default();
    let quota = quota(1, 3_600_000 * MS, 100);
    let allowed: usize = std::thread::scope(|scope| {
        let take = || (0..1000).filter(|_| bucket.take(&quota, Duration::ZERO).allowed).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 100);
}

#[test]
fn keys_do_not_disturb_each_other_and_full_buckets_are_forgotten() {
    let mut buckets = Buckets::new(quota(1, 1000 * MS, 1), 2);
    assert!(buckets.is_empty());
    assert!(buckets.take(1, Duration::ZERO).allowed && buckets.take(2, Duration::ZERO).allowed);
    assert!(!buckets.take(1, MS).allowed && !buckets.take(2, MS).allowed);
    assert!(buckets.take(3, 2 * MS).allowed, "the first that shares");
    assert!(!buckets.take(4, 3 * MS).allowed, "the second that shares");
    assert_eq!(buckets.len(), 2);
    assert!(buckets.take(4, 1500 * MS).allowed);
    assert_eq!(buckets.len(), 1);
}

proptest! {
    /// In any window of time no more than the burst and what the rate adds.
    #[test]
    fn never_lets_in_more_than_it_says(
        requests in 1_u32..50, per in 1_u64..5_000, burst in 1_u32..20,
        waits in prop::collection::vec(0_u64..300_000, 1..200),
    ) {
        let quota = quota(requests, Duration::from_millis(per), burst);
        let bucket = TokenBucket::default();
        let mut now = Duration::from_secs(1);
        let mut admitted: Vec<Duration> = Vec::new();
        for wait in waits {
            now += Duration::from_micros(wait);
            let decision = bucket.take(&quota, now);
            prop_assert!(decision.remaining <= burst && decision.limit == burst);
            prop_assert!(decision.retry_after.is_zero() == (decision.remaining > 0));
            if decision.allowed {
                admitted.push(now);
            } else {
                let (state, at) = (bucket.state.load(Ordering::Relaxed), nanoseconds(now + decision.retry_after));
                prop_assert!(quota.take(state, at).1.allowed && !quota.take(state, at - 1).1.allowed, "retry-after is exact");
            }
        }
        for (first, from) in admitted.iter().enumerate() {
            for (count, to) in admitted[first..].iter().enumerate() {
                let allowed = f64::from(burst) + (*to - *from).as_secs_f64() * f64::from(requests) / quota.per.as_secs_f64();
                prop_assert!(count as f64 + 1.0 <= allowed + 1e-6, "{} within {:?}", count + 1, *to - *from);
            }
        }
    }

    #[test]
    fn a_steady_flood_gets_the_rate(requests in 1_u32..100, burst in 1_u32..50) {
        let quota = quota(requests, 1000 * MS, burst);
        let bucket = TokenBucket::default();
        let admitted = (0..20_000_u32).filter(|step| bucket.take(&quota, *step * MS).allowed).count() as f64;
        let expected = f64::from(burst) + 20.0 * f64::from(requests);
        // Less by what falls between two of the millionths, never more.
        prop_assert!(admitted <= expected && admitted >= expected * 0.9 - 2.0, "{admitted} of {expected}");
    }

    /// However many keys there are, their number is bounded, and so is what strangers get together.
    #[test]
    fn many_keys_take_bounded_room(keys in prop::collection::vec(0_u64..100, 1..300), capacity in 0_usize..10) {
        let mut buckets = Buckets::new(quota(1, Duration::from_secs(3600), 2), capacity);
        let admitted = keys.iter().enumerate().filter(|(at, key)| buckets.take(**key, *at as u32 * MS).allowed).count();
        prop_assert!(buckets.len() <= capacity);
        prop_assert!(admitted <= (capacity + 1) * 2);
    }
}
