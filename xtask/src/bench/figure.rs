//! Figures: what was measured, how often, and how it is written.

use std::time::{Duration, Instant};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
    /// Kibibytes.
    Kib,
    /// How many in a second.
    PerSecond,
    /// How many.
    Count,
}

impl Unit {
    /// A number of it, short enough for a table.
    #[must_use]
    pub fn write(self, number: f64) -> String {
        match self {
            Self::Micros if number >= 1e6 => format!("{:.2} s", number / 1e6),
            Self::Micros if number >= 1e3 => format!("{} ms", rounded(number / 1e3)),
            Self::Micros => format!("{} µs", rounded(number)),
            Self::Nanos => format!("{} ns", rounded(number)),
            Self::Kib if number >= 1024.0 => format!("{} MiB", rounded(number / 1024.0)),
            Self::Kib => format!("{} KiB", rounded(number)),
            Self::PerSecond => format!("{}/s", rounded(number)),
            Self::Count => rounded(number),
        }
    }
}

/// Three digits at most after what matters.
fn rounded(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Numbers of one kind, taken one after the other.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        self.0.push(number);
    }

    /// Adds a length of time, in microseconds.
    pub fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64() * 1e6);
    }

    /// Every number with `change` done to it.
    #[must_use]
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().copied().map(change).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number that `hundredths` of the others lie below; zero if there are none.
    #[must_use]
    pub fn percentile(&self, hundredths: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * hundredths / 100).copied().unwrap_or(0.0)
    }

    /// The middle one.
    #[must_use]
    pub fn p50(&self) -> f64 {
        self.percentile(50)
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

/// How long `work` takes, and what it answers.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let since = Instant::now();
    let answer = work();
    (since.elapsed(), answer)
}

/// What a figure is measured against, in the same run.
#[derive(Debug, Clone)]
pub struct Yardstick {
    /// What it is.
    pub name: String,
    /// What it took.
    pub p50: f64,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// No more than the yardstick and this.
    AtMostBeyond(f64),
    /// No more than so many times the yardstick.
    AtMostTimes(f64),
    /// No less than so many times the yardstick.
    AtLeastTimes(f64),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What its numbers count.
    pub unit: Unit,
    /// The numbers.
    pub series: Series,
    /// What it is measured against.
    pub yardstick: Option<Yardstick>,
    /// What it should be.
    pub goal: Option<Goal>,
}

impl Row {
    /// A figure by itself.
    pub fn new(what: impl Into<String>, unit: Unit, series: Series) -> Self {
        Self {
            what: what.into(),
            unit,
            series,
            yardstick: None,
            goal: None,
        }
    }

    /// The same with what it is measured against.
    #[must_use]
    pub fn against(mut self, name: impl Into<String>, series: &Series) -> Self {
        self.yardstick = Some(Yardstick {
            name: name.into(),
            p50: series.p50(),
        });
        self
    }

    /// The same with what it should be.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Whether it is what it should be; none if nothing is asked of it.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let figure = self.series.p50();
        let beside = self
            .yardstick
            .as_ref()
            .map_or(0.0, |yardstick| yardstick.p50);
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => figure <= most,
            Goal::AtLeast(least) => figure >= least,
            Goal::AtMostBeyond(more) => figure <= beside + more,
            Goal::AtMostTimes(times) => figure <= beside * times,
            Goal::AtLeastTimes(times) => figure >= beside * times,
        })
    }

    /// The cells of the table's line.
    #[must_use]
    pub fn cells(&self) -> [String; 7] {
        let (yardstick, ratio) = match &self.yardstick {
            Some(beside) => (
                format!("{}: {}", beside.name, self.unit.write(beside.p50)),
                format!("{}×", rounded(self.series.p50() / beside.p50)),
            ),
            None => (String::new(), String::new()),
        };
        [
            self.what.clone(),
            self.unit.write(self.series.p50()),
            self.unit.write(self.best_tenth()),
            self.series.len().to_string(),
            yardstick,
            ratio,
            self.verdict(),
        ]
    }

    /// What one in ten reaches: the tenth percentile of what should be small, the ninetieth of what should be large.
    fn best_tenth(&self) -> f64 {
        self.series.percentile(match self.unit {
            Unit::PerSecond | Unit::Count => 90,
            Unit::Micros | Unit::Nanos | Unit::Kib => 10,
        })
    }

    fn verdict(&self) -> String {
        let (Some(goal), Some(met)) = (self.goal, self.met()) else {
            return String::new();
        };
        let goal = match goal {
            Goal::AtMost(most) => format!("≤ {}", self.unit.write(most)),
            Goal::AtLeast(least) => format!("≥ {}", self.unit.write(least)),
            Goal::AtMostBeyond(more) => format!("≤ yardstick + {}", self.unit.write(more)),
            Goal::AtMostTimes(times) => format!("≤ {}×", rounded(times)),
            Goal::AtLeastTimes(times) => format!("≥ {}×", rounded(times)),
        };
        format!("{goal}: {}", if met { "met" } else { "**missed**" })
    }
}

/// The headings of [`Row::cells`].
pub const HEADINGS: [&str; 7] = [
    "what",
    "p50",
    "p10 (rates: p90)",
    "of",
    "yardstick (its p50)",
    "ratio",
    "goal",
];

#[cfg(test)]
mod tests {
    use super::{Goal, Row, Series, Unit};

    #[test]
    fn a_row_says_how_it_stands_to_its_yardstick_and_its_goal() {
        let ours: Series = [30.0, 10.0, 20.0].into_iter().collect();
        let theirs: Series = [40.0].into_iter().collect();
        let row = Row::new("x", Unit::Micros, ours).against("y", &theirs);
        let row = row.goal(Goal::AtMostTimes(0.4));
        assert_eq!(row.met(), Some(false));
        let cells = row.cells();
        assert_eq!(cells[1], "20.0 µs");
        assert_eq!(cells[4], "y: 40.0 µs");
        assert_eq!(cells[5], "0.50×");
        assert_eq!(row.goal(Goal::AtMostBeyond(0.0)).met(), Some(true));
    }

    #[test]
    fn percentiles_of_nothing_are_zero() {
        assert!(Series::default().p50().abs() < f64::EPSILON);
        assert!(Series::default().is_empty());
    }
}
