//! Serving over a plain socket pair, with the test as the daemon.

use super::*;
use crate::{
    confine::{Tree, Trees},
    protocol::{
        Answer, CALLS_MAX, Canaries, FRAME_BYTES_MAX, Fetch, Fetched, FetchedAnswer, FileAct,
        FromWorker, Mask, PACKET_BYTES_MAX, Policy, Program, ResourceLimits, Ring, ToWorker, frame,
        line::{Frames, receive, send_all},
    },
};
use aaos_core::{
    capability::Need,
    id::{AgentId, CallId},
    proof::Profile,
    time::Span,
    tool::{Effect, Power, ToolSpec},
};
use aaos_ports::{
    PowerError, Powers, ToolError, ToolOutput,
    power::{Entry, EntryKind, HttpRequest},
};
use async_trait::async_trait;
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs::{self, File},
    os::unix::net::UnixStream,
    path::Path,
    thread::{self, JoinHandle},
};

type Served = Result<(), ServeError>;

/// The test's end of a worker's line.
struct Daemon {
    line: Frames<UnixStream>,
    served: JoinHandle<Served>,
}

/// What a worker of a test is for.
#[derive(Default)]
struct Made {
    grants: Vec<String>,
    trees: Vec<Tree>,
    programs: Vec<Program>,
    doorbell: Option<OwnedFd>,
}

impl Made {
    fn start(self) -> Daemon {
        let profile = if self.programs.is_empty() {
            Profile::Plain
        } else {
            Profile::Exec
        };
        let policy = Policy {
            agent: AgentId::from_drawn(1),
            profile,
            capabilities: self
                .grants
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            base: "/".to_owned(),
            folder: "/".to_owned(),
            anchors: Vec::new(),
            mask: Mask::default(),
            programs: self.programs,
            limits: ResourceLimits::usual(profile),
            egress: self.doorbell.is_some(),
            canaries: Canaries {
                outside: String::new(),
                port: 0,
                network: 0,
            },
            omit: None,
        };
        let (here, there) = UnixStream::pair().unwrap();
        let confined = Confined {
            line: Frames::new(there, FRAME_BYTES_MAX),
            policy,
            doorbell: self.doorbell,
            proxy: None,
            trees: Trees(self.trees),
        };
        let mut tools = aaos_testkit::contract::backend::tools();
        tools.push(Arc::new(Get(get_spec())));
        Daemon {
            line: Frames::new(here, FRAME_BYTES_MAX),
            served: thread::spawn(move || confined.serve(&tools)),
        }
    }
}

impl Daemon {
    fn say(&self, message: &ToWorker) {
        self.say_with(message, None);
    }

    fn say_with(&self, message: &ToWorker, file: Option<&File>) {
        let bytes = frame::encode(message, FRAME_BYTES_MAX).unwrap();
        send_all(self.line.socket(), &bytes, file.map(AsFd::as_fd)).unwrap();
    }

    fn call(&self, id: u64, tool: &str, input: Value) {
        self.call_for(id, tool, input, 60_000);
    }

    fn call_for(&self, id: u64, tool: &str, input: Value, deadline_ms: u64) {
        self.say(&ToWorker::Call {
            call: CallId::from_drawn(id),
            identity: CallId::from_drawn(1),
            question: None,
            tool: tool.parse().unwrap(),
            input: input.to_string(),
            deadline_ms,
        });
    }

    fn cancel(&self, id: u64) {
        let call = CallId::from_drawn(id);
        self.say(&ToWorker::Cancel { call });
    }

    fn hear(&mut self) -> FromWorker {
        self.line.take_next().unwrap().unwrap()
    }

