//! Plots as small SVG files, written by hand: they are legible as text and in both colour schemes.

use std::fmt::Write;

use crate::summary::Spread;

/// Ours, and then the others in turn.
const COLOURS: [&str; 7] = [
    "#d95f02", "#1b6ca8", "#5a9e6f", "#8e6bb0", "#9c8b57", "#6b7b8c", "#b05a7a",
];
const GREY: &str = "#888888";
const WIDTH: f64 = 720.0;

/// One bar with its spread.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What stands to its left.
    pub label: String,
    /// Its length is the median; the whisker goes from the lowest to the highest.
    pub value: Spread,
    /// Whether it is modelpool's.
    pub is_ours: bool,
}

/// Horizontal bars from 0 on, with their medians at their ends.
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let (row, top_edge, labels, right) = (26.0, 44.0, 250.0, 90.0);
    let height = top_edge + row * bars.len() as f64 + 12.0;
    let most = bars.iter().map(|bar| bar.value.max).fold(0.0, f64::max);
    let scale = (WIDTH - labels - right) / if most > 0.0 { most } else { 1.0 };
    let mut svg = begin(height, &format!("{title}, {unit}"));
    for (number, bar) in bars.iter().enumerate() {
        let top = top_edge + row * number as f64;
        let middle = top + row / 2.0 - 2.0;
        let length = bar.value.median * scale;
        let (low, high) = (bar.value.min * scale, bar.value.max * scale);
        let colour = COLOURS[usize::from(!bar.is_ours)];
        text(&mut svg, labels - 8.0, middle + 4.0, "end", &bar.label);
        shape(
            &mut svg,
            &format!(
                "rect x='{labels}' y='{top}' width='{length:.1}' height='{}' fill='{colour}'",
                row - 6.0
            ),
        );
        shape(
            &mut svg,
            &format!(
                "path d='M{:.1} {middle}H{:.1}' stroke='{GREY}' stroke-width='2'",
                labels + low,
                labels + high
            ),
        );
        let end = labels + high.max(length) + 6.0;
        text(
            &mut svg,
            end,
            middle + 4.0,
            "start",
            &short(bar.value.median),
        );
    }
    svg + "</svg>\n"
}

/// One line over a logarithmic axis.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows.
    pub label: String,
    /// Its points, the first coordinate above 0.
    pub points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic axis, the other axis from 0 on.
pub fn lines(title: &str, unit: &str, across: &str, lines: &[Line]) -> String {
    let (top, left, right, tall) = (44.0, 70.0, 20.0, 240.0);
    let bottom = top + tall;
    let height = bottom + 48.0 + 18.0 * lines.len() as f64;
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let first = points().map(|(x, _)| x.log10()).fold(f64::MAX, f64::min);
    let last = points().map(|(x, _)| x.log10()).fold(f64::MIN, f64::max);
    let most = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let wide = WIDTH - left - right;
    let at = |x: f64, y: f64| {
        let share = (x.log10() - first) / (last - first).max(f64::EPSILON);
        (left + share * wide, bottom - y / most * tall)
    };
    let mut svg = begin(height, &format!("{title}, {unit}"));
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let y = bottom - tall * f64::from(step) / 4.0;
        shape(
            &mut svg,
            &format!("path d='M{left} {y}h{wide}' stroke='{GREY}' stroke-opacity='.3'"),
        );
        text(&mut svg, left - 6.0, y + 4.0, "end", &short(value));
    }
    let mut ticks: Vec<f64> = points().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        text(
            &mut svg,
            at(tick, 0.0).0,
            bottom + 16.0,
            "middle",
            &short(tick),
        );
    }
    text(&mut svg, left + wide / 2.0, bottom + 34.0, "middle", across);
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut path = String::new();
        for (x, y) in &line.points {
            let (x, y) = at(*x, *y);
            let stroke = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{stroke}{x:.1} {y:.1}");
            shape(
                &mut svg,
                &format!("circle cx='{x:.1}' cy='{y:.1}' r='3' fill='{colour}'"),
            );
        }
        shape(
            &mut svg,
            &format!("path d='{path}' fill='none' stroke='{colour}' stroke-width='2'"),
        );
        let y = bottom + 52.0 + 18.0 * number as f64;
        shape(
            &mut svg,
            &format!(
                "rect x='{left}' y='{}' width='14' height='4' fill='{colour}'",
                y - 6.0
            ),
        );
        text(&mut svg, left + 22.0, y, "start", &line.label);
    }
    svg + "</svg>\n"
}

fn begin(height: f64, title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
         font-family='sans-serif' font-size='13' fill='{GREY}'>\n"
    );
    text(&mut svg, 12.0, 24.0, "start", title);
    svg
}

// Writing into a string cannot fail.
fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{words}</text>"
    );
}

fn shape(svg: &mut String, shape: &str) {
    let _ = writeln!(svg, "<{shape}/>");
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value {
        _ if value >= 100.0 || value == value.round() => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
