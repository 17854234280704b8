//! What this machine offers to confine with, read from the kernel's own files, and what to do about what it lacks.
//!
//! Looks and changes nothing. What is found here explains; whether a worker can be confined is known only by
//! confining one, and this module refuses to conclude it.

use aaos_core::proof::Layer;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use rustix::fs::Access;
use serde::Serialize;
use std::{fs, path::Path};

/// How good what was found is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As workers need it.
    Good,
    /// Missing, and no launch requires it unless the operator says so.
    Weak,
    /// Missing, and launches are refused for it.
    Bad,
}

/// One thing about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub what: String,
    /// How good it is.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What would mend it, if something is missing.
    pub next_step: Option<String>,
}

impl Finding {
    /// A finding that is as it should be.
    #[must_use]
    pub fn good(what: &str, found: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            state: State::Good,
            found: found.into(),
            next_step: None,
        }
    }

    /// A finding that is not, with what would mend it.
    #[must_use]
    pub fn lacking(
        what: &str,
        state: State,
        found: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            what: what.to_owned(),
            state,
            found: found.into(),
            next_step: Some(next_step.into()),
        }
    }
}

/// What this machine offers, in the order in which a worker needs it.
#[must_use]
pub fn findings() -> Vec<Finding> {
    let looked = Looked {
        root: Path::new("/"),
        is_root: rustix::process::geteuid().is_root(),
    };
    let mut found = vec![kernel()];
    found.extend(looked.namespaces());
    found.push(looked.modules());
    found.push(landlock(landlock_abi()));
    found.push(looked.seccomp());
    found.push(looked.control_groups());
    found
}

/// What would mend a layer that is missing, for an operator who knows nothing else yet.
#[must_use]
pub const fn remedy(layer: Layer) -> &'static str {
    match layer {
        Layer::UserNamespace => {
            "Allow user namespaces: `sysctl -w user.max_user_namespaces=15000`, on Debian also \
             `kernel.unprivileged_userns_clone=1`, on Ubuntu an AppArmor profile with `userns,` for aaos-agent-worker"
        }
        Layer::MountNamespace
        | Layer::PidNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::NetworkNamespace => {
            "Use a kernel built with all namespaces, allow them (`sysctl user`), and let no seccomp filter of a \
             container or service forbid `clone` and `unshare`"
        }
        Layer::Root => {
            "Let `mount` and `pivot_root` through: in a container or service, its seccomp filter and AppArmor profile \
             must allow them, and /proc must not be masked (systemd: ProcSubset=pid)"
        }
        Layer::Landlock => {
            "Use Linux 6.2 or newer, built with CONFIG_SECURITY_LANDLOCK, and name landlock in the boot parameter `lsm=`"
        }
        Layer::Seccomp => "Use a kernel built with CONFIG_SECCOMP_FILTER",
        Layer::Privileges => {
            "Let `prctl` and `capset` through: a container's or service's seccomp filter forbids them"
        }
        Layer::Rlimits => {
            "Raise the hard limits the daemon was started with (`ulimit -H -a`): they are lower than a worker's"
        }
        Layer::CgroupLimits => {
            "Have control groups delegated: under systemd `Delegate=cpu memory pids`; needs cgroup version 2"
        }
    }
}

fn kernel() -> Finding {
    let about = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let found = format!(
        "{} {} {}",
        text(about.sysname()),
        text(about.release()),
        text(about.machine())
    );
    Finding::good("kernel", found)
}

/// The Landlock version of the running kernel, as far as it brings anything a worker asks for; 0 for none. Makes no
/// rule set: each version's news is asked for and let go.
fn landlock_abi() -> u32 {
    let asked = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = |abi| asked().handle_access(AccessFs::from_all(abi)).is_ok();
    let news = [
        files(ABI::V1),
        files(ABI::V2),
        files(ABI::V3),
        asked().handle_access(AccessNet::from_all(ABI::V4)).is_ok(),
        files(ABI::V5),
        asked().scope(Scope::from_all(ABI::V6)).is_ok(),
    ];
    news.into_iter()
        .zip(1..)
        .filter(|(there, _)| *there)
        .map(|(_, abi)| abi)
        .max()
        .unwrap_or(0)
}

