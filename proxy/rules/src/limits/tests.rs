use proptest::prelude::*;

use super::*;

#[test]
fn lets_in_as_many_as_the_limit_and_tells_the_first_refusal() {
    let counter = Counter::default();
    assert_eq!([counter.enter(2), counter.enter(2)], [Ok(()), Ok(())]);
    assert!(!counter.is_open());
    assert_eq!(counter.enter(2), Err(Full { opened: true }));
    assert_eq!(counter.enter(2), Err(Full { opened: false }));
    assert!(counter.is_open() && counter.count() == 2);
    assert!(counter.leave(2), "closes");
    assert_eq!(counter.enter(2), Ok(()));
    assert!(!counter.leave(2) && !counter.leave(2));
    assert_eq!(counter.count(), 0);
}

#[test]
fn closes_only_when_a_tenth_is_free() {
    let counter = Counter::default();
    (0..100).for_each(|_| counter.enter(100).unwrap());
    assert!(counter.enter(100).is_err());
    let closed: Vec<bool> = (0..11).map(|_| counter.leave(100)).collect();
    assert_eq!(closed.iter().position(|closed| *closed), Some(9), "with the tenth");
    assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
}

#[test]
fn a_limit_of_zero_lets_nothing_in_and_leaving_too_often_does_no_harm() {
    let counter = Counter::default();
    assert_eq!(counter.enter(0), Err(Full { opened: true }));
    counter.leave(0);
    assert_eq!((counter.count(), counter.is_open()), (0, false));
    assert!(Limits::default().is_unlimited());
    assert!(!Limits { max_pending: Some(1), ..Limits::default() }.is_unlimited());
}

#[test]
fn threads_together_never_pass_the_limit() {
    let counter = Counter::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if counter.enter(3).is_ok() {
                        assert!(counter.count() <= 3);
                        counter.leave(3);
                    }
                }
            });
        }
    });
    assert_eq!(counter.count(), 0);
}

proptest! {
    #[test]
    fn counts_and_opens_and_closes_in_turns(limit in 0_u32..20, steps in prop::collection::vec(any::<bool>(), 0..200)) {
        let counter = Counter::default();
        let (mut count, mut open) = (0_u32, false);
        for enter in steps {
            if enter {
                match counter.enter(limit) {
                    Ok(()) => count += 1,
                    Err(full) => {
                        prop_assert_eq!(full.opened, !open);
                        open = true;
                    }
                }
            } else if count > 0 {
                count -= 1;
                if counter.leave(limit) {
                    prop_assert!(open);
                    open = false;
                }
            }
            prop_assert!(count <= limit);
            prop_assert_eq!((counter.count(), counter.is_open()), (count, open));
        }
    }
}
