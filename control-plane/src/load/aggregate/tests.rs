use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(5);

fn pod(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn cluster() -> Vec<Arc<str>> {
    vec!["shop/api-v2:80".into()]
}

fn report(issued: u64, errors: u64) -> Report {
    let figures = Figures { issued, errors, ..Figures::default() };
    Report { covers: EVERY, clusters: vec![("shop/api-v2:80".into(), figures)], ..Report::default() }
}

fn issued(aggregate: &Aggregate, since: Instant, now: Instant) -> u64 {
    aggregate.recent(&cluster(), since, now).issued
}

#[test]
fn a_proxy_that_leaves_drops_out_of_what_is_recent_but_not_of_a_tally() {
    let mut aggregate = Aggregate::new(WINDOW);
    let began = Instant::now();
    let (web, batch) = (aggregate.connect(pod("web")).unwrap(), aggregate.connect(pod("batch")).unwrap());
    let tally = aggregate.tally(cluster(), began);
    let now = began + EVERY;
    aggregate.report(web, report(10, 1), now);
    aggregate.report(batch, report(5, 0), now);
    assert_eq!((issued(&aggregate, began, now), aggregate.tallied(tally).issued), (15, 15));
    aggregate.disconnect(batch);
    assert_eq!((issued(&aggregate, began, now), aggregate.tallied(tally).issued), (10, 15));
    assert_eq!(aggregate.slots(), 1);
    aggregate.forget(tally);
    assert_eq!(aggregate.tallied(tally), Figures::default());
    assert_eq!(aggregate.slots(), 0);
}

#[test]
fn what_nobody_counts_costs_nothing() {
    let mut aggregate = Aggregate::new(WINDOW);
    let began = Instant::now();
    let web = aggregate.connect(pod("web")).unwrap();
    assert_eq!(aggregate.report(web, report(10, 1), began + EVERY), 0);
    assert_eq!((aggregate.slots(), aggregate.clusters.len()), (0, 0));
    let (first, second) = (aggregate.tally(cluster(), began), aggregate.tally(cluster(), began));
    aggregate.report(web, report(7, 0), began + EVERY);
    aggregate.forget(first);
    assert_eq!(issued(&aggregate, began, began + EVERY), 7);
    aggregate.forget(second);
    assert_eq!((aggregate.slots(), aggregate.clusters.len()), (0, 0));
}

#[test]
fn a_report_that_covers_a_time_before_is_not_counted() {
    let mut aggregate = Aggregate::new(WINDOW);
    let began = Instant::now();
    let web = aggregate.connect(pod("web")).unwrap();
    let since = began + Duration::from_secs(3);
    let tally = aggregate.tally(cluster(), since);
    aggregate.report(web, report(10, 10), began + EVERY);
    assert_eq!(aggregate.tallied(tally).issued, 0);
    assert_eq!(issued(&aggregate, since, began + EVERY), 0);
    let now = began + EVERY + EVERY;
    aggregate.report(web, report(7, 0), now);
    assert_eq!((aggregate.tallied(tally).issued, issued(&aggregate, since, now)), (7, 7));
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut aggregate = Aggregate::new(WINDOW);
    let began = Instant::now();
    let web = aggregate.connect(pod("web")).unwrap();
    aggregate.tally(cluster(), began);
    for number in 1..=100 {
        aggregate.report(web, report(1, 0), began + EVERY * number);
    }
    let now = began + EVERY * 100;
    assert_eq!(issued(&aggregate, began, now), 13);
    assert!(aggregate.slots() <= 16, "{}", aggregate.slots());
    aggregate.report(web, Report::default(), now + WINDOW * 2);
    assert_eq!(aggregate.slots(), 0);
}

#[test]
fn frequent_reports_are_put_together() {
    let mut aggregate = Aggregate::new(WINDOW);
    let began = Instant::now();
    let web = aggregate.connect(pod("web")).unwrap();
    aggregate.tally(cluster(), began);
    let every = Duration::from_millis(200);
    for number in 1..=50 {
        aggregate.report(web, Report { covers: every, ..report(1, 0) }, began + every * number);
    }
    assert_eq!(aggregate.slots(), 10);
    assert_eq!(issued(&aggregate, began, began + every * 50), 50);
}

#[test]
fn a_pod_has_no_more_than_its_streams() {
    let mut aggregate = Aggregate::new(WINDOW);
    let all: Vec<_> = (0..MAX_STREAMS_A_POD).map(|_| aggregate.connect(pod("web")).unwrap()).collect();
    assert_eq!(aggregate.connect(pod("web")), None);
    assert!(aggregate.connect(pod("batch")).is_some());
    aggregate.disconnect(all[0]);
    assert!(aggregate.connect(pod("web")).is_some());
}

#[test]
fn the_latest_report_and_conditions_are_those_of_the_pod() {
    let mut aggregate = Aggregate::new(WINDOW);
    let now = Instant::now();
    let web = aggregate.connect(pod("web")).unwrap();
    assert!(aggregate.latest_reports().is_empty());
    let breaker = super::super::Breaker { cluster: "shop/api:80".into(), which: "max_requests".to_owned() };
    let conditions = Conditions { breakers: vec![breaker], ..Conditions::default() };
    aggregate.report(web, Report { conditions: conditions.clone(), ..Report::default() }, now);
    assert_eq!(aggregate.latest_reports()[&pod("web")], now);
    assert_eq!(*aggregate.conditions()[&pod("web")], conditions);
    aggregate.report(web, Report::default(), now);
    assert!(aggregate.conditions().is_empty());
}

#[test]
fn beyond_the_bound_only_tallies_go_on() {
    let mut aggregate = Aggregate::new(WINDOW);
    let began = Instant::now();
    let web = aggregate.connect(pod("web")).unwrap();
    let tally = aggregate.tally(cluster(), began);
    aggregate.slots = MAX_SLOTS;
    aggregate.swept = Some(began);
    assert_eq!(aggregate.report(web, report(3, 0), began + EVERY), 1);
    assert_eq!(aggregate.tallied(tally).issued, 3);
    assert_eq!(issued(&aggregate, began, began + EVERY), 0);
}

proptest! {
    /// However reports and departures mix, the count of slots is that of the slots, and sums are those of the proxies
    /// that are there.
    #[test]
    fn slots_are_counted_right(events in proptest::collection::vec((0usize..4, 0u64..5, 0u64..20_000), 1..200)) {
        let mut aggregate = Aggregate::new(WINDOW);
        let began = Instant::now();
        let mut now = began;
        let tally = aggregate.tally(cluster(), began);
        let mut streams: [Option<StreamId>; 4] = [None; 4];
        for (which, count, wait) in events {
            now += Duration::from_millis(wait);
            match (&mut streams[which], count) {
                (stream @ Some(_), 0) => aggregate.disconnect(stream.take().unwrap()),
                (Some(stream), count) => {
                    aggregate.report(*stream, report(count, 0), now);
                }
                (stream, _) => *stream = aggregate.connect(pod("web")),
            }
            let slots: usize = aggregate.clusters.values().flat_map(BTreeMap::values).map(VecDeque::len).sum();
            prop_assert_eq!(slots, aggregate.slots());
        }
        streams.into_iter().flatten().for_each(|stream| aggregate.disconnect(stream));
        prop_assert_eq!(aggregate.slots(), 0);
        aggregate.forget(tally);
        prop_assert!(aggregate.clusters.is_empty());
    }
}
