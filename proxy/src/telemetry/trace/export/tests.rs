use std::pin::pin;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, Version};
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

use super::*;
use crate::config::Sampler;
use crate::telemetry::trace::SpanEnd;

/// A collector that takes, refuses, or never answers.
#[derive(Clone, Debug, Default)]
struct Collector {
    behaviour: Arc<Mutex<Behaviour>>,
    batches: Arc<Mutex<Vec<usize>>>,
    called: Arc<Notify>,
    resource: Arc<Mutex<Option<Resource>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Behaviour {
    #[default]
    Takes,
    Refuses,
    Hangs,
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let behaviour = *self.behaviour.lock().unwrap();
        self.called.notify_one();
        match behaviour {
            Behaviour::Takes => {
                self.batches.lock().unwrap().push(batch.len());
                Ok(())
            }
            Behaviour::Refuses => Err(OTelSdkError::InternalFailure("refused".to_owned())),
            Behaviour::Hangs => std::future::pending().await,
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.resource.lock().unwrap() = Some(resource.clone());
    }
}

fn settings() -> Traces {
    Traces {
        endpoint: Uri::from_static("http://127.0.0.1:4317"),
        sampler: Sampler { parent_based: true, ratio: 1.0 },
        service_name: "api".to_owned(),
        resource_attributes: vec![
            ("k8s.pod.name".to_owned(), "renamed".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ],
    }
}

const ORIGIN: Origin<'_> = Origin { pod: "api-1", namespace: "shop", socket_mark: None };

fn start(collector: &Collector) -> (Tracer, Export<Collector>, Exports) {
    let counters = Exports::default();
    let (tracer, export) = Export::over(collector.clone(), &settings(), &ORIGIN, &counters);
    (tracer, export, counters)
}

fn send(tracer: &Tracer, count: usize) {
    for _ in 0..count {
        let end = SpanEnd {
            method: &Method::GET,
            route: None,
            scheme: "http",
            path: "/",
            host: "",
            port: 80,
            version: Version::HTTP_11,
            status: Some(200),
            error: None,
            fault: None,
            peer: None,
            peer_identity: None,
            peer_service: None,
        };
        tracer.request(SpanKind::Client, &HeaderMap::new()).finish(&end);
    }
}

#[tokio::test]
async fn spans_are_sent_in_batches_and_counted() {
    let collector = Collector::default();
    let (tracer, export, counters) = start(&collector);
    send(&tracer, 2 * BATCH + 1);
    export.run(std::future::ready(())).await;
    assert_eq!(*collector.batches.lock().unwrap(), [BATCH, BATCH, 1]);
    assert_eq!((counters.spans_exported.get(), counters.spans_dropped.get()), (2 * BATCH as u64 + 1, 0));
}

#[tokio::test]
async fn a_few_spans_wait_for_more_and_a_whole_call_does_not() {
    for (count, sent) in [(BATCH - 1, vec![]), (BATCH, vec![BATCH])] {
        let collector = Collector::default();
        let (tracer, export, _) = start(&collector);
        send(&tracer, count);
        let mut run = pin!(export.run(std::future::pending()));
        assert!(futures::poll!(&mut run).is_pending());
        assert_eq!(*collector.batches.lock().unwrap(), sent);
    }
}

#[tokio::test]
async fn what_comes_at_the_very_end_is_still_sent() {
    let collector = Collector::default();
    let (tracer, export, counters) = start(&collector);
    export.run(async { send(&tracer, 3) }).await;
    assert_eq!(counters.spans_exported.get(), 3);
}

#[tokio::test]
async fn a_collector_that_refuses_costs_spans_and_nothing_else() {
    let collector = Collector::default();
    *collector.behaviour.lock().unwrap() = Behaviour::Refuses;
    let (tracer, export, counters) = start(&collector);
    send(&tracer, 5);
    let recovery = async {
        collector.called.notified().await;
        *collector.behaviour.lock().unwrap() = Behaviour::Takes;
        send(&tracer, 2);
    };
    export.run(recovery).await;
    assert_eq!((counters.spans_exported.get(), counters.spans_dropped.get()), (2, 5));
}

#[tokio::test]
async fn a_call_that_is_not_answered_is_given_up_and_the_next_one_made() {
    let collector = Collector::default();
    *collector.behaviour.lock().unwrap() = Behaviour::Hangs;
    let (tracer, export, counters) = start(&collector);
    send(&tracer, BATCH);
    let recovery = async {
        collector.called.notified().await;
        *collector.behaviour.lock().unwrap() = Behaviour::Takes;
        send(&tracer, 1);
        collector.called.notified().await;
    };
    export.run(recovery).await;
    assert_eq!((counters.spans_exported.get(), counters.spans_dropped.get()), (1, BATCH as u64));
}

#[tokio::test]
async fn a_collector_that_hangs_delays_the_end_by_two_seconds_at_most() {
    let collector = Collector::default();
    *collector.behaviour.lock().unwrap() = Behaviour::Hangs;
    let (tracer, export, counters) = start(&collector);
    send(&tracer, QUEUE + 10);
    let started = tokio::time::Instant::now();
    export.run(std::future::ready(())).await;
    assert!(started.elapsed() >= FLUSH_TIMEOUT);
    assert_eq!((counters.spans_exported.get(), counters.spans_dropped.get()), (0, QUEUE as u64 + 10));
}

#[test]
fn the_resource_is_the_workload_and_the_user_has_the_last_word() {
    let collector = Collector::default();
    let _export = start(&collector);
    let resource = collector.resource.lock().unwrap().clone().unwrap();
    let value = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
    assert_eq!(value("service.name").as_deref(), Some("api"));
    assert_eq!(value("k8s.namespace.name").as_deref(), Some("shop"));
    assert_eq!(value("k8s.pod.name").as_deref(), Some("renamed"));
    assert_eq!(value("team").as_deref(), Some("a"));
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_an_error_that_names_it() {
    let uri = Uri::from_static("http://127.0.0.1:1");
    let error = connect(&uri, None).await.expect_err("nobody listens there");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
