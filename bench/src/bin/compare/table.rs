//! The table of results, as docs/src/performance.md shows it.

use std::fmt::Write as _;

/// A bound for a figure.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// No bound: the figure only helps to interpret another one.
    None,
}

impl Bound {
    fn met(self, figure: f64) -> &'static str {
        match self {
            Self::AtLeast(bound) if figure >= bound => "yes",
            Self::AtMost(bound) if figure <= bound => "yes",
            Self::None => "",
            Self::AtLeast(_) | Self::AtMost(_) => "**no**",
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::AtMost(bound) => format!("≤ {bound}"),
            Self::None => String::new(),
        }
    }
}

struct Row {
    /// The case that measures it.
    case: &'static str,
    what: String,
    cfgsync: String,
    ceiling: String,
    figure: String,
    bound: Bound,
    met: &'static str,
}

#[derive(Default)]
pub(crate) struct Table {
    case: &'static str,
    rows: Vec<Row>,
}

impl Table {
    /// Begins the rows of a case.
    pub(crate) fn begin(&mut self, case: &'static str) {
        self.case = case;
    }

    /// Adds a row with two measured values and the figure computed from them.
    pub(crate) fn pair(
        &mut self,
        what: impl Into<String>,
        unit: &str,
        (cfgsync, ceiling): (f64, f64),
        figure: f64,
        bound: Bound,
    ) {
        self.rows.push(Row {
            case: self.case,
            what: what.into(),
            cfgsync: quantity(cfgsync, unit),
            ceiling: quantity(ceiling, unit),
            figure: number(figure),
            bound,
            met: bound.met(figure),
        });
    }

    /// Adds a row with a value of cfgsync alone, which is also its figure.
    pub(crate) fn single(&mut self, what: impl Into<String>, unit: &str, value: f64, bound: Bound) {
        self.rows.push(Row {
            case: self.case,
            what: what.into(),
            cfgsync: quantity(value, unit),
            ceiling: "–".to_owned(),
            figure: number(value),
            bound,
            met: bound.met(value),
        });
    }

    pub(crate) fn markdown(&self, pairs: usize, fetches: usize) -> String {
        let mut text = format!(
            "Medians of {pairs} interleaved pairs, {fetches} random fetches each, {} processors.\n\n\
             | case | what | cfgsync | ceiling | figure | bound | met |\n\
             | --- | --- | --- | --- | --- | --- | --- |",
            std::thread::available_parallelism().map_or(1, usize::from),
        );
        for row in &self.rows {
            let Row {
                case,
                what,
                cfgsync,
                ceiling,
                figure,
                bound,
                met,
            } = row;
            let bound = bound.text();
            let _ = write!(
                text,
                "\n| `{case}` | {what} | {cfgsync} | {ceiling} | {figure} | {bound} | {met} |"
            );
        }
        text
    }
}

fn quantity(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value)).trim_end().to_owned()
}

/// Formats a number with three significant digits.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Returns the median of the samples: the middle one, or the mean of the two middle ones.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => samples[middle],
        _ => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Table, median, number};

    #[test]
    fn median_is_the_middle_or_the_mean_of_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn missed_bounds_are_marked() {
        let mut table = Table::default();
        table.begin("storm");
        table.pair(
            "fetches",
            "/s",
            (80_000.0, 100_000.0),
            0.8,
            Bound::AtLeast(0.85),
        );
        table.single("size", "MB", 7.5, Bound::AtMost(10.0));
        let text = table.markdown(5, 10);
        assert!(
            text.contains("| `storm` | fetches | 80000 /s | 100000 /s | 0.800 | ≥ 0.85 | **no** |")
        );
        assert!(text.contains("| `storm` | size | 7.50 MB | – | 7.50 | ≤ 10 | yes |"));
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        assert_eq!(
            [number(0.5), number(12.34), number(1234.5)],
            ["0.500", "12.3", "1234"]
        );
    }
}
