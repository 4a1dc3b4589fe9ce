//! A flight record as an SVG image: one row for each node, with the waits above. It has no script and no external
//! resource, and follows the colour scheme of the reader.

mod rows;

use cfgsync_support::clock::Timestamp;
use cfgsync_wire::{RecordBody, RecordOutcome, RecordWait};

use super::{timeline, xml::escape};
use rows::{Row, rows};

/// The width of the image, in pixels.
const WIDTH: f64 = 1120.0;
/// The left and the right end of the time axis.
const LEFT: f64 = 214.0;
const RIGHT: f64 = 940.0;
/// The margin of the image.
const MARGIN: f64 = 24.0;
/// The height of a row, and of the bar in it.
const ROW: f64 = 20.0;
const BAR: f64 = 10.0;
/// The width from which a band of waits has a text.
const BAND_MIN: f64 = 56.0;
/// The longest label of a row and of a line of text, in characters.
const LABEL_MAX_CHARS: usize = 25;
const MESSAGE_MAX_CHARS: usize = 140;
/// The width of a character, for deciding whether a text fits. Real ones are narrower on average.
const CHARACTER_WIDTH: f64 = 6.6;

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{--page:#ffffff;--text:#1f2328;--soft:#59636e;--line:#d8dee4;--stripe:#f6f8fa;--wait:#d4a72c;--deliver:#0969da;\
--run:#1a7f37;--bad:#cf222e;--seal:#6639ba;--render:#8250df;--none:#afb8c1;\
font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
@media(prefers-color-scheme:dark){svg{--page:#0d1117;--text:#e6edf3;--soft:#9198a1;--line:#30363d;--stripe:#151b23;\
--wait:#bb8009;--deliver:#4493f8;--run:#3fb950;--bad:#f85149;--seal:#ab7df8;--render:#ab7df8;--none:#656c76}}\
text{fill:var(--text)}.page{fill:var(--page)}.soft{fill:var(--soft)}.title{font-size:19px;font-weight:600}\
.bad{fill:var(--bad)}.stripe{fill:var(--stripe)}.grid{stroke:var(--line)}.wait{fill:var(--wait)}\
.deliver{fill:var(--deliver)}.run{fill:var(--run)}.none{fill:var(--none)}.light{opacity:.38}\
.render{fill:var(--render);opacity:.16}.seal{stroke:var(--seal);stroke-width:1.5}.sealtext{fill:var(--seal);font-weight:600}\
.band{fill:var(--wait);opacity:.22}.band2{fill:var(--wait);opacity:.38}\
.cross{stroke:var(--bad);stroke-width:2.2;stroke-linecap:round}\
.mark{fill:var(--run);stroke:var(--page);stroke-width:1.5}";

/// The scale of the time axis.
struct Axis {
    /// The length of the axis, in seconds.
    length: f64,
    /// The distance between two ticks, in seconds.
    step: f64,
}

pub(super) fn svg(record: &RecordBody) -> String {
    let axis = Axis::new(timeline::offset(record, end_of(record)));
    let rows = rows(record);
    let top = 150.0;
    let bottom = top + ROW * (rows.len().max(1)) as f64;
    let height = bottom + 58.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        escape(&heading(record))
    );
    header(record, &mut svg);
    stripes(rows.len(), top, &mut svg);
    ticks(&axis, top, bottom, &mut svg);
    render_band(record, &axis, top, bottom, &mut svg);
    waits(record, &axis, top - 44.0, &mut svg);
    for (at, row) in rows.iter().enumerate() {
        draw_row(record, row, &axis, top + ROW * at as f64, &mut svg);
    }
    if rows.is_empty() {
        text(&mut svg, "soft", LEFT, top + 14.0, "start", "no nodes");
    }
    seal_line(record, &axis, top, bottom, &mut svg);
    legend(bottom + 40.0, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

impl Axis {
    fn new(length: f64) -> Self {
        // A record in which everything happened at once still has an axis.
        let length = length.max(0.001) * 1.02;
        let rough = length / 9.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let steps = if rough < 10.0 {
            vec![1.0, 2.0, 5.0, 10.0]
                .into_iter()
                .map(|step| step * magnitude)
                .collect()
        } else {
            vec![
                10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
                21_600.0, 43_200.0, 86_400.0,
            ]
        };
        let fits = steps.iter().copied().find(|step| *step >= rough * 0.999);
        // Longer records have whole days.
        let days = 86_400.0 * (rough / 86_400.0).ceil();
        Self {
            length,
            step: fits.unwrap_or(days),
        }
    }

    /// Returns the position of a time.
    fn x(&self, seconds: f64) -> f64 {
        let part = (seconds / self.length).clamp(0.0, 1.0);
        LEFT + (RIGHT - LEFT) * part
    }

    /// Returns the label of a tick.
    fn label(&self, seconds: f64) -> String {
        if self.step >= 60.0 {
            let whole = whole(seconds.round());
            let (hours, minutes) = (whole / 3600, whole % 3600 / 60);
            return match (hours, minutes) {
                (0, minutes) => format!("{minutes} min"),
                (hours, 0) => format!("{hours} h"),
                (hours, minutes) => format!("{hours} h {minutes:02}"),
            };
        }
        if self.length < 1.0 {
            let decimals = usize::from(self.step < 0.001);
            return format!("{:.decimals$} ms", seconds * 1000.0);
        }
        let decimals = usize::from(self.step < 1.0);
        format!("{seconds:.decimals$} s")
    }
}

/// Returns the end of the axis: the last time of the record.
fn end_of(record: &RecordBody) -> Timestamp {
    let nodes = record.nodes.iter();
    let times = nodes.flat_map(|node| {
        let phases = node.phases.iter().map(|report| report.at);
        [node.registered_at, node.delivered_at]
            .into_iter()
            .chain(phases)
    });
    let last = times.flatten().max();
    record.ended_at.max(last.unwrap_or(record.ended_at))
}

fn heading(record: &RecordBody) -> String {
    match record.generation {
        Some(number) => format!("{}: generation {number}", record.cluster),
        None => format!("{}: no generation", record.cluster),
    }
}

fn header(record: &RecordBody, svg: &mut String) {
    let is_bad = record.outcome != RecordOutcome::Sealed;
    text(svg, "title", MARGIN, 38.0, "start", &heading(record));
    let class = if is_bad { "bad" } else { "" };
    text(
        svg,
        class,
        MARGIN,
        60.0,
        "start",
        &shortened(&record.message, MESSAGE_MAX_CHARS),
    );
    let began = timeline::beginning(record);
    let mut facts = format!("from {began:.3}");
    if let Some(render) = &record.render {
        facts.push_str(&format!(", {} files, {} bytes", render.files, render.bytes));
        if let Some(took) = render.seconds {
            facts.push_str(&format!(", rendered in {took:.3} s"));
        }
    }
    if !record.complete {
        facts.push_str("; the history does not reach back to the beginning");
    }
    text(svg, "soft", MARGIN, 79.0, "start", &facts);
}

fn stripes(rows: usize, top: f64, svg: &mut String) {
    for at in (0..rows).step_by(2) {
        let y = top + ROW * at as f64;
        svg.push_str(&format!(
            "<rect class=\"stripe\" x=\"{MARGIN}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{ROW}\" rx=\"3\"/>\n",
            WIDTH - 2.0 * MARGIN
        ));
    }
}

fn ticks(axis: &Axis, top: f64, bottom: f64, svg: &mut String) {
    let count = whole(axis.length / axis.step);
    for tick in 0..=count {
        let seconds = axis.step * f64::from(tick);
        let x = axis.x(seconds);
        line(svg, "grid", (x, top - 6.0), (x, bottom));
        text(
            svg,
            "soft",
            x,
            bottom + 16.0,
            "middle",
            &axis.label(seconds),
        );
    }
}

/// Draws the time of the render behind the rows.
fn render_band(record: &RecordBody, axis: &Axis, top: f64, bottom: f64, svg: &mut String) {
    let Some(render) = &record.render else {
        return;
    };
    let (Some(at), Some(took)) = (render.started_at, render.seconds) else {
        return;
    };
    let start = timeline::offset(record, at);
    let (from, to) = (axis.x(start), axis.x(start + took));
    let tip = format!("rendering took {took:.3} s");
    bar(
        svg,
        "render",
        (from, to),
        top - 6.0,
        bottom - top + 6.0,
        &tip,
    );
}

fn seal_line(record: &RecordBody, axis: &Axis, top: f64, bottom: f64, svg: &mut String) {
    let Some(at) = record.sealed_at else {
        return;
    };
    let seconds = timeline::offset(record, at);
    let x = axis.x(seconds);
    line(svg, "seal", (x, top - 16.0), (x, bottom));
    let label = format!("sealed {}", duration(seconds));
    // Near the right end, the label stands on the other side of the line.
    let (x, anchor) = if x > RIGHT - 90.0 {
        (x - 5.0, "end")
    } else {
        (x + 5.0, "start")
    };
    text(svg, "sealtext", x, top - 9.0, anchor, &label);
}

/// Draws what was waited for, above the rows. Waits that are too short for a text share a band.
fn waits(record: &RecordBody, axis: &Axis, y: f64, svg: &mut String) {
    if record.waits.is_empty() {
        return;
    }
    text(svg, "soft", LEFT - 12.0, y + 13.0, "end", "waiting for");
    let ends = |wait: &RecordWait| {
        let from = timeline::offset(record, wait.at);
        (
            axis.x(from),
            axis.x(from + wait.seconds.unwrap_or_default()),
        )
    };
    let mut rest = record.waits.as_slice();
    let mut is_even = true;
    while let Some(first) = rest.first() {
        let from = ends(first).0;
        let is_wide = |wait: &RecordWait| ends(wait).1 - from >= BAND_MIN;
        let end = rest.iter().position(is_wide).unwrap_or(rest.len() - 1);
        let last = &rest[end];
        rest = &rest[end + 1..];
        let to = ends(last).1;
        let class = if is_even { "band" } else { "band2" };
        is_even = !is_even;
        let mut tip = first.message.clone();
        if end > 0 {
            tip.push_str(&format!("\nto {}", last.message));
        } else if let Some(took) = first.seconds {
            tip.push_str(&format!("\nfor {}", duration(took)));
        }
        bar(svg, class, (from, to), y, 18.0, &tip);
        let fits = whole((to - from - 10.0) / CHARACTER_WIDTH) as usize;
        if fits >= 6 {
            let label = shortened(&first.message, fits);
            // The tooltip belongs to the band, so the text lets the pointer through.
            svg.push_str(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" pointer-events=\"none\">{}</text>\n",
                from + 5.0,
                y + 13.0,
                escape(&label)
            ));
        }
    }
}

fn draw_row(record: &RecordBody, row: &Row, axis: &Axis, y: f64, svg: &mut String) {
    let class = if row.is_bad { "bad" } else { "" };
    svg.push_str(&format!("<g><title>{}</title>\n", escape(&row.tip)));
    // The whole row shows the tooltip.
    svg.push_str(&format!(
        "<rect x=\"{MARGIN}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{ROW}\" fill=\"transparent\"/>\n",
        WIDTH - 2.0 * MARGIN
    ));
    let middle = y + ROW / 2.0;
    let label = shortened(&row.label, LABEL_MAX_CHARS);
    text(svg, class, LEFT - 12.0, middle + 4.0, "end", &label);
    text(svg, class, RIGHT + 14.0, middle + 4.0, "start", &row.result);
    for span in &row.spans {
        let (from, to) = (axis.x(span.from), axis.x(span.to));
        let class = if span.is_light {
            format!("{} light", span.class)
        } else {
            span.class.to_owned()
        };
        plain_bar(svg, &class, (from, to), middle - BAR / 2.0, BAR);
    }
    for mark in &row.marks {
        let x = axis.x(timeline::offset(record, mark.at));
        if mark.is_bad {
            line(
                svg,
                "cross",
                (x - 4.0, middle - 4.0),
                (x + 4.0, middle + 4.0),
            );
            line(
                svg,
                "cross",
                (x - 4.0, middle + 4.0),
                (x + 4.0, middle - 4.0),
            );
        } else {
            svg.push_str(&format!(
                "<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"4.5\"/>\n"
            ));
        }
    }
    svg.push_str("</g>\n");
}

fn legend(y: f64, svg: &mut String) {
    let mut x = LEFT;
    let entries = [
        ("wait", "registered, waiting"),
        ("deliver", "sealed, until delivery"),
        ("run", "delivered, until the last phase"),
        ("none", "not served"),
    ];
    for (class, label) in entries {
        plain_bar(svg, class, (x, x + 18.0), y - 9.0, BAR);
        text(svg, "soft", x + 24.0, y, "start", label);
        x += 46.0 + label.len() as f64 * 6.1;
    }
    svg.push_str(&format!(
        "<circle class=\"mark\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"/>\n",
        x + 4.0,
        y - 4.0
    ));
    text(svg, "soft", x + 13.0, y, "start", "phase");
    x += 66.0;
    line(svg, "cross", (x - 4.0, y - 8.0), (x + 4.0, y));
    line(svg, "cross", (x - 4.0, y), (x + 4.0, y - 8.0));
    text(svg, "soft", x + 11.0, y, "start", "failed");
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    let anchor = match anchor {
        "start" => String::new(),
        anchor => format!(" text-anchor=\"{anchor}\""),
    };
    let text = escape(text);
    svg.push_str(&format!(
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{text}</text>\n"
    ));
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    svg.push_str(&format!(
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    ));
}

fn bar(svg: &mut String, class: &str, x: (f64, f64), y: f64, height: f64, tip: &str) {
    svg.push_str(&format!("<g><title>{}</title>", escape(tip)));
    plain_bar(svg, class, x, y, height);
    svg.push_str("</g>\n");
}

fn plain_bar(svg: &mut String, class: &str, (from, to): (f64, f64), y: f64, height: f64) {
    // A moment is still visible.
    let width = (to - from).max(1.5);
    svg.push_str(&format!(
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\"/>\n"
    ));
}

/// Returns the whole part of a number. Negative numbers give zero.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and the fraction is left out on purpose"
)]
fn whole(number: f64) -> u32 {
    number as u32
}

/// Returns a time in seconds with a sensible precision.
fn duration(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 100.0 {
        format!("{seconds:.2} s")
    } else {
        let whole = whole(seconds.round());
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Returns `text` with at most `max` characters.
fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{Axis, duration};

    #[test]
    fn ticks_are_round_and_few() {
        let lengths = [
            0.0, 0.004, 0.05, 0.7, 1.0, 3.3, 12.0, 59.0, 100.0, 3600.0, 90_000.0, 1e7,
        ];
        for length in lengths {
            let axis = Axis::new(length);
            let ticks = axis.length / axis.step;
            assert!((1.0..=10.0).contains(&ticks), "{length}: {ticks} ticks");
        }
        assert_eq!(Axis::new(0.05).label(0.02), "20 ms");
        assert_eq!(Axis::new(3.3).label(1.5), "1.5 s");
        assert_eq!(Axis::new(90.0).label(40.0), "40 s");
        assert_eq!(Axis::new(5400.0).label(1200.0), "20 min");
        assert_eq!(Axis::new(20_000.0).label(7200.0), "2 h");
    }

    #[test]
    fn durations_have_a_sensible_precision() {
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(2.3456), "2.35 s");
        assert_eq!(duration(125.4), "2 min 05 s");
    }
}
