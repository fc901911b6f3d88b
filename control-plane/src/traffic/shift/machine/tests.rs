use proptest::prelude::*;

use super::*;
use crate::traffic::shift::plan::tests::plan;

const SECOND: Duration = Duration::from_secs(1);

/// A world in which all is well, and its clock.
struct World {
    now: Instant,
    version: u64,
    rollout: Rollout,
    reporting: Reporting,
    figures: Figures,
    recent: Figures,
}

fn world() -> World {
    World {
        now: Instant::now(),
        version: 1,
        rollout: Rollout { proxies: 2, current: 2, silent_replicas: vec![] },
        reporting: Reporting { expected: 2, fresh: 2 },
        figures: good(100),
        recent: good(100),
    }
}

fn good(issued: u64) -> Figures {
    Figures { issued, ..Figures::default() }
}

fn bad(issued: u64) -> Figures {
    Figures { issued, errors: issued, ..Figures::default() }
}

/// A shift whose first step is written.
fn begun() -> Machine {
    Machine { version: 1, ..Machine::new(plan(Some(&[("api-v1", 1)]))) }
}

impl World {
    fn decide(&self, machine: &Machine) -> Option<Decision> {
        let Self { version, reporting, .. } = *self;
        let rollout = self.rollout.clone();
        let (figures, recent) = (Some(&self.figures), Some(&self.recent));
        machine.decide(self.now, &Observation { version, rollout, reporting, figures, recent })
    }

    /// Does what is decided, as the driver does.
    fn step(&mut self, machine: &mut Machine) -> Option<Decision> {
        let decision = self.decide(machine)?;
        if matches!(decision, Decision::Advance(_) | Decision::RollBack(_)) {
            self.version += 1;
        }
        machine.apply(decision.clone(), self.version, self.now);
        Some(decision)
    }

    fn after(&mut self, duration: Duration, machine: &mut Machine) -> Option<Decision> {
        self.now += duration;
        self.step(machine)
    }
}

#[test]
fn a_good_backend_is_promoted_step_by_step() {
    let (mut world, mut machine) = (world(), begun());
    let interval = machine.plan.interval;
    for step in 1..4 {
        assert_eq!(world.step(&mut machine), Some(Decision::Begin));
        assert_eq!(world.after(interval - SECOND, &mut machine), None);
        assert_eq!(world.after(SECOND, &mut machine), Some(Decision::Advance(step)));
    }
    assert_eq!(world.step(&mut machine), Some(Decision::Begin));
    assert_eq!(world.after(interval, &mut machine), Some(Decision::Promote));
    assert_eq!((&machine.state, machine.step), (&State::Promoted, 3));
    assert_eq!(world.after(interval, &mut machine), None);
}

#[test]
fn the_interval_begins_when_all_proxies_have_the_step() {
    let (mut world, mut machine) = (world(), begun());
    world.rollout.current = 1;
    assert_eq!(world.after(machine.plan.interval * 2, &mut machine), None);
    world.rollout.current = 2;
    assert_eq!(world.step(&mut machine), Some(Decision::Begin));
    assert_eq!(world.after(SECOND, &mut machine), None);
}

#[test]
fn a_replica_whose_proxies_nobody_knows_is_waited_for() {
    let (mut world, mut machine) = (world(), begun());
    world.rollout.silent_replicas = vec!["weft-control-b".to_owned()];
    assert_eq!(world.after(machine.plan.interval * 2, &mut machine), None);
    world.rollout.silent_replicas.clear();
    assert_eq!(world.step(&mut machine), Some(Decision::Begin));
}

