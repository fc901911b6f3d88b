use super::*;
use crate::mesh::{ObjectName, RouteKind, Subject};

const NOW: &str = "2026-02-01T00:00:00Z";
const BEFORE: &str = "2026-01-01T00:00:00Z";

fn known<'a>(faults: &'a [Fault], conflicts: &'a [Conflict], rollouts: &'a [(u32, u32)]) -> Known<'a> {
    Known { usable: true, faults, conflicts, rollouts, now: NOW }
}

fn conflict(field: Vec<FieldStep>, reason: Reason) -> Conflict {
    let subject = Subject::Route((RouteKind::Http, ObjectName::new("shop", "r")));
    Conflict { subject, field, reason, message: format!("it is so: {reason:?}") }
}

fn parent(place: usize) -> Vec<FieldStep> {
    vec![FieldStep::Key("spec"), FieldStep::Key("parentRefs"), FieldStep::Index(place)]
}

fn route(status: Value) -> Value {
    let parents = json!([
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"},
        {"group": "", "kind": "Service", "name": "api"},
        {"group": "", "kind": "Service", "name": "web", "port": 80},
    ]);
    json!({"kind": "HTTPRoute", "metadata": {"generation": 7}, "spec": {"parentRefs": parents}, "status": status})
}

/// `PARENT TYPE STATUS REASON` of our entries.
fn shown(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in status["parents"].as_array().unwrap().iter().filter(|entry| entry["controllerName"] == CONTROLLER) {
        for condition in entry["conditions"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            lines.push(format!(
                "{} {} {} {}",
                text(&entry["parentRef"]["name"]),
                text(&condition["type"]),
                text(&condition["status"]),
                text(&condition["reason"])
            ));
        }
    }
    lines
}

#[test]
fn services_among_the_parents_have_entries_and_gateways_have_none() {
    let status = of_route(&route(json!({})), &known(&[], &[], &[(2, 2), (1, 3)])).unwrap();
    assert_eq!(
        shown(&status),
        [
            "api Accepted True Accepted",
            "api ResolvedRefs True ResolvedRefs",
            "api Programmed True Programmed",
            "web Accepted True Accepted",
            "web ResolvedRefs True ResolvedRefs",
            "web Programmed False Pending",
        ]
    );
    let conditions = status.pointer("/parents/0/conditions/0").unwrap();
    assert_eq!((&conditions["observedGeneration"], &conditions["lastTransitionTime"]), (&json!(7), &json!(NOW)));
}

#[test]
fn other_controllers_entries_stay_and_ours_of_parents_that_are_gone_go() {
    let others = json!({"parentRef": {"name": "front"}, "controllerName": "example.com/gateway", "conditions": []});
    let gone = json!({"parentRef": {"group": "", "kind": "Service", "name": "old"}, "controllerName": CONTROLLER, "conditions": []});
    let status = of_route(&route(json!({"parents": [gone.clone(), others.clone()]})), &known(&[], &[], &[])).unwrap();
    let entries = status["parents"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]), (3, &others));
    let mut foreign = route(json!({"parents": [others.clone(), gone]}));
    foreign["spec"]["parentRefs"] = json!([{"name": "front"}]);
    assert_eq!(of_route(&foreign, &known(&[], &[], &[])).unwrap()["parents"], json!([others]));
    foreign["status"] = json!({"parents": [others]});
    assert_eq!(of_route(&foreign, &known(&[], &[], &[])), None, "it is none of ours");
}

#[test]
fn what_is_the_same_is_not_written_again() {
    let conflicts = [conflict(parent(1), Reason::NoMatchingParent)];
    let mut object = route(json!({}));
    let status = of_route(&object, &known(&[], &conflicts, &[])).unwrap();
    object["status"] = serde_json::from_str(&status.to_string().replace(NOW, BEFORE)).unwrap();
    assert_eq!(of_route(&object, &known(&[], &conflicts, &[])).as_ref(), object.get("status"));
    let healed = of_route(&object, &known(&[], &[], &[])).unwrap();
    let accepted = healed.pointer("/parents/0/conditions/0").unwrap();
    assert_eq!((&accepted["status"], &accepted["lastTransitionTime"]), (&json!("True"), &json!(NOW)));
    let resolved = healed.pointer("/parents/0/conditions/1").unwrap();
    assert_eq!(resolved["lastTransitionTime"], json!(BEFORE), "it did not change");
}

