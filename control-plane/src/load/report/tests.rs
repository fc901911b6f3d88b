use weft_api::xds::pb::envoy::config::core::v3::SocketAddress;
use weft_api::xds::pb::envoy::config::endpoint::v3::EndpointLoadMetricStats;
use weft_api::xds::pb::google::protobuf::{Struct, Value};

use super::*;

const FALLBACK: Duration = Duration::from_secs(5);

fn metric(name: &str, count: u64) -> EndpointLoadMetricStats {
    EndpointLoadMetricStats {
        metric_name: name.to_owned(),
        num_requests_finished_with_metric: count,
        total_metric_value: 0.0,
    }
}

fn stats(name: &str, locality: UpstreamLocalityStats) -> ClusterStats {
    ClusterStats {
        cluster_name: name.to_owned(),
        upstream_locality_stats: vec![locality],
        load_report_interval: Some(protobuf::Duration { seconds: 2, nanos: 500_000_000 }),
        ..ClusterStats::default()
    }
}

fn endpoint(address: &str, seconds: f64) -> UpstreamEndpointStats {
    let specifier = PortSpecifier::PortValue(8080);
    let socket = SocketAddress { address: address.to_owned(), port_specifier: Some(specifier), ..Default::default() };
    let left = Value { kind: Some(Kind::NumberValue(seconds)) };
    UpstreamEndpointStats {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        metadata: Some(Struct { fields: [(EJECTED_SECONDS_LEFT.to_owned(), left)].into() }),
        ..UpstreamEndpointStats::default()
    }
}

#[test]
fn requests_latencies_and_the_time_they_cover_are_read() {
    let locality = UpstreamLocalityStats {
        total_successful_requests: 7,
        total_error_requests: 3,
        total_issued_requests: 12,
        load_metric_stats: vec![metric(&load::latency_metric(2), 9), metric(&load::latency_metric(14), 1)],
        ..UpstreamLocalityStats::default()
    };
    let report = Report::read(&[stats("shop/api-v2:80", locality)], FALLBACK);
    assert_eq!(report.covers, Duration::from_millis(2500));
    let [(name, figures)] = report.clusters.as_slice() else { panic!("{report:?}") };
    assert_eq!((name.as_ref(), figures.issued, figures.errors), ("shop/api-v2:80", 10, 3));
    assert_eq!((figures.latencies[2], figures.latencies[14]), (9, 1));
    assert!(report.conditions.is_empty());
}

#[test]
fn what_is_not_used_is_read_also_where_there_were_no_requests() {
    let locality = UpstreamLocalityStats {
        load_metric_stats: vec![metric(&load::breaker_metric("max_requests"), 1), metric("weft.breaker.closed", 0)],
        upstream_endpoint_stats: vec![endpoint("10.1.0.3", 12.5), endpoint("no address", 1.0), endpoint("::1", -4.0)],
        ..UpstreamLocalityStats::default()
    };
    let report = Report::read(&[stats("shop/api:80", locality)], FALLBACK);
    assert!(report.clusters.is_empty());
    let cluster: Arc<str> = "shop/api:80".into();
    let at = |address: &str, left| Ejected { cluster: cluster.clone(), address: address.parse().unwrap(), left };
    let ejected = vec![at("10.1.0.3:8080", Duration::from_millis(12_500)), at("[::1]:8080", Duration::ZERO)];
    let breakers = vec![Breaker { cluster: cluster.clone(), which: "max_requests".to_owned() }];
    assert_eq!(report.conditions, Conditions { ejected, breakers });
}

#[test]
fn an_empty_report_covers_the_interval() {
    assert_eq!(Report::read(&[], FALLBACK), Report { covers: FALLBACK, ..Report::default() });
}

#[test]
fn names_that_can_be_none_and_clusters_beyond_the_bound_are_left_out() {
    let one = UpstreamLocalityStats { total_successful_requests: 1, ..UpstreamLocalityStats::default() };
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    let mut all = vec![stats("", one.clone()), stats(&long, one.clone())];
    all.extend((0..MAX_CLUSTERS).map(|number| stats(&format!("c{number}"), one.clone())));
    assert_eq!(Report::read(&all, FALLBACK).clusters.len(), MAX_CLUSTERS - 2);
}