    fn done(&mut self) -> (u64, Result<Value, ToolError>) {
        match self.hear() {
            FromWorker::Done { call, outcome } => (
                call.number(),
                outcome.map(|text| serde_json::from_str(&text).unwrap()),
            ),
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self) -> (u64, FileAct) {
        match self.hear() {
            FromWorker::Ask { ask, act, .. } => (ask, act),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self, ask: u64, answer: Answer) {
        self.say(&ToWorker::Answer { ask, answer });
    }

    fn end(self) -> Served {
        drop(self.line);
        self.served.join().unwrap()
    }
}

fn plain() -> Daemon {
    Made::default().start()
}

fn granted(grants: &[&str]) -> Made {
    Made {
        grants: grants.iter().map(|&text| text.to_owned()).collect(),
        ..Made::default()
    }
}

fn lost(outcome: &Result<Value, ToolError>) -> bool {
    matches!(outcome, Err(ToolError::WorkerLost { .. }))
}

#[test]
fn a_call_is_answered_and_so_is_one_for_a_tool_that_is_not_there() {
    let mut daemon = plain();
    daemon.call(1, "say", json!({"a": 1}));
    assert_eq!(daemon.done(), (1, Ok(json!({"a": 1}))));
    daemon.call(2, "absent", json!({}));
    let unknown = ToolError::Unknown("absent".to_owned());
    assert_eq!(daemon.done(), (2, Err(unknown)));
    daemon.end().unwrap();
}

#[test]
fn the_line_is_read_while_calls_run() {
    let mut daemon = plain();
    for id in 1..8 {
        daemon.call(id, "sleep", json!({}));
    }
    daemon.call(8, "say", json!(8));
    assert_eq!(daemon.done(), (8, Ok(json!(8))));
    let mut ended: Vec<u64> = Vec::new();
    for id in 1..8 {
        daemon.cancel(id);
        let (id, outcome) = daemon.done();
        assert!(lost(&outcome), "{outcome:?}");
        ended.push(id);
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 2, 3, 4, 5, 6, 7]);
    daemon.end().unwrap();
}

#[test]
fn the_worker_keeps_a_deadline_itself() {
    let mut daemon = plain();
    daemon.call_for(1, "sleep", json!({}), 30);
    let late = ToolError::TimedOut {
        tool: "sleep".to_owned(),
        limit_ms: 30,
    };
    assert_eq!(daemon.done(), (1, Err(late)));
    daemon.end().unwrap();
}

#[test]
fn the_end_of_the_line_ends_every_call() {
    let daemon = plain();
    for id in 0..4 {
        daemon.call(id, "sleep", json!({}));
    }
    daemon.end().unwrap();
}

#[test]
fn threads_that_are_not_needed_end() {
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let mut daemon = plain();
    for id in 0..8 {
        daemon.call(id, "sleep", json!({}));
    }
    for id in 0..8 {
        daemon.cancel(id);
    }
    for _ in 0..8 {
        let _ended = daemon.done();
    }
    // The answer goes out before its thread looks whether it is needed.
    for _ in 0..500 {
        if threads() <= before + 3 {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(threads() <= before + 3, "{} of {before}", threads());
    daemon.end().unwrap();
}

#[test]
fn a_defect_and_an_answer_too_long_are_their_calls_errors() {
    let mut daemon = plain();
    daemon.call(1, "break", json!({}));
    let (_, broken) = daemon.done();
    assert!(
        matches!(&broken, Err(ToolError::Failed(text)) if text.contains("a defect")),
        "{broken:?}"
    );
    daemon.call(2, "shout", json!({}));
    let (_, long) = daemon.done();
    assert!(
        matches!(&long, Err(ToolError::Failed(text)) if text.contains("ask for less")),
        "{long:?}"
    );
    daemon.call(3, "say", json!(3));
    assert_eq!(daemon.done(), (3, Ok(json!(3))));
    daemon.end().unwrap();
}

#[test]
fn an_input_nested_too_deep_is_refused() {
    let mut daemon = plain();
    daemon.say(&ToWorker::Call {
        call: CallId::from_drawn(1),
        identity: CallId::from_drawn(1),
        question: None,
        tool: "say".parse().unwrap(),
        input: "[".repeat(1_000_000),
        deadline_ms: 1000,
    });
    let (_, outcome) = daemon.done();
    assert!(
        matches!(outcome, Err(ToolError::Input { .. })),
        "{outcome:?}"
    );
    daemon.end().unwrap();
}

#[test]
fn what_makes_no_sense_ends_the_worker() {
    let call = |id: usize| ToWorker::Call {
        call: CallId::from_drawn(u64::try_from(id).unwrap()),
        identity: CallId::from_drawn(1),
        question: None,
        tool: "sleep".parse().unwrap(),
        input: "{}".to_owned(),
        deadline_ms: 60_000,
    };
    let answer = ToWorker::Answer {
        ask: 1,
        answer: Answer::Written(1),
    };
    let too_many: Vec<ToWorker> = (0..=CALLS_MAX).map(call).collect();
    for messages in [vec![answer], vec![call(1), call(1)], too_many] {
        let daemon = plain();
        for message in &messages {
            daemon.say(message);
        }
        let served = daemon.served.join().unwrap();
        assert!(
            matches!(served, Err(ServeError::Nonsense(_))),
            "{messages:?}: {served:?}"
        );
    }
    for bytes in [&[1, 0, 0, 0, 99][..], &[255, 255, 255, 255]] {
        let daemon = plain();
        send_all(daemon.line.socket(), bytes, None).unwrap();
        let served = daemon.served.join().unwrap();
        assert!(matches!(served, Err(ServeError::Line(_))), "{served:?}");
    }
}

#[test]
fn a_file_outside_the_trees_is_opened_by_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("elsewhere");
    fs::write(&file, "words").unwrap();
    let mut daemon = granted(&["file_read: /granted/file"]).start();
    daemon.call(1, "read", json!({"path": "/granted/./file"}));
    let (ask, act) = daemon.asked();
    let path = "/granted/file".to_owned();
    assert_eq!(act, FileAct::Open { path: path.clone() });
    let answer = Answer::Opened { path, size: 5 };
    let message = ToWorker::Answer { ask, answer };
    daemon.say_with(&message, Some(&File::open(&file).unwrap()));
    assert_eq!(daemon.done(), (1, Ok(json!("words"))));
    daemon.end().unwrap();
}

#[test]
fn what_is_not_granted_is_refused_without_asking() {
    let mut daemon = granted(&["file_read: /granted/file"]).start();
    for (id, path) in [(1, "/etc/passwd"), (2, "/granted"), (3, "/granted/../x")] {
        daemon.call(id, "read", json!({ "path": path }));
        let (_, outcome) = daemon.done();
        assert!(
            matches!(&outcome, Err(ToolError::Power(PowerError::Denied { axis, .. })) if axis == "path"),
            "{outcome:?}"
        );
    }
    daemon.end().unwrap();
}

#[test]
fn a_refusal_of_the_daemon_is_passed_on() {
    let mut daemon = granted(&["file_read: /granted/file"]).start();
    daemon.call(1, "read", json!({"path": "/granted/file"}));
    let (ask, _) = daemon.asked();
    let refusal = PowerError::NotFound("/granted/file".to_owned());
    daemon.answer(ask, Answer::Refused(refusal.clone()));
    assert_eq!(daemon.done(), (1, Err(ToolError::Power(refusal))));
    daemon.end().unwrap();
}

#[test]
fn a_call_that_waits_for_an_answer_can_be_ended_and_a_late_answer_is_ignored() {
    let mut daemon = granted(&["file_read: /granted/file"]).start();
    daemon.call(1, "read", json!({"path": "/granted/file"}));
    let (ask, _) = daemon.asked();
    daemon.cancel(1);
    let (_, outcome) = daemon.done();
    assert!(lost(&outcome), "{outcome:?}");
    let file = File::open("/proc/self/status").unwrap();
    let answer = Answer::Opened {
        path: "/granted/file".to_owned(),
        size: 0,
    };
    daemon.say_with(&ToWorker::Answer { ask, answer }, Some(&file));
    daemon.call_for(2, "read", json!({"path": "/granted/file"}), 30);
    daemon.asked();
    let (_, outcome) = daemon.done();
    assert!(
        matches!(outcome, Err(ToolError::TimedOut { .. })),
        "{outcome:?}"
    );
    daemon.end().unwrap();
}

/// A directory of the test as a tree of the worker's root.
fn tree(path: &Path) -> (String, Tree) {
    let path = path.canonicalize().unwrap().to_str().unwrap().to_owned();
    let tree = Tree {
        path: path.clone(),
        read: true,
        write: true,
    };
    (path, tree)
}

#[test]
fn a_file_in_a_tree_is_opened_without_asking() {
    let directory = tempfile::tempdir().unwrap();
    let (path, tree) = tree(directory.path());
    let made = granted(&[
        &format!("file_read: {path}/*"),
        &format!("file_write: {path}/*"),
    ]);
    let mut daemon = Made {
        trees: vec![tree],
        ..made
    }
    .start();
    let file = format!("{path}/new/file");
    daemon.call(1, "write", json!({"path": file, "text": "words"}));
    assert_eq!(daemon.done(), (1, Ok(json!(5))));
    daemon.call(2, "read", json!({"path": file}));
    assert_eq!(daemon.done(), (2, Ok(json!("words"))));
    daemon.call(3, "walk", json!({"path": path}));
    assert_eq!(daemon.done(), (3, Ok(json!([file]))));
    daemon.end().unwrap();
}

#[test]
fn what_steers_git_is_not_written_here_nor_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (path, tree) = tree(directory.path());
    let made = granted(&[&format!("file_write: {path}/*"), "file_write: /elsewhere/*"]);
    let mut daemon = Made {
        trees: vec![tree],
        ..made
    }
    .start();
    for file in [
        format!("{path}/.git/hooks/pre-commit"),
        "/elsewhere/a/.git/config".to_owned(),
    ] {
        daemon.call(1, "write", json!({"path": file, "text": "#!"}));
        let (_, outcome) = daemon.done();
        assert!(
            matches!(&outcome, Err(ToolError::Power(PowerError::Denied { axis, .. })) if axis == "path"),
            "{outcome:?}"
        );
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    daemon.end().unwrap();
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.to_owned(),
        kind,
        size: 0,
    }
}

#[test]
fn a_walk_outside_the_trees_asks_for_each_directory_and_leaves_out_what_people_do_not_mean() {
    use EntryKind::{Directory, File as Regular, Symlink};
    let mut daemon = granted(&["file_read: /far/*"]).start();
    daemon.call(1, "walk", json!({"path": "/far"}));
    let (ask, act) = daemon.asked();
    let path = "/far".to_owned();
    assert_eq!(act, FileAct::Stat { path });
    daemon.answer(ask, Answer::Found(entry("/far", Directory)));
    let list = |daemon: &mut Daemon, directory: &str, entries: &[(&str, EntryKind)]| {
        let (ask, act) = daemon.asked();
        assert!(
            matches!(&act, FileAct::List { path, .. } if path == directory),
            "{act:?}"
        );
        let entries = entries.iter().map(|(path, kind)| entry(path, *kind));
        daemon.answer(ask, Answer::Listed(entries.collect(), false));
    };
    list(
        &mut daemon,
        "/far",
        &[
            ("/far/.gitignore", Regular),
            ("/far/.hidden", Directory),
            ("/far/a", Directory),
            ("/far/b", Directory),
            ("/far/c", Directory),
            ("/far/file", Regular),
            ("/far/link", Symlink),
            ("/far/made.o", Regular),
        ],
    );
    let (ask, act) = daemon.asked();
    let path = "/far/.gitignore".to_owned();
    assert_eq!(act, FileAct::Open { path: path.clone() });
    let mut rules = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut rules, b"*.o\n/c/\n").unwrap();
    std::io::Seek::rewind(&mut rules).unwrap();
    let answer = Answer::Opened { path, size: 8 };
    daemon.say_with(&ToWorker::Answer { ask, answer }, Some(&rules));
    list(
        &mut daemon,
        "/far/a",
        &[
            ("/far/a/.git", Regular),
            ("/far/a/x", Regular),
            ("/far/a/y.o", Regular),
        ],
    );
    // A name that no grant reaches is not shown, whoever told of it.
    list(&mut daemon, "/far/b", &[("/other", Regular)]);
    assert_eq!(daemon.done(), (1, Ok(json!(["/far/a/x", "/far/file"]))));
    daemon.end().unwrap();
}

