//! The daemon's processes, as the kernel shows them, and their ends. The test's process adopts what a killed daemon leaves
//! behind, so that nothing is left unseen.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Longest wait for a process to end.
const END_WAIT: Duration = Duration::from_secs(20);

/// One process; a number that was given again is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) number: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
    started: u64,
    ended: bool,
}

/// Processes of ours that somebody else waits for.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Adopts what loses its parent.
pub(crate) fn adopt() {
    set_child_subreaper(Pid::from_raw(1)).unwrap();
}

/// A child that is waited for by its own handle, not with the orphans.
pub(crate) fn ours(number: u32) {
    OURS.lock().unwrap().insert(i32::try_from(number).unwrap());
}

fn read(number: i32) -> Option<Process> {
    let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Process {
        number,
        parent: fields.get(1)?.parse().ok()?,
        name,
        // Source: proc_pid_stat(5), field 22, counted from the state.
        started: fields.get(19)?.parse().ok()?,
        ended: matches!(fields.first(), Some(&"Z" | &"X")),
    })
}

fn all() -> Vec<Process> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

/// Everything beneath a process, itself not.
pub(crate) fn beneath(number: u32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut open = vec![i32::try_from(number).unwrap()];
    while let Some(parent) = open.pop() {
        for child in all.iter().filter(|one| one.parent == parent && !one.ended) {
            open.push(child.number);
            found.push(child.clone());
        }
    }
    found
}

/// Kills a process.
pub(crate) fn kill(number: i32, signal: Signal) {
    // It may have ended by itself, which is as good.
    let _ = kill_process(Pid::from_raw(number).unwrap(), signal);
}

/// Takes leave of adopted processes that have ended.
pub(crate) fn reap() {
    let own = i32::try_from(std::process::id()).unwrap();
    let ours = OURS.lock().unwrap().clone();
    for one in all() {
        if one.parent == own && one.ended && !ours.contains(&one.number) {
            let _ = waitpid(Pid::from_raw(one.number), WaitOptions::NOHANG);
        }
    }
}

/// Which of these still run after a while.
pub(crate) fn left(of: &[Process]) -> Vec<Process> {
    let since = Instant::now();
    loop {
        reap();
        let runs = |one: &&Process| {
            read(one.number).is_some_and(|now| now.started == one.started && !now.ended)
        };
        let left: Vec<Process> = of.iter().filter(runs).cloned().collect();
        if left.is_empty() || since.elapsed() > END_WAIT {
            return left;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Most memory a process ever had, in kilobytes.
pub(crate) fn memory(number: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
