//! The table's lines from the bench's series: what stands beside what, and what is asked of it.

use super::probe::Probe;
use crate::bench::figure::{Goal, Row, Unit};

/// One line of the table, when its series are there.
struct Line {
    /// What was measured, in words.
    what: &'static str,
    unit: Unit,
    /// Its series.
    series: &'static str,
    /// The yardstick's name in words and its series.
    beside: Option<(&'static str, &'static str)>,
    goal: Option<Goal>,
    /// Whether the ninety-ninth hundredth of both is meant, instead of the series.
    worst: bool,
}

const fn line(what: &'static str, unit: Unit, series: &'static str) -> Line {
    Line {
        what,
        unit,
        series,
        beside: None,
        goal: None,
        worst: false,
    }
}

impl Line {
    const fn beside(mut self, words: &'static str, series: &'static str) -> Self {
        self.beside = Some((words, series));
        self
    }

    const fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    const fn worst(mut self) -> Self {
        self.worst = true;
        self
    }

    /// The row; none if its series or its yardstick's was not taken.
    fn row(&self, probe: &Probe) -> Option<Row> {
        let take = |name: &str| {
            if self.worst {
                probe.p99(name)
            } else {
                probe.get(name).cloned()
            }
        };
        let mut row = Row::new(self.what, self.unit, take(self.series)?);
        if let Some((words, series)) = self.beside {
            row = row.against(words, &take(series)?);
        }
        row.goal = self.goal;
        Some(row)
    }
}

/// Microseconds that stopping a worker may take.
const STOP: f64 = 2_000.0;
/// Microseconds that an echo may take.
const ECHO: f64 = 50.0;
/// KiB of an idle worker's own memory, and of it with what the kernel keeps for it.
const OWN_KIB: f64 = 150.0;
const ALL_KIB: f64 = 500.0;
/// Workers that fit into a GiB.
const PER_GIB: f64 = 2_000.0;

const MINIMUM: &str = "MINIMUM";
const TYPICAL: &str = "bwrap, typical, /bin/true";
const SAME: &str = "bwrap, as MINIMUM, /bin/true";