fn landlock(abi: u32) -> Finding {
    match abi {
        0 => Finding::lacking("Landlock", State::Bad, "not there", remedy(Layer::Landlock)),
        1..LANDLOCK_ABI_LEAST => Finding::lacking(
            "Landlock",
            State::Bad,
            format!("version {abi}, which cannot keep files from being truncated"),
            remedy(Layer::Landlock),
        ),
        LANDLOCK_ABI_LEAST..LANDLOCK_ABI_WHOLE => Finding::lacking(
            "Landlock",
            State::Weak,
            format!("version {abi}: files, not yet signals and abstract sockets"),
            "Use Linux 6.12 or newer; the namespaces keep signals and sockets apart meanwhile",
        ),
        _ => Finding::good("Landlock", format!("version {abi} or newer")),
    }
}

/// The Landlock version below which a worker counts the layer as missing. Source: `confine/landlock.rs`.
const LANDLOCK_ABI_LEAST: u32 = 3;
/// The Landlock version that has rules for all a worker is to be kept from. Source: landlock(7), scopes.
const LANDLOCK_ABI_WHOLE: u32 = 6;

/// Kinds of namespaces, as the kernel's limits on them are named, and the layer each is.
const NAMESPACES: [(&str, Layer); 7] = [
    ("user", Layer::UserNamespace),
    ("mnt", Layer::MountNamespace),
    ("pid", Layer::PidNamespace),
    ("ipc", Layer::IpcNamespace),
    ("uts", Layer::UtsNamespace),
    ("cgroup", Layer::CgroupNamespace),
    ("net", Layer::NetworkNamespace),
];

/// The kernel's files, and for whom they are read.
struct Looked<'a> {
    root: &'a Path,
    is_root: bool,
}

