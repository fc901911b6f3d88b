use super::*;

#[test]
fn only_what_differs_is_written_and_then_all_of_it() {
    let configuration = |bundles: [Value; 2]| {
        let [a, b] = bundles;
        json!({"webhooks": [{"name": "a", "clientConfig": {"caBundle": a}}, {"name": "b", "clientConfig": {"caBundle": b}}]})
    };
    assert_eq!(differing(&configuration([json!("X"), json!("X")]), "X"), None);
    assert_eq!(differing(&json!({}), "X"), None);
    let expected =
        json!([{"name": "a", "clientConfig": {"caBundle": "X"}}, {"name": "b", "clientConfig": {"caBundle": "X"}}]);
    assert_eq!(differing(&configuration([json!("X"), Value::Null]), "X").map(Value::from), Some(expected));
}
