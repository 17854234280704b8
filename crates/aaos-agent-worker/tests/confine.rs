//! What a fresh worker shows, spoken to directly: its proof, its mounts, and what is missing when a layer is left out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes the world it acts in"
)]

use aaos_core::{
    capability::{Capability, grammar},
    id::{AgentId, CallId, ToolName},
    proof::{Layer, Profile, Proof},
};
use aaos_sandbox::programs::{self, Toolchain};
use aaos_sandbox::protocol::{
    Canaries, FRAME_BYTES_MAX, FromWorker, Mask, Order, PACKET_BYTES_MAX, Policy, Program, Report,
    ResourceLimits, ToWorker, frame,
    line::{self, Frames},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};
use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

/// An account that owns nothing.
const NOBODY: u32 = 65534;

/// A launcher, driven by hand.
struct Launcher {
    control: OwnedFd,
    process: Child,
    port: TcpListener,
    _home: tempfile::TempDir,
}

/// A worker, driven by hand.
struct Worker {
    line: Frames<UnixStream>,
    pid: u32,
    process: OwnedFd,
}

impl Launcher {
    fn start(uid: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = home.path().join("aaos-agent-worker");
        fs::copy(env!("CARGO_BIN_EXE_aaos-agent-worker"), &binary).unwrap();
        let (control, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut command = Command::new(&binary);
        command.stdin(Stdio::from(theirs)).env_clear();
        if uid != 0 {
            command.uid(uid).gid(uid);
        }
        let process = command.spawn().unwrap();
        let mut launcher = Self {
            control,
            process,
            port: TcpListener::bind("127.0.0.1:0").unwrap(),
            _home: home,
        };
        assert!(matches!(launcher.report().0, Report::Hello { .. }));
        launcher
    }

    fn report(&mut self) -> (Report, Option<OwnedFd>) {
        let (mut packet, mut came) = (vec![0; PACKET_BYTES_MAX], VecDeque::new());
        let flags = RecvFlags::empty();
        let length = line::receive(&self.control, &mut packet, &mut came, flags).unwrap();
        (frame::decode(&packet[..length]).unwrap(), came.pop_front())
    }

    fn worker(&mut self, omit: Option<Layer>) -> Worker {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let order = frame::packet(&Order::Start { id: 7, omit }, PACKET_BYTES_MAX).unwrap();
        let flags = SendFlags::empty();
        line::send(&self.control, &order, Some(theirs.as_fd()), flags).unwrap();
        drop(theirs);
        let (report, process) = self.report();
        let Report::Started { id: 7, pid } = report else {
            panic!("{report:?}");
        };
        let mut line = Frames::new(ours, FRAME_BYTES_MAX);
        match line.take_next().unwrap() {
            Some(FromWorker::Staged { .. }) => {}
            other => panic!("{other:?}"),
        }
        Worker {
            line,
            pid,
            process: process.unwrap(),
        }
    }

    fn policy(&self, profile: Profile, grants: &[String], base: &Path) -> Policy {
        let capabilities: Vec<Capability> = grants
            .iter()
            .map(|grant| grammar::parse(grant).unwrap())
            .collect();
        Policy {
            agent: AgentId::from_drawn(1),
            profile,
            capabilities,
            base: base.to_str().unwrap().to_owned(),
            folder: base.to_str().unwrap().to_owned(),
            anchors: Vec::new(),
            mask: Mask::default(),
            programs: Vec::new(),
            limits: ResourceLimits::usual(profile),
            egress: false,
            canaries: Canaries {
                outside: env!("CARGO_BIN_EXE_aaos-agent-worker").to_owned(),
                port: self.port.local_addr().unwrap().port(),
                network: fs::metadata("/proc/self/ns/net").unwrap().ino(),
            },
            omit: None,
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Worker {
    fn confine(&mut self, policy: Policy) -> Proof {
        self.send(&ToWorker::Confine(Box::new(policy)));
        match self.line.take_next().unwrap() {
            Some(FromWorker::Ready { proof }) => proof,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, what: &ToWorker) {
        let mut socket = self.line.socket();
        frame::write(&mut socket, what, FRAME_BYTES_MAX).unwrap();
    }

    /// What a tool answers.
    fn call(&mut self, tool: &str, input: &serde_json::Value) -> String {
        self.send(&ToWorker::Call {
            call: CallId::from_drawn(9),
            identity: CallId::from_drawn(9),
            question: None,
            tool: tool.parse::<ToolName>().unwrap(),
            input: input.to_string(),
            deadline_ms: 60_000,
        });
        match self.line.take_next().unwrap() {
            Some(FromWorker::Done { outcome, .. }) => {
                outcome.unwrap_or_else(|error| format!("error: {error}"))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Where something is mounted, and how.
    fn mounts(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap();
        text.lines()
            .map(|line| {
                let mut words = line.split(' ').skip(4);
                let at = words.next().unwrap().to_owned();
                (at, words.next().unwrap().to_owned())
            })
            .collect()
    }

    fn mount(&self, at: &str) -> Option<String> {
        let found = self.mounts().into_iter().rev();
        found
            .filter(|(place, _)| place == at)
            .map(|(_, how)| how)
            .next()
    }

    /// Waits until the process is gone.
    fn ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut gone = [PollFd::new(&self.process, PollFlags::IN)];
        let most = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        poll(&mut gone, Some(&most)).unwrap() == 1
    }
}

/// A directory the account owns, with a read-only and a writable half.
fn workspace(uid: u32) -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    for path in ["", "in", "out", "out/.git", "out/.git/hooks"] {
        let path = base.path().join(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
    }
    fs::write(base.path().join("in/page"), "words").unwrap();
    fs::write(base.path().join("secret"), "words").unwrap();
    fs::write(base.path().join("out/.git/config"), "").unwrap();
    base
}

fn grants(base: &Path) -> Vec<String> {
    let base = base.display();
    vec![
        format!("file_read: {base}/in/**"),
        format!("file_read: {base}/out/**"),
        format!("file_write: {base}/out/**"),
    ]
}

/// What the proof lacks, each with the attempts that were not stopped.
fn lacks(proof: &Proof) -> (BTreeSet<Layer>, Vec<String>) {
    let passed = proof.canaries.iter().filter(|canary| !canary.stopped);
    let passed = passed.map(|canary| format!("{}: {}", canary.tried, canary.found));
    (
        proof.missing(&Layer::required_by_default()),
        passed.collect(),
    )
}

fn every_layer_stands(uid: u32, profile: Profile) {
    let base = workspace(uid);
    let mut launcher = Launcher::start(uid);
    let mut worker = launcher.worker(None);
    let policy = launcher.policy(profile, &grants(base.path()), base.path());
    let proof = worker.confine(policy);
    assert_eq!(lacks(&proof), (BTreeSet::new(), Vec::new()), "{proof:#?}");
    assert_eq!(proof.profile, profile);
    assert!(proof.landlock_abi >= 3, "{}", proof.landlock_abi);
    assert!(proof.canaries.len() >= 10, "{:#?}", proof.canaries);
}

#[test]
fn every_layer_stands_for_a_daemon_that_is_root() {
    every_layer_stands(0, Profile::Plain);
    every_layer_stands(0, Profile::Exec);
}

#[test]
fn every_layer_stands_for_an_unprivileged_daemon() {
    every_layer_stands(NOBODY, Profile::Plain);
    every_layer_stands(NOBODY, Profile::Exec);
}

#[test]
fn the_root_holds_what_was_granted_and_nothing_else_of_the_host() {
    let base = workspace(NOBODY);
    let mut launcher = Launcher::start(NOBODY);
    let mut worker = launcher.worker(None);
    let policy = launcher.policy(Profile::Plain, &grants(base.path()), base.path());
    worker.confine(policy);
    let at = |path: &str| format!("{}/{path}", base.path().display());
    let mounts = worker.mounts();
    let mut expected: BTreeSet<String> = ["/", "/proc", "/tmp"].map(str::to_owned).into();
    expected
        .extend(["null", "zero", "full", "random", "urandom"].map(|name| format!("/dev/{name}")));
    expected.extend(["in", "out", "out/.git", "out/.git/hooks", "out/.git/config"].map(at));
    let found: BTreeSet<String> = mounts.iter().map(|(place, _)| place.clone()).collect();
    assert_eq!(found, expected, "{mounts:#?}");
    for (place, read_only) in [
        (at("in"), true),
        (at("out"), false),
        (at("out/.git/hooks"), true),
        (at("out/.git/config"), true),
        ("/".to_owned(), true),
        ("/proc".to_owned(), true),
    ] {
        let how = worker.mount(&place).unwrap();
        assert_eq!(how.starts_with("ro"), read_only, "{place}: {how}");
        assert!(how.contains("nosuid"), "{place}: {how}");
        assert!(how.contains("nodev"), "{place}: {how}");
        let executes = place == "/";
        assert_eq!(!how.contains("noexec"), executes, "{place}: {how}");
    }
}

#[test]
fn a_layer_left_out_is_missing_from_the_proof() {
    let base = workspace(0);
    let mut launcher = Launcher::start(0);
    for layer in Layer::ALL {
        if layer == Layer::CgroupLimits {
            continue;
        }
        let mut worker = launcher.worker(Some(layer));
        let policy = launcher.policy(Profile::Plain, &grants(base.path()), base.path());
        let proof = worker.confine(policy);
        let (missing, passed) = lacks(&proof);
        assert!(missing.contains(&layer), "{layer}: {missing:?} {passed:?}");
    }
}

#[test]
fn the_attempts_alone_notice_that_a_wall_is_missing() {
    let base = workspace(0);
    let mut launcher = Launcher::start(0);
    let walls = [
        Layer::NetworkNamespace,
        Layer::Root,
        Layer::Landlock,
        Layer::Seccomp,
        Layer::Privileges,
    ];
    for profile in [Profile::Plain, Profile::Exec] {
        for layer in walls {
            // Namespaces are entered at birth; the rest may also be left out by the policy.
            let early = (layer == Layer::NetworkNamespace).then_some(layer);
            let mut worker = launcher.worker(early);
            let mut policy = launcher.policy(profile, &grants(base.path()), base.path());
            policy.omit = Some(layer);
            let proof = worker.confine(policy);
            let passed = proof.canaries.iter().filter(|canary| !canary.stopped);
            let passed: BTreeSet<Layer> = passed.map(|canary| canary.layer).collect();
            assert!(passed.contains(&layer), "{profile} {layer}: {proof:#?}");
        }
    }
}

#[test]
fn a_worker_ends_with_its_line_and_with_its_launcher() {
    let base = workspace(NOBODY);
    for ends_launcher in [false, true] {
        let mut launcher = Launcher::start(NOBODY);
        let mut staged = launcher.worker(None);
        let mut confined = launcher.worker(None);
        let policy = launcher.policy(Profile::Plain, &grants(base.path()), base.path());
        confined.confine(policy);
        if ends_launcher {
            launcher.process.kill().unwrap();
        } else {
            for worker in [&mut staged, &mut confined] {
                worker
                    .line
                    .socket()
                    .shutdown(std::net::Shutdown::Both)
                    .unwrap();
            }
        }
        assert!(staged.ended() && confined.ended(), "{ends_launcher}");
    }
}

#[test]
fn a_grant_of_everything_shows_everything_but_the_machine_and_the_runtime() {
    let base = workspace(0);
    let hidden = base.path().join("in").to_str().unwrap().to_owned();
    let mut launcher = Launcher::start(0);
    for profile in [Profile::Plain, Profile::Exec] {
        let mut worker = launcher.worker(None);
        let mut policy = launcher.policy(profile, &["file_read: /**".to_owned()], base.path());
        policy.mask.hidden = vec![hidden.clone()];
        let proof = worker.confine(policy);
        assert_eq!(lacks(&proof), (BTreeSet::new(), Vec::new()), "{proof:#?}");
        let root = format!("/proc/{}/root", worker.pid);
        let names = |path: &str| -> Vec<String> {
            let entries = fs::read_dir(format!("{root}{path}")).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        assert!(names("/").contains(&"usr".to_owned()));
        assert_eq!(names("/sys"), ["program"]);
        assert_eq!(names("/run"), ["program"]);
        assert!(worker.mount("/").unwrap().starts_with("ro"));
        let text = worker.call("file_read", &serde_json::json!({ "path": "/etc/hostname" }));
        assert!(!text.starts_with("error"), "{text}");
        assert_eq!(names("/tmp"), Vec::<String>::new());
    }
}

#[test]
fn what_the_runtime_keeps_is_hidden_in_a_granted_tree_but_for_what_is_shown() {
    let base = workspace(NOBODY);
    let at = |path: &str| base.path().join(path).to_str().unwrap().to_owned();
    let mut launcher = Launcher::start(NOBODY);
    let mut worker = launcher.worker(None);
    let granted = [
        format!("file_read: {}/**", base.path().display()),
        format!("file_read: {}/**", at("out/.git/hooks")),
        format!("file_write: {}/**", at("out/.git/hooks")),
    ];
    let mut policy = launcher.policy(Profile::Plain, &granted, base.path());
    policy.mask = Mask {
        hidden: vec![at("out"), at("secret")],
        shown: vec![at("out/.git/hooks")],
    };
    let proof = worker.confine(policy);
    assert_eq!(lacks(&proof), (BTreeSet::new(), Vec::new()), "{proof:#?}");
    let inside = |path: &str| format!("/proc/{}/root{}", worker.pid, at(path));
    assert_eq!(fs::read_to_string(inside("in/page")).unwrap(), "words");
    assert_eq!(fs::read_to_string(inside("secret")).unwrap(), "");
    assert!(fs::metadata(inside("out/.git/config")).is_err());
    assert!(
        worker
            .mount(&at("out/.git/hooks"))
            .unwrap()
            .starts_with("rw")
    );
    assert!(worker.mount(&at("out")).unwrap().starts_with("ro"));
}

/// A program as the daemon would find it.
fn program(name: &str, file: &str) -> Program {
    let file = fs::canonicalize(file).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Program {
        name: name.to_owned(),
        execute: vec![file.clone()],
        file,
        read: Vec::new(),
        env: Vec::new(),
        workspace: false,
    }
}

fn shell(worker: &mut Worker, base: &Path, script: &str) -> String {
    let input = serde_json::json!({ "command": script, "directory": base.to_str().unwrap() });
    worker.call("shell", &input)
}

#[test]
fn granted_programs_run_and_others_do_not() {
    for uid in [0, NOBODY] {
        let base = workspace(uid);
        let out = base.path().join("out");
        let mut launcher = Launcher::start(uid);
        let mut worker = launcher.worker(None);
        let mut granted = grants(base.path());
        granted.push(format!("exec: sh in {}/**", out.display()));
        let mut policy = launcher.policy(Profile::Exec, &granted, base.path());
        let mut sh = program("sh", "/bin/sh");
        sh.execute.push(program("", "/bin/cat").file);
        policy.programs = vec![sh];
        worker.confine(policy);
        let page = base.path().join("in/page");
        let said = shell(&mut worker, &out, &format!("cat {}", page.display()));
        assert!(said.contains("words"), "{said}");
        let said = shell(&mut worker, &out, "/usr/bin/id || echo refused: $?");
        assert!(said.contains("refused: 126"), "{said}");
        let said = shell(&mut worker, &out, "cat /usr/bin/id | cat || true");
        assert!(said.contains("Permission denied"), "{said}");
        let said = shell(
            &mut worker,
            &out,
            "echo '#!/bin/sh' > x; ./x; echo made: $?",
        );
        assert!(
            said.contains("made:") && !said.contains("made: 0"),
            "{said}"
        );
        let said = shell(
            &mut worker,
            &out,
            "echo x > .git/hooks/x; echo x > .git/config; echo x > /etc/x",
        );
        assert_eq!(said.matches("Read-only file system").count(), 3, "{said}");
    }
}

/// The programs of this machine that a policy names, as the daemon finds them.
fn installed(policy: &Policy) -> Vec<Program> {
    let home = |variable: &str, name: &str| {
        let home = Path::new(&std::env::var_os("HOME").unwrap()).join(name);
        Some(std::env::var_os(variable).map_or(home, Into::into))
    };
    let toolchain = Toolchain {
        path: std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect(),
        cargo_home: home("CARGO_HOME", ".cargo"),
        rustup_home: home("RUSTUP_HOME", ".rustup"),
        extra: Vec::new(),
    };
    let held = aaos_core::confine::confinement(&policy.capabilities);
    programs::resolve(&held.exec, &toolchain).unwrap()
}

#[test]
fn git_commits_and_cargo_builds_tests_and_runs_what_it_built() {
    let base = workspace(0);
    let out = base.path().join("out");
    fs::remove_dir_all(out.join(".git")).unwrap();
    let git = |args: &[&str]| {
        let done = Command::new("git").args(args).current_dir(&out).status();
        assert!(done.unwrap().success());
    };
    git(&["init", "--quiet"]);
    fs::create_dir(out.join("src")).unwrap();
    let manifest =
        "[package]\nname = \"made\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(out.join("Cargo.toml"), manifest).unwrap();
    let program =
        "fn main() { println!(\"made inside\"); }\n#[test]\nfn holds() { assert!(1 < 2); }\n";
    fs::write(out.join("src/main.rs"), program).unwrap();
    let mut launcher = Launcher::start(0);
    let mut worker = launcher.worker(None);
    let mut granted = grants(base.path());
    for program in ["git", "cargo", "sh"] {
        granted.push(format!("exec: {program} in {}/**", out.display()));
    }
    let mut policy = launcher.policy(Profile::Exec, &granted, base.path());
    policy.programs = installed(&policy);
    let proof = worker.confine(policy);
    assert_eq!(lacks(&proof), (BTreeSet::new(), Vec::new()), "{proof:#?}");
    let cargo = |worker: &mut Worker, subcommand: &str| {
        let directory = out.to_str().unwrap();
        let input = serde_json::json!({ "subcommand": subcommand, "directory": directory });
        worker.call("cargo_run", &input)
    };
    let said = cargo(&mut worker, "test");
    assert!(said.contains("1 passed"), "{said}");
    let said = cargo(&mut worker, "run");
    assert!(said.contains("made inside"), "{said}");
    let input = serde_json::json!({
        "directory": out.to_str().unwrap(), "message": "made", "paths": ["src", "Cargo.toml"],
    });
    let said = worker.call("git_commit", &input);
    assert!(!said.starts_with("error"), "{said}");
    let log = Command::new("git")
        .args(["log", "--oneline"])
        .current_dir(&out)
        .output()
        .unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("made"), "{log}");
}
#[test]
fn a_confined_worker_holds_its_line_and_nothing_else() {
    let base = workspace(NOBODY);
    let mut launcher = Launcher::start(NOBODY);
    let mut worker = launcher.worker(None);
    let policy = launcher.policy(Profile::Plain, &grants(base.path()), base.path());
    worker.confine(policy);
    let entries = fs::read_dir(format!("/proc/{}/fd", worker.pid)).unwrap();
    let mut held: Vec<String> = entries
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .map(|target| target.to_str().unwrap().to_owned())
        .collect();
    // It may have begun to serve, and then holds its own root, what was granted in it, and the line twice.
    let granted = base.path().to_str().unwrap();
    held.retain(|target| target != "/" && !target.starts_with(granted));
    held.sort();
    let line = held.pop().unwrap();
    assert!(line.starts_with("socket:"), "{line} {held:?}");
    held.retain(|target| *target != line);
    assert_eq!(held, ["/dev/null", "/dev/null", "/dev/null"]);
}

#[test]
fn a_worker_of_a_root_daemon_cannot_write_what_belongs_to_the_machine() {
    let base = workspace(0);
    let out = base.path().join("out");
    let mut launcher = Launcher::start(0);
    // Its own value is written back, so that nothing changes should the wall be missing.
    let script = "f=/proc/sys/kernel/core_pattern; v=$(cat $f); echo \"$v\" > $f; echo wrote: $?";
    // It is not there to be refused, with and without Landlock.
    for omit in [None, Some(Layer::Landlock)] {
        let mut worker = launcher.worker(None);
        let mut granted = grants(base.path());
        granted.push(format!("exec: sh in {}/**", out.display()));
        let mut policy = launcher.policy(Profile::Exec, &granted, base.path());
        let mut sh = program("sh", "/bin/sh");
        sh.execute.push(program("", "/bin/cat").file);
        policy.programs = vec![sh];
        policy.omit = omit;
        worker.confine(policy);
        let said = shell(&mut worker, &out, script);
        assert!(said.contains("No such file"), "{omit:?}: {said}");
        assert!(!said.contains("wrote: 0"), "{omit:?}: {said}");
    }
}

#[test]
fn a_swapped_link_below_a_grant_is_not_followed_into_the_root() {
    let base = workspace(NOBODY);
    let link = base.path().join("in/away");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    let mut launcher = Launcher::start(NOBODY);
    let mut worker = launcher.worker(None);
    let granted = [
        format!("file_read: {}/**", base.path().display()),
        format!("file_write: {}/**", link.display()),
    ];
    let policy = launcher.policy(Profile::Plain, &granted, base.path());
    let proof = worker.confine(policy);
    assert_eq!(lacks(&proof), (BTreeSet::new(), Vec::new()), "{proof:#?}");
    let places: Vec<String> = worker.mounts().into_iter().map(|(at, _)| at).collect();
    assert!(places.contains(&base.path().to_str().unwrap().to_owned()));
    assert!(
        !places
            .iter()
            .any(|at| at.ends_with("/away") || at == "/etc"),
        "{places:?}"
    );
}

#[test]
fn more_places_than_a_root_holds_are_refused_in_words() {
    let base = workspace(NOBODY);
    let granted: Vec<String> = (0..200)
        .map(|index| format!("file_read: {}/{index}/**", base.path().display()))
        .collect();
    let mut launcher = Launcher::start(NOBODY);
    let mut worker = launcher.worker(None);
    let policy = launcher.policy(Profile::Plain, &granted, base.path());
    worker.send(&ToWorker::Confine(Box::new(policy)));
    match worker.line.take_next().unwrap() {
        Some(FromWorker::Unfit {
            layer,
            missing,
            next_step,
        }) => {
            assert_eq!(layer, Layer::Root);
            assert!(missing.contains("200 places"), "{missing}");
            assert!(next_step.contains("directory"), "{next_step}");
        }
        other => panic!("{other:?}"),
    }
    assert!(worker.ended());
}

#[test]
fn the_programs_way_out_is_handed_to_the_broker_before_confinement() {
    use aaos_sandbox::protocol::Ring;
    let base = workspace(NOBODY);
    let mut launcher = Launcher::start(NOBODY);
    for (profile, rings) in [(Profile::Exec, true), (Profile::Plain, false)] {
        let mut worker = launcher.worker(None);
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let mut policy = launcher.policy(profile, &grants(base.path()), base.path());
        policy.egress = true;
        let what = ToWorker::Confine(Box::new(policy));
        let bytes = frame::encode(&what, FRAME_BYTES_MAX).unwrap();
        line::send_all(worker.line.socket(), &bytes, Some(theirs.as_fd())).unwrap();
        match worker.line.take_next().unwrap() {
            Some(FromWorker::Ready { proof }) => assert_eq!(lacks(&proof).0, BTreeSet::new()),
            other => panic!("{other:?}"),
        }
        let (mut packet, mut came) = (vec![0; PACKET_BYTES_MAX], VecDeque::new());
        let length = line::receive(&ours, &mut packet, &mut came, RecvFlags::empty());
        assert_eq!(length.is_ok(), rings, "{length:?}");
        if let Ok(length) = length {
            assert_eq!(
                frame::decode::<Ring>(&packet[..length]).unwrap(),
                Ring::Proxy
            );
            let listener = came.pop_front().unwrap();
            assert!(rustix::net::sockopt::socket_acceptconn(&listener).unwrap());
        }
    }
}