#[test]
fn what_was_taken_away_ends_its_calls_and_is_refused_afterwards() {
    let mut daemon = granted(&["file_read: /a", "file_read: /b"]).start();
    daemon.call(1, "read", json!({"path": "/a"}));
    daemon.asked();
    daemon.call(2, "read", json!({"path": "/b"}));
    let (kept, _) = daemon.asked();
    let left = vec!["file_read: /b".parse().unwrap()];
    daemon.say(&ToWorker::Narrow { left });
    let mut heard = [daemon.hear(), daemon.hear()];
    // The call's own thread answers it.
    heard.sort_by_key(|heard| matches!(heard, FromWorker::Narrowed));
    assert!(
        matches!(&heard, [FromWorker::Done { outcome: Err(ToolError::WorkerLost { reason, .. }), .. }, FromWorker::Narrowed] if reason.contains("revoked")),
        "{heard:?}"
    );
    daemon.answer(kept, Answer::Refused(PowerError::NotFound("/b".to_owned())));
    let (id, _) = daemon.done();
    assert_eq!(id, 2, "what is left goes on");
    daemon.call(3, "read", json!({"path": "/a"}));
    let (_, outcome) = daemon.done();
    assert!(
        matches!(outcome, Err(ToolError::Power(PowerError::Denied { .. }))),
        "{outcome:?}"
    );
    daemon.end().unwrap();
}