#[test]
fn a_bad_backend_is_left_at_once_even_before_all_proxies_have_the_step() {
    let (mut world, mut machine) = (world(), begun());
    (world.rollout.current, world.figures) = (1, bad(20));
    let Some(Decision::RollBack(reason)) = world.step(&mut machine) else { panic!("{machine:?}") };
    assert_eq!(reason, "error-rate is 100 % (20 of 20 requests), more than 1 %");
    world.rollout.current = 1;
    assert_eq!(world.after(SECOND, &mut machine), None);
    world.rollout.current = 2;
    assert_eq!(world.step(&mut machine), Some(Decision::Back));
    assert_eq!(machine.state, State::RolledBack(reason));
}

#[test]
fn a_bad_minute_is_not_hidden_by_good_hours() {
    let (mut world, mut machine) = (world(), begun());
    world.step(&mut machine);
    (world.figures, world.recent) = (good(1_000_000), bad(20));
    assert!(matches!(world.after(SECOND, &mut machine), Some(Decision::RollBack(_))));
}

#[test]
fn too_little_to_judge_by_is_waited_out() {
    let (mut world, mut machine) = (world(), begun());
    world.step(&mut machine);
    world.figures = bad(19);
    world.recent = bad(19);
    let mut waits = |world: &mut World, reason: &str| {
        assert_eq!(world.after(machine.plan.interval, &mut machine), Some(Decision::Wait(reason.to_owned())));
        assert_eq!(world.after(SECOND, &mut machine), None);
    };
    waits(&mut world, "19 of 20 requests so far");
    world.reporting.fresh = 1;
    waits(&mut world, "1 of 2 proxies report in time");
    world.rollout.current = 1;
    waits(&mut world, "1 of 2 proxies have this step");
    world.rollout = Rollout::default();
    waits(&mut world, "no connected proxy routes to the Service");
    world.rollout.silent_replicas = vec!["b".to_owned(), "c".to_owned()];
    waits(&mut world, "no word of the proxies of b, c");
    let World { rollout, reporting, .. } = self::world();
    (world.rollout, world.reporting, world.figures, world.recent) = (rollout, reporting, good(20), good(20));
    assert_eq!(world.step(&mut machine), Some(Decision::Advance(1)));
}

#[test]
fn one_late_report_of_ten_is_no_reason_to_wait() {
    let (mut world, mut machine) = (world(), begun());
    world.step(&mut machine);
    world.reporting = Reporting { expected: 10, fresh: 9 };
    assert_eq!(world.after(machine.plan.interval, &mut machine), Some(Decision::Advance(1)));
}

#[test]
fn a_split_that_somebody_else_wrote_is_left_alone() {
    for (version, says) in [(7, "version 7"), (0, "deleted")] {
        let (mut world, mut machine) = (world(), begun());
        world.version = version;
        world.figures = bad(100);
        assert!(matches!(world.step(&mut machine), Some(Decision::Fail(reason)) if reason.contains(says)));
        assert!(matches!(machine.state, State::Failed(_)) && world.step(&mut machine).is_none());
    }
}

#[test]
fn a_paused_shift_stays_and_is_still_guarded() {
    let (mut world, mut machine) = (world(), begun());
    world.step(&mut machine);
    let say = |machine: &mut Machine, command, now| {
        let decision = machine.obey(command)?;
        machine.apply(decision.clone(), machine.version, now);
        Some(decision)
    };
    assert_eq!(say(&mut machine, Command::Resume, world.now), None);
    assert_eq!(say(&mut machine, Command::Pause, world.now), Some(Decision::Pause));
    assert_eq!(say(&mut machine, Command::Pause, world.now), None);
    assert_eq!(world.after(machine.plan.interval * 9, &mut machine), None);
    let mut resumed = machine.clone();
    assert_eq!(say(&mut resumed, Command::Resume, world.now), Some(Decision::Resume));
    assert_eq!(world.step(&mut resumed), Some(Decision::Begin));
    assert_eq!(world.after(SECOND, &mut resumed), None);
    world.recent = bad(100);
    assert!(matches!(world.step(&mut machine), Some(Decision::RollBack(_))));
}

