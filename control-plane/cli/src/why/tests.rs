use weft_proxy::why::{Asked, Backend, EndpointStep, Forward, Outcome, ProtocolStep, RuleStep, Setting};

use super::*;

fn setting(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: value.into() }
}

fn endpoint(address: &str) -> EndpointStep {
    EndpointStep {
        address: address.into(),
        pod: "api-v2".into(),
        workload: "api".into(),
        zone: "b".into(),
        node: "".into(),
        identity: Some("spiffe://cluster.local/ns/shop/sa/api".into()),
        draining: false,
    }
}

fn rule(position: usize, failed: Option<&str>) -> RuleStep {
    RuleStep {
        position,
        rule: format!("r{position}"),
        manifest: format!("HTTPRoute shop/api rules[{}]", position - 1),
        conditions: "path begins with /a".into(),
        failed: failed.map(Into::into),
    }
}

fn explanation() -> Explanation {
    let protocol = ProtocolStep {
        listener: "10.96.0.10:80".into(),
        service: "shop/api:80".into(),
        declared: "http".into(),
        taken_as: "http".into(),
        because: "the port is declared to be HTTP".into(),
        route_configuration: Some("shop/api:80".into()),
    };
    let backend = Backend {
        cluster: "shop/api-v2:80".into(),
        weight: 1,
        share_percent: 100.0 / 3.0,
        exists: true,
        manifest: "TrafficPolicy shop/api".into(),
        filters: vec![],
        policy: vec![setting("loadBalancer.algorithm", "PeakEwma")],
        endpoints: vec![endpoint("10.1.0.3:8080"), endpoint("10.1.0.4:8080")],
    };
    let forward = Forward {
        rule: "r2".into(),
        manifest: "HTTPRoute shop/api rules[1]".into(),
        path: "/".into(),
        host: None,
        filters: vec![],
        timeouts: vec![setting("timeouts.request", "15s")],
        retry: vec![],
        mirrors: vec![],
        backends: vec![backend],
    };
    Explanation {
        request: Asked { dialled: "10.96.0.10:80".into(), method: "GET".into(), path: "/".into() },
        refused: vec![],
        protocol: Some(protocol),
        rules: vec![rule(1, Some("the path is /")), rule(2, None)],
        outcome: Outcome::Forward(Box::new(forward)),
    }
}

fn resource(kind: ResourceKind, name: &str, acked: &str) -> ConfigurationResource {
    ConfigurationResource {
        kind: kind.name().into(),
        name: name.into(),
        version: "b2".into(),
        subscribed: true,
        acked_version: acked.into(),
        ..ConfigurationResource::default()
    }
}

fn gathered() -> Gathered {
    let origin = |manifest: &str, line| Origin { manifest: manifest.into(), file: "api.yaml".into(), line };
    let origins =
        [origin("HTTPRoute shop/api", 7), origin("HTTPRoute shop/users", 1), origin("TrafficPolicy shop/api", 30)];
    let ejected =
        EjectedEndpoint { cluster: "shop/api-v2:80".into(), address: "10.1.0.4:8080".into(), seconds_left: 12 };
    Gathered {
        resources: vec![
            resource(ResourceKind::Listener, "10.96.0.10:80", "b2"),
            resource(ResourceKind::Listener, "[fd00::10]:80", "b2"),
            resource(ResourceKind::RouteConfiguration, "shop/api:80", "a1"),
        ],
        origins: origins.into_iter().map(|origin| (origin.manifest.clone(), origin)).collect(),
        connected: true,
        ejected: vec![ejected],
        ..Gathered::default()
    }
}

#[test]
fn a_decision_is_told_step_by_step_with_its_manifests() {
    let answer = gathered().into_answer("web.shop".into(), explanation());
    assert_eq!(
        show::answer(&answer),
        "web.shop asks 10.96.0.10:80: GET /\n\
         \n\
         PROTOCOL  http: the port is declared to be HTTP\n          \
                   shop/api:80 (listener 10.96.0.10:80)\n\
         \n\
         RULES     of shop/api:80, in the order in which they are tried\n   \
            1 no   HTTPRoute shop/api rules[0] (api.yaml:7)\n          \
                   path begins with /a; no: the path is /\n   \
            2 YES  HTTPRoute shop/api rules[1] (api.yaml:7)\n          \
                   path begins with /a; matches\n\
         \n\
         FORWARD   /\n          \
                   HTTPRoute shop/api rules[1] (api.yaml:7)\n          \
                   timeouts.request             15s\n\
         \n\
         BACKEND   33.33 % to shop/api-v2:80 (weight 1)\n          \
                   TrafficPolicy shop/api (api.yaml:30)\n          \
                   loadBalancer.algorithm       PeakEwma\n          \
                   ENDPOINT        POD      ZONE   OVER                                          STATE\n          \
                   10.1.0.3:8080   api-v2   b      mTLS, spiffe://cluster.local/ns/shop/sa/api   in use\n          \
                   10.1.0.4:8080   api-v2   b      mTLS, spiffe://cluster.local/ns/shop/sa/api   ejected, 12s left\n\
         \n\
         PROXY     does NOT decide so yet: 1 of 2 resources are not current\n          \
                   RouteConfiguration shop/api:80: has a1, wanted b2"
    );
}

#[test]
fn only_the_manifests_that_have_a_say_are_told_of() {
    let answer = gathered().into_answer("web.shop".into(), explanation());
    let manifests: Vec<_> = answer.origins.iter().map(|origin| origin.manifest.as_str()).collect();
    assert_eq!(manifests, ["HTTPRoute shop/api", "TrafficPolicy shop/api"]);
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["explanation"]["outcome"]["kind"], "forward");
    assert_eq!(json["origins"][0]["line"], 7);
    assert!(json["resources"][0].get("resource").is_none());
}

#[test]
fn a_proxy_that_is_away_or_never_asked_is_told_of() {
    let away = Gathered { connected: false, ..gathered() }.into_answer("web.shop".into(), explanation());
    assert!(show::answer(&away).contains("PROXY     is not connected"));
    let mut never = gathered();
    never.resources.iter_mut().for_each(|resource| resource.subscribed = false);
    let never = show::answer(&never.into_answer("web.shop".into(), explanation()));
    assert!(never.contains("will ask for this when the pod first dials it"), "{never}");
}

#[test]
fn a_part_of_a_manifest_is_found_by_its_object() {
    assert_eq!(show::object("HTTPRoute shop/api rules[2]"), "HTTPRoute shop/api");
    assert_eq!(show::object("Split shop/api"), "Split shop/api");
    assert_eq!(show::object(""), "");
}
