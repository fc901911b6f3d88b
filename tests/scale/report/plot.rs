//! The curve, drawn: how cost grows with the fleet.

use std::fmt::Write as _;

use super::{mib, millis};
use crate::scenarios::Point;

/// The size of one panel, and the room around it, in pixels.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 160.0;
const MARGIN: f64 = 48.0;
/// The longest bar, in characters.
const BAR: f64 = 40.0;

/// One thing that is drawn over the number of proxies.
struct Panel {
    title: &'static str,
    value: fn(&Point) -> f64,
}

const PANELS: [Panel; 3] = [
    Panel { title: "a change reaches the last proxy, p99 (ms)", value: |point| millis(point.p99) },
    Panel { title: "all reconnect at once (s)", value: |point| point.reconnect.as_secs_f64() },
    Panel { title: "resident (MiB)", value: |point| mib(point.rss) },
];

/// As bars of text.
pub(super) fn text(curve: &[Point]) -> String {
    let mut text = String::new();
    for panel in &PANELS {
        let _ = writeln!(text, "{}", panel.title);
        let most = most(panel, curve);
        for point in curve {
            let value = (panel.value)(point);
            // Never negative, and never longer than the longest.
            let bar = "#".repeat((BAR * value / most).round() as usize);
            let _ = writeln!(text, "{:>7} {bar} {value:.1}", point.proxies);
        }
    }
    text
}

/// As an image: a panel beside the other, each from zero.
pub(super) fn svg(curve: &[Point]) -> String {
    let (step, height) = (WIDTH + 2.0 * MARGIN, HEIGHT + 2.0 * MARGIN);
    let width = step * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let widest = curve.iter().map(|point| point.proxies).max().unwrap_or(1).max(1);
    for (number, panel) in PANELS.iter().enumerate() {
        let (left, bottom) = (step * number as f64 + MARGIN, MARGIN + HEIGHT);
        let most = most(panel, curve);
        let place = |point: &Point| {
            let x = left + WIDTH * f64::from(point.proxies) / f64::from(widest);
            (x, bottom - HEIGHT * (panel.value)(point) / most)
        };
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"{}\">{}</text>", MARGIN - 14.0, panel.title);
        let _ = writeln!(svg, "<path d=\"M{left} {MARGIN}V{bottom}H{}\" fill=\"none\" stroke=\"#888\"/>", left + WIDTH);
        let line: Vec<String> = curve.iter().map(|point| place(point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"#27c\"/>", line.join(" "));
        for point in curve {
            let ((x, y), value) = (place(point), (panel.value)(point));
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#27c\"/>");
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.1}</text>", y - 7.0);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                bottom + 15.0,
                point.proxies
            );
        }
    }
    svg + "</svg>\n"
}

/// The top of a panel, never 0.
fn most(panel: &Panel, curve: &[Point]) -> f64 {
    curve.iter().map(panel.value).fold(f64::MIN_POSITIVE, f64::max)
}