#[test]
fn conflicts_are_told_at_their_parent_and_backends_at_all() {
    let backend = vec![FieldStep::Key("spec"), FieldStep::Key("rules"), FieldStep::Index(0)];
    let conflicts = [
        conflict(parent(1), Reason::NoMatchingParent),
        conflict(parent(2), Reason::PartlyIneffective),
        conflict(backend, Reason::RefNotPermitted),
    ];
    let status = of_route(&route(json!({})), &known(&[], &conflicts, &[])).unwrap();
    assert_eq!(
        shown(&status),
        [
            "api Accepted False NoMatchingParent",
            "api ResolvedRefs False RefNotPermitted",
            "web Accepted True Accepted",
            "web ResolvedRefs False RefNotPermitted",
            "web Programmed True Programmed",
        ]
    );
    assert_eq!(status.pointer("/parents/1/conditions/0/message"), Some(&json!("it is so: PartlyIneffective")));
}

#[test]
fn what_cannot_be_used_says_why_and_what_can_in_part_too() {
    let fault = Fault {
        file: String::new(),
        line: 0,
        field: "spec.rules[0].filters[0].type".to_owned(),
        message: "is not known".to_owned(),
        severity: Severity::Error,
        object: None,
    };
    let faults = [fault];
    let bad = of_route(&route(json!({})), &Known { usable: false, ..known(&faults, &[], &[]) }).unwrap();
    assert_eq!(shown(&bad)[..2], ["api Accepted False UnsupportedValue", "api ResolvedRefs True ResolvedRefs"]);
    let message = bad.pointer("/parents/0/conditions/0/message");
    assert_eq!(message, Some(&json!("spec.rules[0].filters[0].type: is not known")));
    let partly = of_route(&route(json!({})), &known(&faults, &[], &[])).unwrap();
    assert!(shown(&partly).contains(&"api PartiallyInvalid True UnsupportedValue".to_owned()), "{:?}", shown(&partly));
}

#[test]
fn a_policy_tells_of_each_target() {
    let target = |place| vec![FieldStep::Key("spec"), FieldStep::Key("targetRefs"), FieldStep::Index(place)];
    let spec = json!({"targetRefs": [{"kind": "Service", "name": "api"}, {"kind": "Service", "name": "web"}]});
    let object = json!({"metadata": {"generation": 2}, "spec": spec});
    let accepted = |conflicts: &[Conflict]| {
        let status = of_policy(&object, &known(&[], conflicts, &[])).unwrap();
        let entries = status["ancestors"].as_array().unwrap().iter();
        let line = |entry: &Value| {
            let condition = &entry["conditions"][0];
            format!("{} {} {}", entry["ancestorRef"]["name"], condition["status"], condition["reason"]).replace('"', "")
        };
        entries.map(line).collect::<Vec<_>>()
    };
    assert_eq!(accepted(&[]), ["api True Accepted", "web True Accepted"]);
    let some = [conflict(target(0), Reason::PartlyIneffective), conflict(target(1), Reason::TargetNotFound)];
    assert_eq!(accepted(&some), ["api True Accepted", "web False TargetNotFound"]);
}

#[test]
fn a_fault_injection_is_accepted_or_invalid() {
    let object = json!({"metadata": {"generation": 2}});
    let reason = |usable| {
        let status = of_fault(&object, &Known { usable, ..known(&[], &[], &[]) }).unwrap();
        status["conditions"][0]["reason"].clone()
    };
    assert_eq!((reason(true), reason(false)), (json!("Accepted"), json!("Invalid")));
}