/// Gets `url`.
struct Get(ToolSpec);

fn get_spec() -> ToolSpec {
    ToolSpec {
        name: "get".parse().unwrap(),
        summary: String::new(),
        input_schema: json!({}),
        powers: vec![Power::Http],
        effect: Effect::Read,
        recovery: aaos_core::tool::Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    }
}

#[async_trait]
impl AnyTool for Get {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn needs(&self, _input: &Value) -> Result<Vec<Need>, ToolError> {
        Ok(Vec::new())
    }

    async fn call(&self, input: Value, powers: &Powers) -> Result<ToolOutput, ToolError> {
        let request = HttpRequest {
            method: "GET".to_owned(),
            url: input.as_str().unwrap().parse().unwrap(),
            headers: vec![("x".to_owned(), "{{secret:y}}".to_owned())],
            body: Vec::new(),
            bytes_max: u64::MAX,
            deadline: Span::from_secs(30),
        };
        let answer = powers.http(request).await?;
        Ok(ToolOutput {
            json: json!([answer.status, String::from_utf8(answer.body).unwrap()]),
        })
    }
}

fn with_doorbell() -> (Daemon, OwnedFd) {
    let kind = SocketType::SEQPACKET;
    let (here, there) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let made = Made {
        doorbell: Some(there),
        ..Made::default()
    };
    (made.start(), here)
}

