//! System call filters, compiled from a profile: an allow-list with a reason for every entry.
//!
//! A profile is TOML. `[[allow]]` names a `call` (or `calls`), says `why`, and may say `when`: every one of its
//! conditions has to hold, each that an argument's lower 32 bits, under a `mask` if there is one, are one of `is`.
//! `[[absent]]` names calls that are answered as if the kernel did not have them, so that libraries fall back.
//! Everything else is answered with EPERM.
//!
//! Refuses: a name no architecture knows, an entry without a reason.

use super::{
    calls,
    program::{self, Answer},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule,
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Why a filter could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The profile is no profile.
    #[error("the profile of system calls makes no sense: {0}")]
    Profile(String),
    /// It cannot be compiled or installed.
    #[error("the filter of system calls was not accepted: {0}")]
    Filter(#[from] seccompiler::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    allow: Vec<Entry>,
    #[serde(default)]
    absent: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    call: Option<String>,
    #[serde(default)]
    calls: Vec<String>,
    why: String,
    #[serde(default)]
    when: Vec<Condition>,
}

/// A condition on one argument.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// Which argument, from zero.
    arg: u8,
    /// The bits that count; all if there is none.
    mask: Option<u32>,
    /// What those bits may be.
    is: Vec<u32>,
}

/// Filters ready to install.
#[derive(Clone)]
pub struct Filters(Arc<BpfProgram>);

type Calls = BTreeMap<u32, Answer>;

/// Compiles a profile, a TOML document.
///
/// # Errors
/// It is no profile, names what does not exist, or leaves out a reason.
pub fn compile(profile: &str) -> Result<Filters, FilterError> {
    let file: ProfileFile =
        toml::from_str(profile).map_err(|error| FilterError::Profile(error.to_string()))?;
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let mut calls = Calls::new();
    for entry in &file.allow {
        add(&mut calls, entry, &SeccompAction::Allow)?;
    }
    for entry in &file.absent {
        add(&mut calls, entry, &absent)?;
    }
    Ok(Filters(Arc::new(program::program(&calls, &refused))))
}

/// Adds what an entry says of each call it names.
fn add(calls: &mut Calls, entry: &Entry, action: &SeccompAction) -> Result<(), FilterError> {
    let named = || entry.call.iter().chain(&entry.calls);
    let problem = |text: &str| {
        let names: Vec<&str> = named().map(String::as_str).collect();
        FilterError::Profile(format!("`{}`: {text}", names.join(", ")))
    };
    if entry.why.trim().is_empty() {
        return Err(problem("no reason is given"));
    }
    if named().next().is_none() {
        return Err(problem("no call is named"));
    }
    if *action != SeccompAction::Allow && !entry.when.is_empty() {
        return Err(problem("a call is absent always or not at all"));
    }
    for name in named() {
        let Some(number) = calls::number(name) else {
            if calls::is_foreign(name) {
                continue;
            }
            return Err(problem(&format!("`{name}` is no known system call")));
        };
        let wanted = if entry.when.is_empty() {
            Answer::Always(action.clone())
        } else {
            Answer::If(alternatives(&entry.when)?)
        };
        match (calls.get_mut(&number), wanted) {
            (None, wanted) => drop(calls.insert(number, wanted)),
            (Some(Answer::If(held)), Answer::If(more)) => held.extend(more),
            _ => return Err(problem(&format!("`{name}` has an entry already"))),
        }
    }
    Ok(())
}