/// Every line, in order.
const LINES: &[Line] = &[
    line("cold launch", Unit::Micros, "cold")
        .beside(MINIMUM, "minimum")
        .goal(Goal::AtMostTimes(1.5)),
    line("cold launch", Unit::Micros, "cold")
        .beside(TYPICAL, "bwrap typical")
        .goal(Goal::AtMostTimes(0.35)),
    line("cold launch", Unit::Micros, "cold").beside(
        "MINIMUM with /proc, /dev, /tmp, a cgroup namespace",
        "whole",
    ),
    line("cold launch", Unit::Micros, "cold").beside(SAME, "bwrap same"),
    line("cold launch", Unit::Micros, "cold").beside("firejail, /bin/true", "firejail"),
    line("cold launch, p99", Unit::Micros, "cold")
        .beside("bwrap, typical, p99", "bwrap typical")
        .worst(),
    line("launch from the pool", Unit::Micros, "pooled")
        .beside(MINIMUM, "minimum")
        .goal(Goal::AtMostTimes(0.3)),
    line("launch from the pool", Unit::Micros, "pooled")
        .beside(TYPICAL, "bwrap typical")
        .goal(Goal::AtMostTimes(0.06)),
    line("launch from the pool", Unit::Micros, "pooled")
        .beside("a staged worker adds Landlock and the filter", "handed"),
    line(
        "launch from the pool, with the network",
        Unit::Micros,
        "pooled online",
    )
    .beside("without", "pooled"),
    line("launch from the pool, p99", Unit::Micros, "pooled")
        .beside("bwrap, typical, p99", "bwrap typical")
        .worst(),
    line("stop of a worker", Unit::Micros, "cold stop")
        .beside("MINIMUM's", "minimum stop")
        .goal(Goal::AtMost(STOP)),
    line(
        "cold launch, the daemon holding 512 MiB",
        Unit::Micros,
        "large daemon",
    )
    .beside("holding little", "small daemon")
    .goal(Goal::AtMostTimes(1.2)),
    line(
        "cold launches and stops, 8 at once",
        Unit::PerSecond,
        "together per second",
    )
    .beside("MINIMUM, 8 at once", "minimum together per second")
    .goal(Goal::AtLeastTimes(0.8)),
    line(
        "cold launch, 8 at once, p99 of a turn",
        Unit::Micros,
        "together p99",
    )
    .beside("MINIMUM's, 8 at once", "minimum together p99")
    .goal(Goal::AtMostTimes(1.5)),
    line(
        "one program: launch, `true`, stop",
        Unit::Micros,
        "program alone",
    )
    .beside("bwrap, as MINIMUM", "bwrap same program")
    .goal(Goal::AtMostTimes(0.7)),
    line(
        "one program: launch, `true`, stop",
        Unit::Micros,
        "program alone",
    )
    .beside(MINIMUM, "minimum program"),
    line(
        "`true` in a worker that is there",
        Unit::Micros,
        "program resident",
    )
    .beside("bwrap, as MINIMUM", "bwrap same program"),
    line("call of echo, 200 B", Unit::Micros, "echo confined").goal(Goal::AtMost(ECHO)),
    line("call of echo, 200 B", Unit::Micros, "echo confined")
        .beside("socketpair, tokio", "echo raw tokio")
        .goal(Goal::AtMostTimes(2.0)),
    line("call of echo, 200 B", Unit::Micros, "echo confined")
        .beside("in process", "echo in process"),
    line(
        "call of echo, one processor",
        Unit::Micros,
        "echo confined, one processor",
    )
    .beside(
        "socketpair, blocking, one processor",
        "echo raw, one processor",
    )
    .goal(Goal::AtMostTimes(3.0)),
    line(
        "call of file_read, 4 KiB",
        Unit::Micros,
        "file_read confined",
    )
    .beside("least worker, confined", "read raw")
    .goal(Goal::AtMostTimes(3.0)),
    line(
        "call of file_read, 4 KiB",
        Unit::Micros,
        "file_read confined",
    )
    .beside("in process", "file_read in process")
    .goal(Goal::AtMostTimes(1.3)),
    line(
        "call of file_read, 4 KiB",
        Unit::Micros,
        "file_read confined",
    )
    .beside("bwrap, typical, cat", "cat in bwrap")
    .goal(Goal::AtMostTimes(0.05)),
    line(
        "call of file_read, 4 KiB",
        Unit::Micros,
        "file_read confined",
    )
    .beside("least worker, tokio, unconfined", "read raw tokio"),
    line(
        "call of file_read, one processor",
        Unit::Micros,
        "file_read confined, one processor",
    )
    .beside(
        "in process, one processor",
        "file_read in process, one processor",
    ),
    line(
        "idle worker, its own memory (PSS)",
        Unit::Kib,
        "idle pss kib",
    )
    .goal(Goal::AtMost(OWN_KIB)),
    line(
        "idle worker after a call, its own memory (PSS)",
        Unit::Kib,
        "used pss kib",
    ),
    line(
        "idle worker, the kernel's for it",
        Unit::Kib,
        "idle kernel kib",
    ),
    line("idle worker, both", Unit::Kib, "idle sum kib").goal(Goal::AtMost(ALL_KIB)),
    line(
        "the same by the machine's free memory",
        Unit::Kib,
        "idle memfree kib",
    ),
    line(
        "the daemon's own for a worker",
        Unit::Kib,
        "daemon per worker kib",
    ),
    line("idle workers in a GiB", Unit::Count, "idle per gib").goal(Goal::AtLeast(PER_GIB)),
    line(
        "grep over 10000 files, nowhere",
        Unit::Micros,
        "grep nowhere confined",
    )
    .beside("rg -j1", "grep nowhere rg -j1")
    .goal(Goal::AtMostTimes(1.25)),
    line(
        "grep over 10000 files, nowhere",
        Unit::Micros,
        "grep nowhere confined",
    )
    .beside("rg", "grep nowhere rg")
    .goal(Goal::AtMostTimes(1.25)),
    line(
        "grep over 10000 files, nowhere",
        Unit::Micros,
        "grep nowhere confined",
    )
    .beside("in process", "grep nowhere in process"),
    line(
        "grep over 10000 files, a hundred hits",
        Unit::Micros,
        "grep hits confined",
    )
    .beside("rg -j1", "grep hits rg -j1")
    .goal(Goal::AtMostTimes(1.25)),
    line(
        "grep over 10000 files, a hundred hits",
        Unit::Micros,
        "grep hits confined",
    )
    .beside("in process", "grep hits in process"),
];

/// The lines whose series were taken.
pub(super) fn rows(probe: &Probe) -> Vec<Row> {
    LINES.iter().filter_map(|line| line.row(probe)).collect()
}
