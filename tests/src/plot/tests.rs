use super::*;

#[test]
fn figures_have_the_digits_that_tell_something() {
    let cases = [(0.0, "0"), (0.125, "0.12"), (2.5, "2.5"), (64.84, "64.8"), (100.0, "100"), (2807.6, "2808")];
    for (value, shown) in cases {
        assert_eq!(figure(value), shown);
    }
    assert_eq!((figure(-0.001), figure(-0.4)), ("0".to_owned(), "-0.4".to_owned()));
}

#[test]
fn panels_fill_rows() {
    let mut sheet = Sheet::new("three panels", 3, 2);
    for number in 1..=3 {
        let mut panel = sheet.panel(&format!("panel {number}"), "ms", 8.0);
        panel.bars(&[Bar { value: 8.0, label: "a".to_owned(), color: "#27c" }]);
        panel.limit(5.0, "#c33");
    }
    let svg = sheet.finish();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("width=\"652\" height=\"490\""), "two columns, two rows: {svg}");
    assert_eq!(svg.matches("font-weight").count(), 3);
}

#[test]
fn lines_are_round_and_the_highest_has_room_above() {
    for (most, step) in [(8.0, 2.5), (9.0, 2.5), (100.0, 50.0), (0.3, 0.1)] {
        assert!((line_step(most) - step).abs() < 1e-9, "{most}: {}", line_step(most));
    }
}