/// Every combination of one value for each condition; none for no condition, which matches always.
fn alternatives(when: &[Condition]) -> Result<Vec<SeccompRule>, FilterError> {
    let mut combined: Vec<Vec<SeccompCondition>> = vec![Vec::new()];
    for condition in when {
        let mut next = Vec::new();
        for held in &combined {
            for value in &condition.is {
                let operator = condition
                    .mask
                    .map_or(SeccompCmpOp::Eq, |mask| SeccompCmpOp::MaskedEq(mask.into()));
                let one = SeccompCondition::new(
                    condition.arg,
                    SeccompCmpArgLen::Dword,
                    operator,
                    (*value).into(),
                )
                .map_err(seccompiler::Error::from)?;
                let mut whole = held.clone();
                whole.push(one);
                next.push(whole);
            }
        }
        combined = next;
    }
    combined
        .into_iter()
        .map(|conditions| Ok(SeccompRule::new(conditions).map_err(seccompiler::Error::from)?))
        .collect()
}

impl Filters {
    /// Puts this thread, and all that come from it, behind the filters. Cannot be undone; sets `no_new_privs`.
    ///
    /// # Errors
    /// The kernel refused them.
    pub fn install(&self) -> Result<(), FilterError> {
        Ok(seccompiler::apply_filter(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [&str; 3] = [
        include_str!("../profile/plain.toml"),
        include_str!("../profile/exec.toml"),
        include_str!("../profile/egress.toml"),
    ];

    #[test]
    fn every_profile_compiles_to_what_the_kernel_takes() {
        for profile in PROFILES {
            let Filters(program) = compile(profile).unwrap();
            // Source: BPF_MAXINSNS of linux/bpf_common.h.
            assert!(program.len() < 4096, "{}", program.len());
        }
    }

    /// The calls of a profile that pass, and those that pass whatever their arguments.
    fn passing(profile: &str) -> [std::collections::BTreeSet<String>; 2] {
        let file: ProfileFile = toml::from_str(profile).unwrap();
        let names = |entry: &Entry| entry.call.iter().chain(&entry.calls).cloned().collect();
        let free = file.allow.iter().filter(|entry| entry.when.is_empty());
        [
            file.allow
                .iter()
                .flat_map(|entry| -> Vec<String> { names(entry) })
                .collect(),
            free.flat_map(|entry| -> Vec<String> { names(entry) })
                .collect(),
        ]
    }

    #[test]
    fn what_the_exec_profile_stops_the_plain_one_stops_too() {
        let [plain, plain_free] = passing(PROFILES[0]);
        let [exec, exec_free] = passing(PROFILES[1]);
        let more: Vec<_> = plain.difference(&exec).collect();
        assert!(more.is_empty(), "only the plain profile allows {more:?}");
        let wider: Vec<_> = plain_free.difference(&exec_free).collect();
        assert!(
            wider.is_empty(),
            "the plain profile allows {wider:?} whatever the arguments"
        );
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        let profile = "[[allow]]\ncall = \"read\"\nwhy = \" \"\n";
        let refused = compile(profile).err().unwrap().to_string();
        assert!(refused.contains("no reason"), "{refused}");
    }

    #[test]
    fn a_name_nobody_knows_and_a_call_named_twice_are_refused() {
        for (profile, reason) in [
            ("[[allow]]\ncall = \"raed\"\nwhy = \"x\"\n", "no known"),
            (
                "[[allow]]\ncalls = [\"read\", \"read\"]\nwhy = \"x\"\n",
                "already",
            ),
            ("[[allow]]\nwhy = \"x\"\n", "no call"),
        ] {
            let refused = compile(profile).err().unwrap().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn what_makes_namespaces_or_looks_into_others_is_in_no_profile() {
        for name in [
            "unshare",
            "setns",
            "mount",
            "ptrace",
            "process_vm_readv",
            "keyctl",
            "bpf",
            "perf_event_open",
            "kexec_load",
            "open_by_handle_at",
            "modify_ldt",
        ] {
            for profile in PROFILES {
                let file: ProfileFile = toml::from_str(profile).unwrap();
                let mut entries = file.allow.iter();
                assert!(!entries.any(|entry| {
                    entry.call.as_deref() == Some(name) || entry.calls.iter().any(|one| one == name)
                }));
            }
        }
    }
}
