use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(10);

#[test]
fn without_requests_the_reserve_is_all_there_is() {
    let now = Instant::now();
    let mut budget = RetryBudget::default();
    assert_eq!((0..1000).filter(|_| budget.withdraw(now)).count(), 100);
    assert!(!budget.withdraw(now + Duration::from_secs(9)));
    assert!(budget.withdraw(now + Duration::from_secs(12)));
}

#[test]
fn requests_earn_their_share() {
    let now = Instant::now();
    let mut budget = RetryBudget::new(0.2, 0, WINDOW);
    assert!(!budget.withdraw(now));
    for _ in 0..50 {
        budget.deposit(now);
    }
    assert_eq!((0..50).filter(|_| budget.withdraw(now)).count(), 10);
}

#[test]
fn what_was_earned_is_forgotten() {
    let now = Instant::now();
    let mut budget = RetryBudget::new(1.0, 0, WINDOW);
    budget.deposit(now);
    assert!(!budget.withdraw(now + WINDOW));
    budget.deposit(now + WINDOW);
    assert!(budget.withdraw(now + WINDOW + WINDOW / 2));
}

#[test]
fn a_long_silence_forgets_all() {
    let now = Instant::now();
    let mut budget = RetryBudget::new(1.0, 1, WINDOW);
    for _ in 0..30 {
        budget.withdraw(now);
    }
    let much_later = now + Duration::from_secs(1_000_003);
    assert_eq!((0..30).filter(|_| budget.withdraw(much_later)).count(), 10);
}

#[test]
fn a_window_of_zero_allows_nothing_and_does_not_divide_by_zero() {
    let mut budget = RetryBudget::new(0.2, 10, Duration::ZERO);
    budget.deposit(Instant::now());
    assert!(!budget.withdraw(Instant::now()));
}

#[test]
fn a_percentage_is_a_ratio_of_hundreds() {
    let now = Instant::now();
    let mut budget = RetryBudget::from(50.0, 0, WINDOW);
    for _ in 0..10 {
        budget.deposit(now);
    }
    assert_eq!((0..10).filter(|_| budget.withdraw(now)).count(), 5);
}

proptest! {
    /// Against a list of every moment: whenever a retry is allowed, the window that ends then is within the budget.
    #[test]
    fn is_never_exceeded_in_any_window(
        steps in prop::collection::vec((0_u64..3_000, 0_u32..20, 0_u32..20), 1..80),
        ratio in 0.0_f64..1.0,
        min_per_second in 0_u32..5,
    ) {
        let mut budget = RetryBudget::new(ratio, min_per_second, WINDOW);
        let mut now = Instant::now();
        let (mut requests, mut retries) = (Vec::new(), Vec::new());
        for (wait, deposits, withdrawals) in steps {
            now += Duration::from_millis(wait);
            for _ in 0..deposits {
                budget.deposit(now);
                requests.push(now);
            }
            let granted = (0..withdrawals).filter(|_| budget.withdraw(now)).count();
            retries.extend(std::iter::repeat_n(now, granted));
            let recent = |moments: &[Instant]| moments.iter().filter(|moment| now - **moment < WINDOW).count() as f64;
            let allowed = ratio * recent(&requests) + f64::from(min_per_second) * WINDOW.as_secs_f64();
            prop_assert!(recent(&retries) <= allowed || granted == 0, "{} > {allowed}", recent(&retries));
        }
    }

    #[test]
    fn a_steady_load_gets_at_least_nine_tenths_of_its_share(per_step in 10_u32..100) {
        let mut budget = RetryBudget::new(0.2, 0, WINDOW);
        let mut now = Instant::now();
        let (mut requests, mut retries) = (0_u32, 0_u32);
        for _ in 0..600 {
            now += Duration::from_millis(100);
            for _ in 0..per_step {
                budget.deposit(now);
                requests += 1;
                retries += u32::from(budget.withdraw(now));
            }
        }
        let share = f64::from(retries) / f64::from(requests);
        prop_assert!((0.17..=0.2).contains(&share), "{share}");
    }
}

#[test]
fn workers_share_what_needs_no_requests() {
    let now = Instant::now();
    let whole = RetryBudget::new(0.0, 10, Duration::from_secs(1));
    let mut parts = [(); 2].map(|()| whole.clone().part_of(NonZeroUsize::new(2).unwrap()));
    let allowed = parts.iter_mut().map(|part| (0..20).filter(|_| part.withdraw(now)).count()).sum::<usize>();
    assert_eq!(allowed, 10);
}
