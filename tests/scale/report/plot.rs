//! The curve, drawn: how cost grows with the fleet.

use std::fmt::Write as _;

use weft_tests::plot::{Mark, Sheet, figure};

use super::{MEMORY_KIB, REACHES, RECONNECT, mib, millis};
use crate::scenarios::Point;

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

/// As an image: a panel beside the other. `about`: what was measured.
pub(super) fn svg(about: &str, curve: &[Point]) -> String {
    let mut sheet = Sheet::new(about, PANELS.len(), PANELS.len());
    for panel in &PANELS {
        panel.draw(&mut sheet, curve);
    }
    sheet.finish()
}

impl Panel {
    fn draw(&self, sheet: &mut Sheet, curve: &[Point]) {
        let (unit, target) = (self.unit, (self.target)());
        let under = if target.is_finite() { format!("{unit}; to stay under {}", figure(target)) } else { unit.into() };
        let most = curve.iter().map(self.value).fold(0.0, f64::max);
        let widest = curve.iter().map(|point| point.proxies).max().unwrap_or(1).max(1);
        let mark = |point: &Point| Mark {
            at: f64::from(point.proxies) / f64::from(widest),
            value: (self.value)(point),
            label: point.proxies.to_string(),
        };
        let mut panel = sheet.panel(self.title, &under, most);
        panel.curve(&curve.iter().map(mark).collect::<Vec<_>>());
        panel.caption("proxies");
    }
}
