//! How tables, shares and times are written.

use comfy_table::{Table, presets};

/// A table as the field's command-line tools print them: upper-case heads, no rules, three spaces between columns.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heads);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt()
}

/// `weight` of `sum` as a percentage with at most one decimal: `90 %`, `33.3 %`.
pub(crate) fn share(weight: i64, sum: i64) -> String {
    if sum <= 0 {
        return "-".to_owned();
    }
    let tenths = (i128::from(weight) * 1000 + i128::from(sum) / 2) / i128::from(sum);
    match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        tenth => format!("{}.{tenth} %", tenths / 10),
    }
}

/// What was counted of proxies, and which replicas of the control plane told of none: `2 of 3 current, no word from b`.
pub(crate) fn counted(counted: String, silent_replicas: &[String]) -> String {
    match silent_replicas {
        [] => counted,
        silent => format!("{counted}, no word from {}", silent.join(", ")),
    }
}

/// A time in its two largest units: `3d 4h`, `4m 12s`, `0s`.
pub(crate) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (size, unit) in UNITS.iter().skip(first).take(2) {
        if left >= *size || parts.is_empty() {
            parts.push(format!("{}{unit}", left / size));
        }
        left %= size;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_at_most_one_decimal() {
        let cases =
            [(90, 100, "90 %"), (1, 3, "33.3 %"), (2, 3, "66.7 %"), (0, 5, "0 %"), (0, 0, "-"), (1, 1, "100 %")];
        for (weight, sum, shown) in cases {
            assert_eq!(share(weight, sum), shown);
        }
    }

    #[test]
    fn who_told_nothing_is_named() {
        let two = ["weft-control-b".to_owned(), "weft-control-c".to_owned()];
        assert_eq!(counted("1 of 1".to_owned(), &[]), "1 of 1");
        assert_eq!(counted("1 of 1".to_owned(), &two), "1 of 1, no word from weft-control-b, weft-control-c");
    }

    #[test]
    fn spans_have_two_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (252, "4m 12s"),
            (3_600, "1h"),
            (86_399, "23h 59m"),
            (277_200, "3d 5h"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(span(seconds), shown);
        }
    }

    #[test]
    fn a_table_has_no_rules_and_no_blanks_at_the_end() {
        let shown = table(["NAME", "WEIGHT"], [["api-v1".into(), "90".into()], ["b".into(), "10".into()]]);
        assert_eq!(shown, "NAME     WEIGHT\napi-v1   90\nb        10");
    }
}
