//! Who answers which request.

use super::*;

/// The demo with HTTPRoutes for `api`: name, seconds of age, port if not all, rules.
fn routed(written: &[(&str, u32, &str, &str)], splits: &[Split]) -> Mesh {
    let mut text = DEMO.to_owned();
    for (name, age, port, rules) in written {
        let created = format!("2026-01-01T00:00:{:02}Z", 59 - age);
        text += &format!(
            "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: {name}, namespace: shop, creationTimestamp: '{created}'}}\n\
             spec: {{parentRefs: [{{group: '', kind: Service, name: api{port}}}], rules: [{rules}]}}"
        );
    }
    split_mesh(good(&text), splits)
}

const V1: &str = "backendRefs: [{name: api-v1, port: 80}]";

#[test]
fn without_rules_a_service_answers_for_itself() {
    let mesh = mesh(DEMO);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"default: /* -> shop/api:80 within 0s0ns");
    insta::assert_snapshot!(routes(&mesh, "shop/users:80"), @r"default: /* -> shop/users:80 within 0s0ns");
    insta::assert_snapshot!(routes(&mesh, "10.1.0.2:8080"), @r"default: /* -> 10.1.0.2:8080 within 0s0ns");
}

#[test]
fn a_split_takes_everything_without_what_has_no_weight() {
    let mesh = demo_split(&[split("api", &[("api-v1", 0, 90), ("api-v2", 80, 10), ("users", 0, 0)])]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"split: /* -> 90 shop/api-v1:80, 10 shop/api-v2:80 within 0s0ns");
    let mesh = demo_split(&[split("api", &[("api-v1", 0, 0), ("api-v2", 0, 7)])]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"split: /* -> shop/api-v2:80 within 0s0ns");
}

