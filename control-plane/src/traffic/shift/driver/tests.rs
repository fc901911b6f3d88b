use super::*;
use crate::load::Reporting;
use crate::mesh::testing::mesh;
use crate::registry::testing::DEMO;
use crate::traffic::DiskStore;
use crate::traffic::shift::peers::Others;
use crate::traffic::shift::plan::tests::plan;

const SECOND: Duration = Duration::from_secs(1);

/// A replica of the control plane, without proxies of its own.
struct Replica {
    shifter: Arc<Shifter>,
    peers: Arc<Peers>,
    others: watch::Sender<Arc<Others>>,
}

/// Two replicas over one store: `a` leads.
struct World {
    store: Arc<dyn Store>,
    a: Replica,
    b: Replica,
    _dir: tempfile::TempDir,
}

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

fn author() -> Author {
    Author { who: "loopback 127.0.0.1".to_owned(), at: SystemTime::now() }
}

impl Replica {
    /// `other` is there, and has told nothing yet.
    fn new(store: &Arc<dyn Store>, other: &str) -> Self {
        let (others, theirs) = watch::channel(Arc::new(Others::from([(Arc::from(other), None)])));
        let peers = Arc::new(Peers::new(theirs));
        let publisher = Arc::new(Publisher::new(mesh(DEMO), Arc::default()));
        let loads = Loads::new(SECOND, Arc::default());
        let shifter = Shifter::open(Arc::clone(store), publisher, loads, Some(Arc::clone(&peers)));
        Self { shifter, peers, others }
    }

    fn shown(&self) -> Arc<api::Shift> {
        Arc::clone(&self.shifter.subscribe().borrow()[&api()])
    }

    fn rollout(&self) -> (u32, u32, Vec<String>) {
        let rollout = self.shown().rollout.clone().unwrap();
        (rollout.proxies, rollout.current, rollout.silent_replicas)
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(&dir.path().join("weft.redb")).unwrap());
        let (a, b) = (Replica::new(&store, "b"), Replica::new(&store, "a"));
        Self { store, a, b, _dir: dir }
    }

    /// What `b` sees reaches `a`, as if it had two proxies, so many of which have the step, that reported so much.
    fn b_tells(&self, current: u32, issued: u64, errors: u64) {
        let mut sightings = Sightings::clone(&self.b.peers.ours().borrow());
        let seen = sightings.get_mut(&api()).expect("b knows of the shift");
        seen.rollout = api::Rollout { proxies: 2, current, silent_replicas: vec![] };
        seen.reporting = Reporting { expected: 2, fresh: 2 };
        seen.figures = Figures { issued, errors, ..Figures::default() };
        seen.recent = seen.figures.clone();
        self.a.others.send_replace(Arc::new(Others::from([(Arc::from("b"), Some(Arc::new(sightings)))])));
    }

    /// The leader looks, then the other one.
    fn tick(&self, now: Instant) {
        self.a.shifter.tick(now, true);
        self.b.shifter.tick(now, false);
    }

    fn weights(&self) -> Vec<(String, u32)> {
        let split = &self.store.splits()[&api()].split;
        split.backends.iter().map(|to| (to.service.to_string(), to.weight)).collect()
    }
}

fn pairs(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|(service, weight)| ((*service).to_owned(), *weight)).collect()
}

#[test]
fn a_step_waits_for_the_other_replica_and_is_judged_by_its_proxies() {
    let (world, now) = (World::new(), Instant::now());
    let plan = plan(Some(&[("api-v1", 1)]));
    let interval = plan.interval;
    world.store.set(&api(), plan.before.as_deref().unwrap(), None, &author()).unwrap();
    world.a.shifter.start(plan, 1, &author()).unwrap();
    assert_eq!(world.weights(), pairs(&[("api-v1", 95), ("api-v2", 5)]));

    world.tick(now);
    assert_eq!(world.a.rollout(), (0, 0, vec!["b".to_owned()]), "nobody knows of b's proxies");
    world.tick(now + interval * 2);
    assert_eq!(world.a.shown().step_seconds, 0.0, "the step's interval has not begun");
    assert_eq!((world.b.shown().step, world.b.shown().version), (1, 2), "b follows the shift");

    let begun = now + interval * 2;
    world.b_tells(1, 0, 0);
    world.tick(begun);
    assert_eq!((world.a.rollout(), world.a.shown().step_seconds), ((2, 1, vec![]), 0.0));
    world.b_tells(2, 0, 0);
    world.tick(begun);
    world.b_tells(2, 100, 0);
    world.tick(begun + interval);
    assert_eq!(world.weights(), pairs(&[("api-v1", 75), ("api-v2", 25)]));
    assert_eq!((world.a.shown().step, world.b.shown().step), (2, 2));
}

#[test]
fn what_the_other_replicas_proxies_report_takes_the_traffic_back() {
    let (world, now) = (World::new(), Instant::now());
    let plan = plan(Some(&[("api-v1", 1)]));
    world.store.set(&api(), plan.before.as_deref().unwrap(), None, &author()).unwrap();
    world.a.shifter.start(plan, 1, &author()).unwrap();
    world.tick(now);
    world.b_tells(1, 20, 20);
    world.tick(now);
    assert_eq!(world.weights(), pairs(&[("api-v1", 1)]));
    assert_eq!(world.a.shown().state(), api::shift::State::RollingBack);
    assert_eq!(world.b.shown().state(), api::shift::State::RollingBack, "b follows");
    world.b_tells(1, 20, 20);
    world.tick(now + SECOND);
    assert_eq!(world.a.shown().state(), api::shift::State::RollingBack, "a proxy has not gone back yet");
    world.b_tells(2, 20, 20);
    world.tick(now + SECOND);
    assert_eq!(world.a.shown().state(), api::shift::State::RolledBack);
}

#[test]
fn another_leader_goes_on_at_the_same_step() {
    let (world, now) = (World::new(), Instant::now());
    let plan = plan(Some(&[("api-v1", 1)]));
    world.store.set(&api(), plan.before.as_deref().unwrap(), None, &author()).unwrap();
    world.a.shifter.start(plan, 1, &author()).unwrap();
    world.tick(now);
    world.b_tells(2, 100, 0);
    world.tick(now);
    world.tick(now + SECOND * 3600);
    assert_eq!(world.b.shown().step, 2);
    // a is gone.
    world.b.others.send_replace(Arc::default());
    world.b.shifter.tick(now + SECOND * 3600, true);
    let shown = world.b.shown();
    assert_eq!((shown.step, shown.state()), (2, api::shift::State::Running));
    assert_eq!(
        world.b.shifter.command(&api(), Command::Promote, &author()).unwrap().state(),
        api::shift::State::Promoted
    );
    assert_eq!(world.weights(), pairs(&[("api-v1", 0), ("api-v2", 100)]));
    world.a.shifter.tick(now + SECOND * 3600, false);
    assert_eq!(world.a.shown().state(), api::shift::State::Promoted);
}
