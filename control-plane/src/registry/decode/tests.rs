use serde_json::json;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
struct Port {
    port: u16,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Ports {
    ports: Vec<Port>,
}

#[test]
fn what_fits_is_decoded() {
    assert_eq!(decode(&json!({"ports": [{"port": 80}]})), Ok(Ports { ports: vec![Port { port: 80 }] }));
}

#[test]
fn what_does_not_fit_has_a_field_and_the_value() {
    let problem = decode::<Ports>(&json!({"ports": [{"port": 1}, {"port": 70000}]})).unwrap_err();
    assert_eq!((problem.line, problem.field.to_string().as_str()), (None, "ports[1].port"));
    assert!(problem.message.contains("70000"), "{}", problem.message);
}