impl Looked<'_> {
    fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    fn namespaces(&self) -> Vec<Finding> {
        const USER: &str = "user namespaces";
        let mut found = Vec::new();
        for (name, layer) in NAMESPACES {
            let setting = format!("user.max_{name}_namespaces");
            match self.number(&format!("proc/sys/user/max_{name}_namespaces")) {
                Some(0) => found.push(Finding::lacking(
                    &format!("{name} namespaces"),
                    State::Bad,
                    format!("{setting} is 0"),
                    format!("Run `sysctl -w {setting}=15000`"),
                )),
                None => found.push(Finding::lacking(
                    &format!("{name} namespaces"),
                    State::Bad,
                    format!("the kernel has no {setting}"),
                    remedy(layer),
                )),
                Some(_) => {}
            }
        }
        if self.number("proc/sys/kernel/unprivileged_userns_clone") == Some(0) && !self.is_root {
            found.push(Finding::lacking(
                USER,
                State::Bad,
                "kernel.unprivileged_userns_clone is 0",
                "Run `sysctl -w kernel.unprivileged_userns_clone=1`",
            ));
        }
        let restricted = self.number("proc/sys/kernel/apparmor_restrict_unprivileged_userns");
        if restricted == Some(1) && !self.is_root {
            found.push(Finding::lacking(
                USER,
                State::Weak,
                "AppArmor gives them to programs with a profile only",
                "Install a profile for aaos-agent-worker that holds `userns,`, or run \
                 `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
            ));
        }
        if found.is_empty() {
            let most = self
                .number("proc/sys/user/max_user_namespaces")
                .unwrap_or(0);
            found.push(Finding::good(
                "namespaces",
                format!("all seven kinds, at most {most} user namespaces"),
            ));
        }
        found
    }

    fn modules(&self) -> Finding {
        const WHAT: &str = "security modules";
        match self.read("sys/kernel/security/lsm") {
            Some(list) if !list.is_empty() => Finding::good(WHAT, list.replace(',', ", ")),
            _ => Finding::good(WHAT, "not told: securityfs is not mounted here"),
        }
    }

    fn seccomp(&self) -> Finding {
        let actions = self
            .read("proc/sys/kernel/seccomp/actions_avail")
            .unwrap_or_default();
        let has = |action: &str| actions.split(' ').any(|found| found == action);
        if has("errno") && has("kill_process") {
            Finding::good("seccomp", "filters, with errors and kills")
        } else {
            let found = "the kernel's list of filter actions lacks `errno` or `kill_process`";
            Finding::lacking("seccomp", State::Bad, found, remedy(Layer::Seccomp))
        }
    }

    fn control_groups(&self) -> Finding {
        const WHAT: &str = "control groups";
        let lacking =
            |found: String| Finding::lacking(WHAT, State::Weak, found, remedy(Layer::CgroupLimits));
        if !self.root.join("sys/fs/cgroup/cgroup.controllers").is_file() {
            return lacking("no version 2 at /sys/fs/cgroup".to_owned());
        }
        let groups = self.read("proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let Some(own) = own else {
            return lacking("this process is in no version 2 group".to_owned());
        };
        let directory = self.root.join("sys/fs/cgroup").join(own);
        let controllers =
            fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        let wanting: Vec<&str> = ["cpu", "memory", "pids"]
            .into_iter()
            .filter(|name| !controllers.split_whitespace().any(|found| found == *name))
            .collect();
        if !wanting.is_empty() {
            return lacking(format!(
                "version 2, without {} in /{own}",
                wanting.join(", ")
            ));
        }
        let procs = directory.join("cgroup.procs");
        if rustix::fs::access(&directory, Access::WRITE_OK).is_err()
            || rustix::fs::access(&procs, Access::WRITE_OK).is_err()
        {
            return lacking(format!("version 2, /{own} is not delegated"));
        }
        Finding::good(WHAT, format!("version 2, /{own} is delegated"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;
    use tempfile::TempDir;

    /// A machine made of these files.
    fn machine(files: &[(&str, &str)]) -> TempDir {
        let dir = TempDir::new().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    /// All kinds of namespaces allowed.
    fn with_namespaces(more: &[(&str, &str)]) -> TempDir {
        let names = NAMESPACES.map(|(name, _)| format!("proc/sys/user/max_{name}_namespaces"));
        let mut files: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "100\n")).collect();
        files.extend(more);
        machine(&files)
    }

    fn looked(dir: &TempDir, is_root: bool) -> Looked<'_> {
        Looked {
            root: dir.path(),
            is_root,
        }
    }

    #[test]
    fn a_namespace_that_is_switched_off_is_named_with_the_setting_that_switches_it_on() {
        let dir = with_namespaces(&[("proc/sys/user/max_net_namespaces", "0\n")]);
        let found = looked(&dir, false).namespaces();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].state, State::Bad);
        assert!(
            found[0]
                .next_step
                .as_ref()
                .unwrap()
                .contains("user.max_net_namespaces=")
        );
    }

    #[test]
    fn what_is_kept_from_the_unprivileged_alone_is_no_trouble_for_root() {
        let dir = with_namespaces(&[
            ("proc/sys/kernel/unprivileged_userns_clone", "0\n"),
            (
                "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
            ),
        ]);
        assert_eq!(looked(&dir, false).namespaces().len(), 2);
        let found = looked(&dir, true).namespaces();
        assert!(
            found.iter().all(|one| one.state == State::Good),
            "{found:?}"
        );
    }

    #[test]
    fn control_groups_count_as_delegated_only_with_all_three_controllers() {
        let own = "sys/fs/cgroup/aaos/cgroup.controllers";
        let files = |controllers| {
            machine(&[
                ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
                ("proc/self/cgroup", "1:name=systemd:/x\n0::/aaos\n"),
                ("sys/fs/cgroup/aaos/cgroup.procs", ""),
                (own, controllers),
            ])
        };
        let dir = files("cpu io memory pids\n");
        assert_eq!(looked(&dir, false).control_groups().state, State::Good);
        let dir = files("cpu\n");
        let found = looked(&dir, false).control_groups();
        assert_eq!(found.state, State::Weak);
        assert!(found.found.contains("memory, pids"), "{found:?}");
        let dir = machine(&[]);
        assert_eq!(looked(&dir, false).control_groups().state, State::Weak);
    }

    #[test]
    fn a_kernel_without_landlock_or_filters_is_refused_in_words() {
        assert_eq!(landlock(0).state, State::Bad);
        assert_eq!(landlock(2).state, State::Bad);
        assert_eq!(landlock(3).state, State::Weak);
        assert_eq!(landlock(7).state, State::Good);
        let dir = machine(&[("proc/sys/kernel/seccomp/actions_avail", "trap allow\n")]);
        assert_eq!(looked(&dir, true).seccomp().state, State::Bad);
    }

    #[test]
    fn this_machine_is_described_without_a_gap() {
        let found = findings();
        assert!(found.len() >= 6, "{found:?}");
        for one in &found {
            assert!(!one.found.is_empty());
            assert_eq!(one.state == State::Good, one.next_step.is_none(), "{one:?}");
        }
        for layer in Layer::ALL {
            assert!(remedy(layer).len() > 20, "{layer}");
        }
    }
}