#[test]
fn a_person_has_the_last_word_until_it_has_ended() {
    let mut machine = begun();
    assert_eq!(machine.obey(Command::Promote), Some(Decision::Promote));
    assert_eq!(machine.obey(Command::Abort), Some(Decision::RollBack("aborted".to_owned())));
    machine.apply(Decision::Promote, 2, Instant::now());
    assert_eq!((machine.step, machine.version, machine.has_ended()), (3, 2, true));
    for command in [Command::Pause, Command::Resume, Command::Promote, Command::Abort] {
        assert_eq!(machine.obey(command), None);
    }
}

#[test]
fn the_way_back_has_an_end_also_without_the_proxies() {
    let (mut world, mut machine) = (world(), begun());
    machine.apply(Decision::RollBack("aborted".to_owned()), 2, world.now);
    (world.version, world.rollout.current) = (2, 0);
    assert_eq!(world.after(LONGEST_WAY_BACK - SECOND, &mut machine), None);
    assert_eq!(world.after(SECOND, &mut machine), Some(Decision::Back));
    assert_eq!(machine.state, State::RolledBack("aborted".to_owned()));
}

fn any_world() -> impl Strategy<Value = (u64, Rollout, Reporting, Figures, bool)> {
    let rollout = (0u32..3, 0u32..3, proptest::bool::weighted(0.1)).prop_map(|(a, b, silent)| Rollout {
        proxies: a.max(b),
        current: a.min(b),
        silent_replicas: silent.then(|| "b".to_owned()).into_iter().collect(),
    });
    let reporting = (0u32..3, 0u32..3).prop_map(|(a, b)| Reporting { expected: a.max(b), fresh: a.min(b) });
    let figures = (0u64..60, 0u64..3).prop_map(|(issued, errors)| Figures {
        issued,
        errors: errors.min(issued),
        ..Figures::default()
    });
    (0u64..90, rollout, reporting, figures, proptest::bool::weighted(0.02))
}

proptest! {
    /// Whatever happens: no step without an interval, enough requests, proxies that have it and report, and no limit
    /// exceeded; a limit that is exceeded ends the shift; what has ended stays so.
    #[test]
    fn it_goes_on_only_for_good_reason(events in proptest::collection::vec(any_world(), 1..200)) {
        let (mut world, mut machine) = (world(), begun());
        for (seconds, rollout, reporting, figures, meddled) in events {
            world.now += Duration::from_secs(seconds);
            (world.rollout, world.reporting) = (rollout.clone(), reporting);
            (world.figures, world.recent) = (figures.clone(), figures.clone());
            world.version += u64::from(meddled);
            let before = machine.clone();
            let decision = world.step(&mut machine);
            let judged = figures.issued >= before.plan.min_requests;
            let exceeded = judged && before.plan.limits.exceeded(&figures).is_some();
            match decision {
                Some(Decision::Advance(step)) => {
                    prop_assert_eq!(step, before.step + 1);
                    prop_assert!(before.ran(world.now) >= before.plan.interval);
                    prop_assert!(judged && !exceeded && !meddled);
                    prop_assert!(rollout.proxies > 0 && rollout.current == rollout.proxies);
                    prop_assert!(rollout.silent_replicas.is_empty());
                    prop_assert!(reporting.fresh > 0);
                }
                Some(Decision::Promote) => prop_assert!(before.step == 3 && judged && !exceeded),
                Some(Decision::RollBack(_)) => prop_assert!(exceeded && before.is_active()),
                Some(Decision::Fail(_)) => prop_assert!(before.version != world.version),
                _ => {}
            }
            if exceeded && before.is_active() && !meddled {
                prop_assert!(matches!(machine.state, State::RollingBack(_)));
            }
            if before.has_ended() {
                prop_assert_eq!(&machine, &before);
            }
            if meddled {
                prop_assert!(!machine.is_active());
                machine.version = world.version;
            }
        }
    }
}
