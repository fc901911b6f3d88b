use super::*;

fn name(text: &str) -> ServerNameMatch {
    ServerNameMatch::parse(text).unwrap()
}

#[test]
fn a_name_is_meant_alone_and_without_regard_to_its_case() {
    assert!(name("api.Example").matches("API.example"));
    assert!(name("api.example").matches("api.example."));
    assert!(!name("api.example").matches("b.api.example"));
    assert!(!name("api.example").matches("api.example.org"));
}

#[test]
fn an_asterisk_stands_for_one_label_or_more() {
    assert!(name("*.example").matches("api.example"));
    assert!(name("*.example").matches("a.b.EXAMPLE"));
    assert!(!name("*.example").matches("example"));
    assert!(!name("*.example").matches(".example"));
    assert!(!name("*.example").matches("badexample"));
    assert!(!name("*.example").matches("é"), "not on the boundary of a character");
}

#[test]
fn what_is_no_name_is_refused() {
    for bad in ["", "*", "*.", "a*.example", "*.*.example", "a..b", "*example", ".example"] {
        assert!(ServerNameMatch::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_most_specific_is_first() {
    let mut names = ["*.example", "*.a.example", "b.a.example"].map(name);
    names.sort_by_key(|name| std::cmp::Reverse(name.specificity()));
    assert_eq!(names.map(|name| name.to_string()), ["b.a.example", "*.a.example", "*.example"]);
}
