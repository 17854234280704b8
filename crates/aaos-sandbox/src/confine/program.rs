//! A filter's program: a search tree over call numbers, with conditions on arguments at its leaves.
//!
//! The kernel runs a new filter once for every call number there is, to remember which it always lets through. A chain
//! of comparisons makes that the dearest step of a launch; a tree makes it one of the cheapest.
//!
//! Refuses: calls of another architecture, whose numbers mean something else. They end the process.

use seccompiler::{BpfProgram, SeccompAction, SeccompRule, sock_filter};
use std::collections::BTreeMap;

/// Loads a word of the call's description. Source: linux/bpf_common.h, BPF_LD | BPF_W | BPF_ABS.
const LOAD: u16 = 0x20;
/// Jumps if what was loaded equals: BPF_JMP | BPF_JEQ | BPF_K.
const IF_EQUAL: u16 = 0x15;
/// Jumps if what was loaded is not below: BPF_JMP | BPF_JGE | BPF_K.
const IF_AT_LEAST: u16 = 0x35;
/// Jumps: BPF_JMP | BPF_JA.
const JUMP: u16 = 0x05;
/// Answers: BPF_RET | BPF_K.
const ANSWER: u16 = 0x06;
/// Where a call's number is described. Source: struct seccomp_data of linux/seccomp.h.
const NUMBER_AT: u32 = 0;
/// Where its architecture is.
const ARCHITECTURE_AT: u32 = 4;
/// This architecture. Source: linux/audit.h.
const ARCHITECTURE: u32 = if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0xc000_003e
};

/// What becomes of a call.
#[derive(Clone)]
pub(super) enum Answer {
    /// The same each time.
    Always(SeccompAction),
    /// Let through if one of these rules matches, else refused.
    If(Vec<SeccompRule>),
}

/// The calls from a number up to the next range's, and what becomes of them.
struct Range<'a> {
    first: u32,
    answer: &'a Answer,
}

/// The program of a filter. What is not named is refused.
pub(super) fn program(calls: &BTreeMap<u32, Answer>, refused: &SeccompAction) -> BpfProgram {
    let otherwise = Answer::Always(refused.clone());
    let mut ranges = vec![Range {
        first: 0,
        answer: &otherwise,
    }];
    for (number, answer) in calls {
        begin(&mut ranges, *number, answer);
        begin(&mut ranges, number + 1, &otherwise);
    }
    let mut program = vec![
        plain(LOAD, ARCHITECTURE_AT),
        branch(IF_EQUAL, ARCHITECTURE, 1, 0),
        answer(&SeccompAction::KillProcess),
        plain(LOAD, NUMBER_AT),
    ];
    program.extend(tree(&ranges, refused));
    program
}

/// Begins a range; one that answers as the range before it goes on instead.
fn begin<'a>(ranges: &mut Vec<Range<'a>>, first: u32, answer: &'a Answer) {
    if ranges.last().is_some_and(|last| last.first == first) {
        ranges.pop();
    }
    let same = match (ranges.last().map(|last| last.answer), answer) {
        (Some(Answer::Always(held)), Answer::Always(next)) => held == next,
        _ => false,
    };
    if !same {
        ranges.push(Range { first, answer });
    }
}

fn tree(ranges: &[Range<'_>], refused: &SeccompAction) -> BpfProgram {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some(middle) = upper.first() else {
        return vec![answer(refused)];
    };
    if lower.is_empty() {
        return leaf(middle.answer, refused);
    }
    let below = tree(lower, refused);
    let over = u32::try_from(below.len()).unwrap_or(u32::MAX);
    let mut program = vec![branch(IF_AT_LEAST, middle.first, 0, 1), plain(JUMP, over)];
    program.extend(below);
    program.extend(tree(upper, refused));
    program
}

fn leaf(what: &Answer, refused: &SeccompAction) -> BpfProgram {
    let rules = match what {
        Answer::Always(action) => return vec![answer(action)],
        Answer::If(rules) => rules,
    };
    let mut program = BpfProgram::new();
    for rule in rules {
        program.extend(BpfProgram::from(rule.clone()));
        program.push(answer(&SeccompAction::Allow));
    }
    program.push(answer(refused));
    program
}

fn answer(action: &SeccompAction) -> sock_filter {
    plain(ANSWER, action.clone().into())
}

const fn plain(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