/// Takes one request from the doorbell, as the egress broker does.
fn taken(bell: &OwnedFd) -> (CallId, Fetch, UnixStream) {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let mut descriptors = VecDeque::new();
    let came = receive(bell, &mut bytes, &mut descriptors, RecvFlags::empty()).unwrap();
    let Ring::Fetch { call } = frame::decode(bytes.get(..came).unwrap()).unwrap() else {
        panic!("a proxy");
    };
    let mut stream = UnixStream::from(descriptors.pop_front().unwrap());
    let fetch = frame::read(&mut stream, FRAME_BYTES_MAX).unwrap().unwrap();
    (call, fetch, stream)
}

#[test]
fn a_request_goes_through_the_doorbell_and_its_answer_comes_back() {
    let (mut daemon, bell) = with_doorbell();
    daemon.call(1, "get", json!("https://a.example/x"));
    let (call, fetch, mut stream) = taken(&bell);
    assert_eq!(call, CallId::from_drawn(1));
    assert_eq!(
        (fetch.method.as_str(), fetch.url.as_str()),
        ("GET", "https://a.example/x")
    );
    assert_eq!(fetch.headers, [("x".to_owned(), "{{secret:y}}".to_owned())]);
    assert!(fetch.deadline_ms <= 30_000);
    assert!(usize::try_from(fetch.bytes_max).unwrap() < FRAME_BYTES_MAX);
    let body = "0123456789".repeat(100_000);
    let answer = FetchedAnswer {
        headers: Vec::new(),
        status: 200,
        url: "https://a.example/y".to_owned(),
        content_type: "text/plain".to_owned(),
        body: body.clone().into_bytes(),
        truncated: false,
    };
    frame::write(&mut stream, &Fetched(Ok(answer)), FRAME_BYTES_MAX).unwrap();
    assert_eq!(daemon.done(), (1, Ok(json!([200, body]))));
    daemon.call(2, "get", json!("https://b.example/"));
    let (_, _, mut stream) = taken(&bell);
    let refusal = PowerError::Denied {
        need: "GET https://b.example/".to_owned(),
        axis: "host".to_owned(),
        reason: "it is not granted".to_owned(),
    };
    frame::write(&mut stream, &Fetched(Err(refusal.clone())), FRAME_BYTES_MAX).unwrap();
    assert_eq!(daemon.done(), (2, Err(ToolError::Power(refusal))));
    daemon.end().unwrap();
}

#[test]
fn a_request_ends_with_its_call_and_with_the_broker() {
    let (mut daemon, bell) = with_doorbell();
    daemon.call(1, "get", json!("https://a.example/"));
    let (_, _, stream) = taken(&bell);
    daemon.cancel(1);
    let (_, outcome) = daemon.done();
    assert!(lost(&outcome), "{outcome:?}");
    drop(stream);
    daemon.call(2, "get", json!("https://a.example/"));
    let (_, _, stream) = taken(&bell);
    drop(stream);
    let (_, outcome) = daemon.done();
    assert!(
        matches!(&outcome, Err(ToolError::Power(PowerError::Lost { .. }))),
        "it was received whole, and may have been made: {outcome:?}"
    );
    drop(bell);
    daemon.call(3, "get", json!("https://a.example/"));
    let (_, outcome) = daemon.done();
    assert!(
        matches!(&outcome, Err(ToolError::Power(PowerError::Unserved { .. }))),
        "there was nobody to receive it: {outcome:?}"
    );
    daemon.end().unwrap();
}

