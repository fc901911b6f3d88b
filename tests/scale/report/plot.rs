//! The curve, drawn: how cost grows with the fleet.

use std::fmt::Write as _;

use super::{MEMORY_KIB, REACHES, RECONNECT, mib, millis};
use crate::scenarios::Point;

/// The size of one panel in pixels, and the room around it: on the left for figures, above for what it shows.
const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 62.0;
const BELOW: f64 = 46.0;
/// Lines across a panel, above the lowest.
const LINES: u32 = 4;
/// The longest bar of text, in characters.
const BAR: f64 = 40.0;

/// One thing that is drawn over the number of proxies.
struct Panel {
    title: &'static str,
    unit: &'static str,
    value: fn(&Point) -> f64,
    /// What it has to stay below.
    target: fn() -> f64,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "a change reaches the last proxy, p99",
        unit: "ms",
        value: |point| millis(point.p99),
        target: || millis(REACHES),
    },
    Panel {
        title: "all proxies reconnect at once",
        unit: "s",
        value: |point| point.reconnect.as_secs_f64(),
        target: || RECONNECT.as_secs_f64(),
    },
    Panel { title: "resident memory", unit: "MiB", value: |point| mib(point.rss), target: || mib(MEMORY_KIB) },
    Panel {
        title: "processor time of a change",
        unit: "ms",
        value: |point| millis(point.cpu),
        target: || f64::INFINITY,
    },
];

/// As bars of text.
pub(super) fn text(curve: &[Point]) -> String {
    let mut text = String::new();
    for Panel { title, unit, value, .. } in &PANELS {
        let _ = writeln!(text, "{title} ({unit})");
        let most = curve.iter().map(value).fold(f64::MIN_POSITIVE, f64::max);
        for point in curve {
            let value = value(point);
            // Never negative, and never longer than the longest.
            let bar = "#".repeat((BAR * value / most).round() as usize);
            let _ = writeln!(text, "{:>7} {bar} {}", point.proxies, figure(value));
        }
    }
    text
}

/// As an image: a panel beside the other, each from zero. `about`: what was measured.
pub(super) fn svg(about: &str, curve: &[Point]) -> String {
    let (step, height) = (LEFT + WIDTH + RIGHT, ABOVE + HEIGHT + BELOW);
    let width = step * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" \
         fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" fill=\"#555\">{about}</text>\n"
    );
    let mut left = LEFT;
    for panel in &PANELS {
        panel.draw(&mut svg, left, curve);
        left += step;
    }
    svg + "</svg>\n"
}

impl Panel {
    fn draw(&self, svg: &mut String, left: f64, curve: &[Point]) {
        let (right, bottom) = (left + WIDTH, ABOVE + HEIGHT);
        let line = line_step(curve.iter().map(self.value).fold(0.0, f64::max));
        let top = line * f64::from(LINES);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>", ABOVE - 22.0, self.title);
        let (unit, target) = (self.unit, (self.target)());
        let target = if target.is_finite() { format!("{unit}; to stay under {}", figure(target)) } else { unit.into() };
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"{}\" fill=\"#555\">{target}</text>", ABOVE - 8.0);
        for number in 0..=LINES {
            let value = line * f64::from(number);
            let y = bottom - HEIGHT * value / top;
            let color = if number == 0 { "#888" } else { "#ddd" };
            let _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"{color}\"/>");
            text_at(svg, (left - 6.0, y + 4.0), "end", "#555", &figure(value));
        }
        let widest = curve.iter().map(|point| point.proxies).max().unwrap_or(1).max(1);
        let place = |point: &Point| {
            let x = left + WIDTH * f64::from(point.proxies) / f64::from(widest);
            (x, bottom - HEIGHT * (self.value)(point) / top)
        };
        let path: Vec<String> = curve.iter().map(&place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ =
            writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"#27c\" stroke-width=\"2\"/>", path.join(" "));
        for point in curve {
            let (x, y) = place(point);
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"#27c\"/>");
            text_at(svg, (x, y - 8.0), "middle", "#000", &figure((self.value)(point)));
            text_at(svg, (x, bottom + 15.0), "middle", "#555", &point.proxies.to_string());
        }
        text_at(svg, (left + WIDTH / 2.0, bottom + 32.0), "middle", "#555", "proxies");
    }
}

fn text_at(svg: &mut String, (x, y): (f64, f64), anchor: &str, color: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{text}</text>");
}

/// A round distance of lines, so that the highest is not below `most`, and has room for a figure above a point.
fn line_step(most: f64) -> f64 {
    let least = (most * 1.1 / f64::from(LINES)).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= least).unwrap_or(10.0);
    factor * power
}

/// With as many digits as tell something.
fn figure(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        10.0..100.0 => format!("{value:.1}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => format!("{value:.0}"),
    }
}
