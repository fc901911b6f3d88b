use weft_api::xds::pb::envoy::config::route::v3::route;
use weft_api::xds::pb::google::protobuf::value::Kind;
use weft_api::xds::{self, Cluster};

use super::*;
use crate::discovery::testing as make;

const DIALLED: &str = "10.96.0.10:80";
const API: &str = "shop/api:80";

fn resource<M: prost::Message + prost::Name>(name: &str, message: &M) -> Resource {
    let any = xds::pack(message);
    (ResourceKind::from_type_url(&any.type_url).unwrap(), name.to_owned(), any)
}

/// A Service with a rule for `/a` that splits, and one for everything else.
fn service() -> Vec<Resource> {
    let mut split = make::route(make::prefix("/a"), &[("shop/v1:80", 3), ("shop/v2:80", 1)]);
    split.name = "shop/api/0".to_owned();
    let manifest = Kind::StringValue("HTTPRoute shop/api rules[0]".to_owned());
    split.metadata = Some(xds::metadata([(xds::METADATA_MANIFEST, manifest)]));
    if let Some(route::Action::Route(action)) = &mut split.action {
        action.prefix_rewrite = "/b".to_owned();
    }
    let rest = make::route(make::prefix("/"), &[(API, 1)]);
    let manifest = Kind::StringValue("TrafficPolicy shop/v1".to_owned());
    let metadata = Some(xds::metadata([(xds::METADATA_MANIFEST, manifest)]));
    vec![
        resource(DIALLED, &make::detecting_listener(DIALLED, API)),
        resource(API, &make::routes(API, vec![split, rest])),
        resource("shop/v1:80", &Cluster { metadata, ..make::eds_cluster("shop/v1:80") }),
        resource("shop/v1:80", &make::assignment("shop/v1:80", &[("10.1.0.1", 8080)])),
        resource(API, &make::eds_cluster(API)),
        resource(API, &make::assignment(API, &[("10.1.0.9", 8080)])),
    ]
}

fn forward(explanation: Explanation) -> Forward {
    match explanation.outcome {
        Outcome::Forward(forward) => *forward,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_followed_to_the_endpoints() {
    let request = Request { path: "/a/1?q=2".to_owned(), ..Request::new(DIALLED) };
    let explanation = explain(&service(), &request);
    let protocol = explanation.protocol.clone().unwrap();
    assert_eq!((protocol.declared.as_str(), protocol.taken_as.as_str()), ("undeclared", "http"));
    assert_eq!((protocol.service.as_str(), protocol.route_configuration.as_deref()), (API, Some(API)));
    let [step] = explanation.rules.as_slice() else { panic!("{:?}", explanation.rules) };
    assert_eq!((step.manifest.as_str(), &step.failed), ("HTTPRoute shop/api rules[0]", &None));

    let forward = forward(explanation);
    assert_eq!(forward.path, "/b/1?q=2");
    let [v1, v2] = forward.backends.as_slice() else { panic!("{:?}", forward.backends) };
    assert_eq!((v1.share_percent, v1.exists, v1.manifest.as_str()), (75.0, true, "TrafficPolicy shop/v1"));
    assert_eq!(v1.endpoints[0].address, "10.1.0.1:8080");
    assert!(v1.policy.contains(&settings::setting("loadBalancer.algorithm", "PeakEwma")));
    assert_eq!((v2.share_percent, v2.exists), (25.0, false), "there is no such cluster");
}

#[test]
fn a_rule_that_does_not_match_tells_the_condition() {
    let explanation = explain(&service(), &Request::new(DIALLED));
    let failed: Vec<_> = explanation.rules.iter().map(|step| step.failed.as_deref()).collect();
    assert_eq!(failed, [Some("the path begins with /a"), None]);
    assert_eq!(forward(explanation).backends[0].cluster, API);
}

#[test]
fn what_is_needed_shows_by_and_by() {
    let all = service();
    let request = Request::new(DIALLED);
    let mut held = Vec::new();
    let mut absent = Vec::new();
    let mut rounds = 0;
    loop {
        let needed = needed(&held, &absent, &request);
        if needed.is_empty() {
            break;
        }
        for (kind, name) in needed {
            match all.iter().find(|(its, named, _)| (*its, named) == (kind, &name)) {
                Some(resource) => held.push(resource.clone()),
                None => absent.push((kind, name)),
            }
        }
        rounds += 1;
        assert!(rounds < 10, "it never ends");
    }
    assert_eq!(absent, [(ResourceKind::Cluster, "shop/v2:80".to_owned())]);
    assert_eq!(held.len(), all.len());
}

#[test]
fn bytes_go_by_weight_and_unknown_addresses_nowhere() {
    let opaque = Request { speaks: Speaks::Tls, server_name: Some("api".to_owned()), ..Request::new(DIALLED) };
    match explain(&service(), &opaque).outcome {
        Outcome::Connect { backends, .. } => assert_eq!(backends[0].cluster, API),
        other => panic!("{other:?}"),
    }
    assert!(matches!(explain(&[], &Request::new(DIALLED)).outcome, Outcome::Unknown { .. }));
    assert!(matches!(explain(&[], &Request::new("api")).outcome, Outcome::Unknown { .. }));
}

#[test]
fn a_bad_resource_is_named_with_the_field() {
    let mut resources = service();
    resources[1] = resource(API, &make::routes(API, vec![make::route(make::regex("(["), &[(API, 1)])]));
    let explanation = explain(&resources, &Request::new(DIALLED));
    assert!(matches!(explanation.outcome, Outcome::Unusable { .. }));
    let [refused] = explanation.refused.as_slice() else { panic!("{:?}", explanation.refused) };
    assert_eq!((refused.resource_kind.as_str(), refused.name.as_str()), ("RouteConfiguration", API));
    assert!(refused.reason.starts_with("virtual_hosts[0].routes[0].match.safe_regex.regex: "), "{}", refused.reason);
}

#[test]
fn nonsense_is_answered_and_never_a_panic() {
    for (method, path) in [("G T", "/"), ("GET", ""), ("GET", "no path"), ("GET", "/\u{1}")] {
        let request = Request { method: method.to_owned(), path: path.to_owned(), ..Request::new(DIALLED) };
        let explanation = explain(&service(), &request);
        assert!(serde_json::to_string(&explanation).is_ok());
    }
}