#[test]
fn a_backend_that_is_missing_keeps_its_share_and_alone_is_a_500() {
    let mesh = demo_split(&[split("api", &[("api-v1", 0, 1), ("gone", 0, 1)])]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"split: /* -> 1 shop/api-v1:80, 1 shop/gone:80 within 0s0ns");
    let mesh = demo_split(&[split("api", &[("api-v1", 81, 1), ("gone", 0, 1)])]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"split: /* -> 500");
    let mesh = routed(&[("r", 0, "", "{backendRefs: [{name: gone, port: 80}]}")], &[]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"
    r/0: /* -> 500
    unmatched: /* -> 404
    ");
}

#[test]
fn the_more_specific_condition_comes_first() {
    let rules = format!(
        "{{name: any, {V1}}},
         {{name: short, matches: [{{path: {{value: /a}}}}], {V1}}},
         {{name: long, matches: [{{path: {{value: /a/b}}}}], {V1}}},
         {{name: header, matches: [{{path: {{value: /a}}, headers: [{{name: h, value: x}}]}}], {V1}}},
         {{name: query, matches: [{{path: {{value: /a}}, queryParams: [{{name: q, value: 'x+', type: RegularExpression}}]}}], {V1}}},
         {{name: headers, matches: [{{path: {{value: /a}}, headers: [{{name: h, value: x}}, {{name: i, value: y}}]}}], {V1}}},
         {{name: method, matches: [{{path: {{value: /a}}, method: GET}}], {V1}}},
         {{name: regex, matches: [{{path: {{type: RegularExpression, value: '/a.*'}}}}], {V1}}},
         {{name: exact, matches: [{{path: {{type: Exact, value: /a}}}}, {{path: {{type: Exact, value: /abc}}}}], {V1}}}"
    );
    insta::assert_snapshot!(routes(&routed(&[("r", 0, "", &rules)], &[]), "shop/api:80"), @r"
    r/exact: =/abc -> shop/api-v1:80 within 0s0ns
    r/exact: =/a -> shop/api-v1:80 within 0s0ns
    r/regex: ~/a.* -> shop/api-v1:80 within 0s0ns
    r/long: /a/b/* -> shop/api-v1:80 within 0s0ns
    r/method: /a/* :method=GET -> shop/api-v1:80 within 0s0ns
    r/headers: /a/* h=x i=y -> shop/api-v1:80 within 0s0ns
    r/header: /a/* h=x -> shop/api-v1:80 within 0s0ns
    r/query: /a/* ?q~x+ -> shop/api-v1:80 within 0s0ns
    r/short: /a/* -> shop/api-v1:80 within 0s0ns
    r/any: /* -> shop/api-v1:80 within 0s0ns
    unmatched: /* -> 404
    ");
}

#[test]
fn of_equal_conditions_the_older_route_wins_then_the_name_then_the_place() {
    let two = format!("{{name: one, {V1}}}, {{name: two, {V1}}}");
    let mesh = routed(&[("b", 5, "", &two), ("a", 5, "", &two), ("young", 1, "", &two), ("old", 9, "", &two)], &[]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"
    old/one: /* -> shop/api-v1:80 within 0s0ns
    old/two: /* -> shop/api-v1:80 within 0s0ns
    a/one: /* -> shop/api-v1:80 within 0s0ns
    a/two: /* -> shop/api-v1:80 within 0s0ns
    b/one: /* -> shop/api-v1:80 within 0s0ns
    b/two: /* -> shop/api-v1:80 within 0s0ns
    young/one: /* -> shop/api-v1:80 within 0s0ns
    young/two: /* -> shop/api-v1:80 within 0s0ns
    unmatched: /* -> 404
    ");
}

#[test]
fn weights_and_timeouts_are_told() {
    let rules = "{timeouts: {request: 1500ms}, backendRefs: [{name: api-v1, port: 80, weight: 9},
                  {name: api-v2, port: 80}, {name: users, port: 80, weight: 0}]}";
    insta::assert_snapshot!(routes(&routed(&[("r", 0, "", rules)], &[]), "shop/api:80"), @r"
    r/0: /* -> 9 shop/api-v1:80, 1 shop/api-v2:80 within 1s500000000ns
    unmatched: /* -> 404
    ");
}

#[test]
fn what_matches_no_rule_is_rejected_or_has_the_split() {
    let rules = format!("{{matches: [{{path: {{value: /a}}}}], {V1}}}");
    insta::assert_snapshot!(routes(&routed(&[("r", 0, "", &rules)], &[]), "shop/api:80"), @r"
    r/0: /a/* -> shop/api-v1:80 within 0s0ns
    unmatched: /* -> 404
    ");
    let mesh = routed(&[("r", 0, "", &rules)], &[split("api", &[("api-v2", 0, 1)])]);
    insta::assert_snapshot!(routes(&mesh, "shop/api:80"), @r"
    r/0: /a/* -> shop/api-v1:80 within 0s0ns
    split: /* -> shop/api-v2:80 within 0s0ns
    ");
}

#[test]
fn a_route_is_for_the_ports_that_its_parent_names() {
    let rules = format!("{{{V1}}}");
    for (parent, attached) in
        [(", port: 80", true), (", port: 81", false), (", sectionName: http", true), (", sectionName: x", false)]
    {
        let text = routes(&routed(&[("r", 0, parent, &rules)], &[]), "shop/api:80");
        assert_eq!(text.starts_with("r/0: "), attached, "{parent}: {text}");
    }
}

#[test]
fn a_refused_rule_answers_500_where_it_matches() {
    let (manifests, _) = crate::registry::testing::read(&format!(
        "{DEMO}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: api}}],
                 rules: [{{matches: [{{path: {{value: /a}}}}], backendRefs: [{{name: x, namespace: y, port: 1}}]}}, {{{V1}}}]}}"
    ));
    insta::assert_snapshot!(routes(&split_mesh(manifests, &[]), "shop/api:80"), @r"
    r/0: /a/* -> 500
    r/1: /* -> shop/api-v1:80 within 0s0ns
    unmatched: /* -> 404
    ");
}
