//! Small charts as SVG: panels in rows, each from zero.

use std::fmt::Write as _;

/// The size of one panel's chart in pixels, and the room around it: on the left for figures, above for what it shows.
const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 36.0;
const BELOW: f64 = 46.0;
/// The room above all panels.
const HEAD: f64 = 26.0;
/// From one panel to the next.
const STEP: f64 = LEFT + WIDTH + RIGHT;
const ROW: f64 = ABOVE + HEIGHT + BELOW;
/// Lines across a panel, above the lowest.
const LINES: u32 = 4;
/// Most of a bar's share of the room that there is for it.
const BAR: f64 = 0.6;
const GREY: &str = "#555";
const CURVE: &str = "#27c";

/// A picture in the making.
#[derive(Debug)]
pub struct Sheet {
    svg: String,
    columns: usize,
    drawn: usize,
}

/// A point of a curve.
#[derive(Clone, Debug)]
pub struct Mark {
    /// How far to the right, as a share of the panel's width.
    pub at: f64,
    /// How high.
    pub value: f64,
    /// What stands under it.
    pub label: String,
}

/// One bar of several.
#[derive(Clone, Debug)]
pub struct Bar {
    /// How high.
    pub value: f64,
    /// What stands under it.
    pub label: String,
    /// As SVG names it.
    pub color: &'static str,
}

impl Sheet {
    /// A picture with room for so many panels, `columns` of them in a row. `about`: what was measured.
    pub fn new(about: &str, panels: usize, columns: usize) -> Self {
        let columns = columns.clamp(1, panels.max(1));
        let width = STEP * columns as f64;
        let height = HEAD + ROW * panels.max(1).div_ceil(columns) as f64;
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
             {height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" \
             fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" fill=\"{GREY}\">{about}</text>\n"
        );
        Self { svg, columns, drawn: 0 }
    }

    /// The next panel, with its lines: from zero to somewhat more than `most`. `under` stands under the title.
    pub fn panel(&mut self, title: &str, under: &str, most: f64) -> Panel<'_> {
        let (column, row) = (self.drawn % self.columns, self.drawn / self.columns);
        self.drawn += 1;
        let left = LEFT + STEP * column as f64;
        let upper = HEAD + ROW * row as f64 + ABOVE;
        let line = line_step(most);
        let panel = Panel { svg: &mut self.svg, left, bottom: upper + HEIGHT, top: line * f64::from(LINES) };
        let _ = writeln!(panel.svg, "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}</text>", upper - 22.0);
        let _ = writeln!(panel.svg, "<text x=\"{left}\" y=\"{}\" fill=\"{GREY}\">{under}</text>", upper - 8.0);
        for number in 0..=LINES {
            let value = line * f64::from(number);
            let (y, right) = (panel.height(value), left + WIDTH);
            let color = if number == 0 { "#888" } else { "#ddd" };
            let _ = writeln!(panel.svg, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"{color}\"/>");
            text_at(panel.svg, (left - 6.0, y + 4.0), "end", GREY, &figure(value));
        }
        panel
    }

    /// The whole picture.
    pub fn finish(self) -> String {
        self.svg + "</svg>\n"
    }
}

/// A panel to draw in.
#[derive(Debug)]
pub struct Panel<'a> {
    svg: &'a mut String,
    left: f64,
    bottom: f64,
    /// The value at its upper edge.
    top: f64,
}

impl Panel<'_> {
    /// A line through all points, each with its value.
    pub fn curve(&mut self, marks: &[Mark]) {
        let places: Vec<(f64, f64)> =
            marks.iter().map(|mark| (self.left + WIDTH * mark.at, self.height(mark.value))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ = writeln!(self.svg, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{CURVE}\" stroke-width=\"2\"/>");
        for (mark, (x, y)) in marks.iter().zip(places) {
            let _ = writeln!(self.svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{CURVE}\"/>");
            text_at(self.svg, (x, y - 8.0), "middle", "#000", &figure(mark.value));
            text_at(self.svg, (x, self.bottom + 15.0), "middle", GREY, &mark.label);
        }
    }

    /// Bars side by side, each with its value. What is less than nothing has none.
    pub fn bars(&mut self, bars: &[Bar]) {
        let room = WIDTH / bars.len().max(1) as f64;
        for (number, Bar { value, label, color }) in bars.iter().enumerate() {
            let middle = self.left + room * (number as f64 + 0.5);
            let (x, y, width) = (middle - room * BAR / 2.0, self.height(value.max(0.0)), room * BAR);
            let height = self.bottom - y;
            let _ = writeln!(
                self.svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
            );
            text_at(self.svg, (middle, y - 5.0), "middle", "#000", &figure(*value));
            text_at(self.svg, (middle, self.bottom + 15.0), "middle", GREY, label);
        }
    }

    /// A line across, not to be exceeded.
    pub fn limit(&mut self, value: f64, color: &str) {
        let (left, y, right) = (self.left, self.height(value), self.left + WIDTH);
        let _ = writeln!(self.svg, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"{color}\" stroke-dasharray=\"5 3\"/>");
    }

    /// What the labels stand for, below them.
    pub fn caption(&mut self, text: &str) {
        text_at(self.svg, (self.left + WIDTH / 2.0, self.bottom + 32.0), "middle", GREY, text);
    }

    fn height(&self, value: f64) -> f64 {
        self.bottom - HEIGHT * value / self.top
    }
}

/// With as many digits as tell something.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => return format!("{value:.0}"),
    };
    let text = format!("{value:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
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

#[cfg(test)]
mod tests;
