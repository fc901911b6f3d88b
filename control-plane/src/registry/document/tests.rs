use serde_json::json;

use super::*;

fn texts(text: &str) -> Vec<(u32, String)> {
    split(text).into_iter().map(|document| (document.line(), document.text.trim().to_owned())).collect()
}

#[test]
fn documents_are_told_apart_and_keep_their_lines() {
    let text = "# first\na: 1\n---\n\n---  # a comment\nb: |\n  ---\n  x\n...\n---\nc: 3\n";
    assert_eq!(
        texts(text),
        [
            (1, "# first\na: 1".to_owned()),
            (5, "# a comment\nb: |\n  ---\n  x\n...".to_owned()),
            (10, "c: 3".to_owned())
        ]
    );
    assert_eq!(texts("a: 1\r\n---\r\nb: 2\r\n"), [(1, "a: 1".to_owned()), (2, "b: 2".to_owned())]);
    assert_eq!(texts("%YAML 1.2\n---\na: 1"), [(2, "a: 1".to_owned())]);
    assert_eq!(texts("--- {a: 1}"), [(1, "{a: 1}".to_owned())]);
    assert_eq!(texts("----\n"), [(1, "----".to_owned())]);
    assert_eq!(texts(""), []);
}

#[test]
fn what_is_not_yaml_has_a_line() {
    let documents = split("a: 1\n---\nports:\n  - port: [1\n");
    let problem = documents[1].value().unwrap_err();
    assert!(problem.line.is_some_and(|line| (3..=5).contains(&line)), "{problem:?}");
    assert!(!problem.message.contains('\n'), "{problem:?}");
}

#[test]
fn what_may_be_a_secret_is_not_quoted() {
    let problem = split("kind: Secret\nstringData: {token: [s3cret\n")[0].value().unwrap_err();
    assert!(problem.message.contains("is not shown") && !problem.message.contains("s3cret"), "{problem:?}");
}

#[test]
fn json_is_yaml_also_with_tabs() {
    let documents = split("{\n\t\"ports\": [\n\t\t{ \"port\": 80 }\n\t]\n}\n");
    assert_eq!(documents[0].value(), Ok(json!({"ports": [{"port": 80}]})));
}

#[test]
fn every_field_has_a_line() {
    let text = "---\na:\n  b.c/d: 1\n  list:\n  - x: 1\n    y: {z: 2}\n  - x: 3\n";
    let document = split(text)[0];
    for (field, line) in [
        (FieldPath::of(&["a", "b.c/d"]), 3),
        (FieldPath::of(&["a", "list"]).index(0).key("y").key("z"), 6),
        (FieldPath::of(&["a", "list"]).index(1).key("x"), 7),
        (FieldPath::of(&["a", "list"]).index(0).key("missing"), 5),
    ] {
        assert_eq!(document.line_of(&field), line, "{field}");
    }
    assert_eq!(split("\n\n- [")[0].line_of(&FieldPath::of(&["a"])), 1);
}