#[test]
fn nothing_reaches_out_without_a_doorbell() {
    let mut daemon = plain();
    daemon.call(1, "get", json!("https://a.example/"));
    let (_, outcome) = daemon.done();
    assert!(
        matches!(&outcome, Err(ToolError::Power(PowerError::Denied { .. }))),
        "{outcome:?}"
    );
    daemon.end().unwrap();
}

/// A worker that may start `sh` in a directory. Outside a namespace of its own it ends the program alone.
fn with_shell(directory: &Path) -> (Daemon, String) {
    let (path, tree) = tree(directory);
    let grants = [
        format!("exec: sh in {path}/**"),
        format!("file_read: {path}/**"),
    ];
    let program = Program {
        name: "sh".to_owned(),
        file: "/bin/sh".to_owned(),
        execute: Vec::new(),
        read: Vec::new(),
        env: vec![("GIVEN".to_owned(), "so".to_owned())],
        workspace: false,
    };
    let made = Made {
        grants: grants.to_vec(),
        trees: vec![tree],
        programs: vec![program],
        doorbell: None,
    };
    (made.start(), path)
}

fn sh(directory: &str, script: &str) -> Value {
    json!({"program": "sh", "args": ["-c", script], "directory": directory})
}

#[test]
fn a_program_runs_where_it_was_granted_and_tells_how_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (mut daemon, path) = with_shell(directory.path());
    daemon.call(
        1,
        "start",
        sh(&path, "pwd -P; echo $GIVEN $ASKED $PATH; exit 7"),
    );
    let (_, outcome) = daemon.done();
    let ran = outcome.unwrap();
    assert_eq!(ran.pointer("/ended/code"), Some(&json!(7)));
    let wanted = format!("{path}\nso for /bin:/usr/local/bin:/usr/bin\n");
    assert_eq!(ran.pointer("/stdout/head"), Some(&json!(wanted)));
    for (program, place) in [("env", path.as_str()), ("sh", "/")] {
        let input = json!({"program": program, "args": [], "directory": place});
        daemon.call(2, "start", input);
        let (_, outcome) = daemon.done();
        assert!(
            matches!(&outcome, Err(ToolError::Power(PowerError::Denied { axis, .. })) if axis == "program"),
            "{outcome:?}"
        );
    }
    daemon.end().unwrap();
}

#[test]
fn a_program_ends_with_its_call_and_the_next_one_has_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let (mut daemon, path) = with_shell(directory.path());
    daemon.call_for(1, "start", sh(&path, "while :; do :; done"), 60);
    daemon.call(2, "start", sh(&path, "echo $$ > pid; while :; do :; done"));
    let (_, outcome) = daemon.done();
    assert!(
        matches!(outcome, Err(ToolError::TimedOut { .. })),
        "{outcome:?}"
    );
    let file = directory.path().join("pid");
    while fs::read_to_string(&file).map_or(true, |text| !text.ends_with('\n')) {
        thread::sleep(std::time::Duration::from_millis(5));
    }
    daemon.cancel(2);
    let (_, outcome) = daemon.done();
    assert!(outcome.is_err(), "{outcome:?}");
    let pid = fs::read_to_string(&file).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    daemon.end().unwrap();
}

#[test]
fn a_program_in_flight_is_gone_when_the_worker_says_that_it_holds_less() {
    let directory = tempfile::tempdir().unwrap();
    let (mut daemon, path) = with_shell(directory.path());
    daemon.call(1, "start", sh(&path, "while :; do :; done"));
    daemon.call(2, "say", json!(2));
    assert_eq!(daemon.done(), (2, Ok(json!(2))));
    // All that was held before, so that only the program's own end can answer the call.
    let left = vec![
        format!("exec: sh in {path}/**").parse().unwrap(),
        format!("file_read: {path}/**").parse().unwrap(),
    ];
    daemon.say(&ToWorker::Narrow { left });
    let heard = [daemon.hear(), daemon.hear()];
    assert!(heard.contains(&FromWorker::Narrowed), "{heard:?}");
    assert!(
        heard.iter().any(|heard| matches!(
            heard,
            FromWorker::Done {
                outcome: Err(_),
                ..
            }
        )),
        "{heard:?}"
    );
    daemon.end().unwrap();
}
