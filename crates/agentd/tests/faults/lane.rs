//! One daemon with its runs, its operator and its killer.

use crate::{
    common::{PROGRAM, Place},
    effects::Effects,
    link::{Link, NoAnswer},
    pool::{self, FORMS, Form},
    processes::{self, Process},
    seed::Seed,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{File, OpenOptions},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Runs that are open at once.
const OPEN: usize = 3;
/// Runs whose plans the script holds beyond those that were given.
const AHEAD: usize = 400;
/// Longest wait for a daemon to answer, or for all runs to finish when nothing is killed any more.
const PATIENCE: Duration = Duration::from_secs(180);

/// A run that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) id: String,
    pub(crate) form: Form,
    pub(crate) tag: String,
    pub(crate) ended: bool,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Daemon,
    DaemonAsked,
    Worker,
    Launcher,
    Broker,
}

/// Events right after which something is killed.
const MOMENTS: [&str; 14] = [
    "run_submitted",
    "plan_produced",
    "subtask_started",
    "agent_spawned",
    "worker_started",
    "model_requested",
    "model_replied",
    "tool_invoked",
    "tool_result",
    "subtask_completed",
    "approval_requested",
    "effect_in_doubt",
    "effect_settled",
    "run_recovering",
];

/// A daemon in a place of its own.
pub(crate) struct Lane {
    number: usize,
    pub(crate) place: Place,
    effects: Arc<Effects>,
    seed: Seed,
    daemon: Option<Child>,
    /// What the daemon is started with, if not by itself: a program and its arguments.
    pub(crate) through: Vec<String>,
    /// Whether its record may have lost what was confirmed, so that files are further than it says.
    pub(crate) torn: bool,
    /// A script of the test's own, if there is one.
    own: Vec<Value>,
    pub(crate) runs: Vec<Given>,
    next: usize,
    script_until: usize,
    /// Whatever ran beneath a daemon that was killed.
    gone: Vec<Process>,
    pub(crate) kills: BTreeMap<Victim, u32>,
    pub(crate) memory: u64,
    pub(crate) answers: u32,
}

impl Lane {
    /// Makes the place; starts nothing.
    pub(crate) fn new(number: usize, effects: &Arc<Effects>, seed: &Seed) -> Self {
        let place = Place::new();
        let roles = place.path("config/aaos/roles");
        std::fs::create_dir_all(&roles).unwrap();
        for (name, text) in pool::roles() {
            std::fs::write(roles.join(name), text).unwrap();
        }
        let url = effects.url();
        place.config(&format!(
            "roles_dir = \"roles\"\n\
             [providers.script]\nkind = \"scripted\"\nfile = \"script.jsonl\"\n\
             [models]\nplanner = \"script/a\"\nworker = \"script/a\"\nreasoner = \"script/a\"\n\
             [effects]\nkeyed = [\"http: POST {url}/keyed\"]\n"
        ));
        Self {
            number,
            place,
            effects: Arc::clone(effects),
            seed: seed.part(&format!("lane {number}")),
            daemon: None,
            through: Vec::new(),
            torn: false,
            own: Vec::new(),
            runs: Vec::new(),
            next: 0,
            script_until: 0,
            gone: Vec::new(),
            kills: BTreeMap::new(),
            memory: 0,
            answers: 0,
        }
    }

    fn form(&self, number: usize) -> Form {
        FORMS[number % FORMS.len()]
    }

    /// Writes the plans of the runs that are open and of those to come.
    fn script(&mut self) {
        let url = self.effects.url();
        let open = self.runs.iter().filter(|run| !run.ended);
        let mut plans: Vec<Value> = open
            .flat_map(|run| pool::plans(run.form, &run.tag, &url))
            .collect();
        self.script_until = self.next + AHEAD.min(OPEN * 8);
        for number in self.next..self.script_until {
            let tag = pool::tag(self.number, number);
            plans.extend(pool::plans(self.form(number), &tag, &url));
        }
        let own = std::mem::take(&mut self.own);
        let entries = own.into_iter().chain(pool::turns()).chain(plans);
        let text = entries.fold(String::new(), |mut text, entry| {
            let _ = writeln!(text, "{entry}");
            text
        });
        std::fs::write(self.place.path("config/aaos/script.jsonl"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = self.place.command(&["run"]);
        if let Some((program, rest)) = self.through.split_first() {
            let itself = command;
            command = Command::new(program);
            command.args(rest).arg(PROGRAM).arg("run").env_clear();
            command.envs(
                itself
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            command.current_dir(self.place.path("work"));
        }
        command
            .stdin(Stdio::null())
            .stdout(self.output())
            .stderr(self.output());
        command
    }

    /// Starts a daemon that is expected to end by itself, and gives what all of them said.
    pub(crate) fn refused(&mut self) -> String {
        self.starts_or_says()
            .unwrap_or_else(|| panic!("it runs: {}", self.said()))
    }

    /// Waits for an event of a kind in a run.
    pub(crate) fn wait_for(&self, run: &str, kind: &str) {
        let link = self.link().unwrap();
        assert!(
            link.until(run, 0, kind, PATIENCE),
            "no {kind}: {}",
            self.said()
        );
    }

    /// Waits for a run's end, and gives how it ended.
    pub(crate) fn outcome(&self, run: &str) -> Value {
        let since = Instant::now();
        loop {
            let shown = self.must("run.status", &json!({ "run": run }));
            if shown["view"]["finished"].is_u64() {
                return shown["view"]["outcome"].clone();
            }
            assert!(since.elapsed() < PATIENCE, "{shown}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn output(&self) -> File {
        let path = self.place.path("daemon.txt");
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    /// The end of what the daemons said.
    pub(crate) fn said(&self) -> String {
        let text = std::fs::read_to_string(self.place.path("daemon.txt")).unwrap_or_default();
        let from = text.len().saturating_sub(6_000);
        text[text.ceil_char_boundary(from)..].to_owned()
    }

    /// Starts the daemon if none runs, and waits until it answers.
    pub(crate) fn start(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        let said = self.starts_or_says();
        assert!(
            said.is_none(),
            "lane {}: the daemon ended: {said:?}",
            self.number
        );
    }

    /// Starts the daemon; what it said, if it ended instead of answering.
    pub(crate) fn starts_or_says(&mut self) -> Option<String> {
        self.script();
        let child = self.command().spawn().unwrap();
        processes::ours(child.id());
        let child = self.daemon.insert(child);
        let since = Instant::now();
        while Link::open(&self.place.socket()).is_none() {
            if child.try_wait().unwrap().is_some() {
                self.daemon = None;
                return Some(self.said());
            }
            assert!(since.elapsed() < PATIENCE, "neither answers nor ends");
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Starts the daemon with a script of the test's own.
    pub(crate) fn scripted(&mut self, entries: &[Value]) {
        self.own = entries.to_vec();
        self.start();
    }

    fn link(&self) -> Option<Link> {
        Link::open(&self.place.socket())
    }

    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value, NoAnswer> {
        self.link().ok_or(NoAnswer::Gone)?.ask(method, params)
    }

    /// Asks what has to be answered.
    pub(crate) fn must(&self, method: &str, params: &Value) -> Value {
        self.ask(method, params).unwrap_or_else(|error| {
            panic!(
                "lane {}: {method} {params}: {error:?}: {}",
                self.number,
                self.said()
            )
        })
    }

    /// A run's events.
    pub(crate) fn events(&self, run: &str) -> Vec<Value> {
        let params = json!({ "run": run, "after": 0, "follow": false });
        let mut link = self.link().unwrap();
        link.collect("run.watch", &params).unwrap().0
    }

    /// Gives goals until enough runs are open.
    pub(crate) fn fill(&mut self) {
        while self.runs.iter().filter(|run| !run.ended).count() < OPEN
            && self.next < self.script_until
        {
            let (number, form) = (self.next, self.form(self.next));
            self.next += 1;
            self.submit(number, form);
        }
    }

    /// Gives one goal.
    pub(crate) fn submit(&mut self, number: usize, form: Form) {
        let tag = pool::tag(self.number, number);
        let base = self.place.path("work").join(&tag);
        std::fs::create_dir_all(&base).unwrap();
        std::fs::write(base.join("seed.txt"), "a seed\n").unwrap();
        let url = self.effects.url();
        let ask: &[&str] = if form == Form::Asked {
            &["tool: http_send"]
        } else {
            &[]
        };
        let params = json!({
            "goal": pool::goal(form, &tag), "base": base, "orchestration": "plan", "ask": ask,
            "grants": [format!("http: GET,POST,PUT {url}")],
        });
        match self.ask("run.submit", &params) {
            Ok(answer) => self.runs.push(Given {
                id: answer["run"].as_str().unwrap().to_owned(),
                form,
                tag,
                ended: false,
            }),
            // Nobody was told that it was accepted. It is not looked for; if it was, its effects happen at most once.
            Err(NoAnswer::Gone) => {}
            Err(NoAnswer::Refused(why)) => panic!("lane {}: refused: {why}", self.number),
        }
    }

    /// Notes which runs have ended.
    fn look(&mut self) {
        let Ok(list) = self.ask("run.list", &json!({ "limit": 60 })) else {
            return;
        };
        for shown in list.as_array().into_iter().flatten() {
            let over = matches!(shown["state"].as_str(), Some("succeeded" | "failed"));
            for run in self.runs.iter_mut().filter(|run| over && !run.ended) {
                run.ended = shown["run"] == run.id.as_str();
            }
        }
    }

    /// Answers as an operator who looks before speaking. A request for approval is sometimes left for later.
    fn decide(&mut self, later: u64) {
        let Ok(waiting) = self.ask("approval.list", &json!({})) else {
            return;
        };
        for pending in waiting.as_array().into_iter().flatten() {
            let call = &pending["call"];
            let answered = if pending["for"] == "doubt" {
                let settlement = self.truth(pending);
                let params =
                    json!({ "run": pending["run"], "call": call, "settlement": settlement });
                self.ask("run.settle", &params)
            } else if self.seed.percent(later) {
                continue;
            } else {
                let params = json!({ "call": call, "verdict": "approve" });
                self.ask("approval.answer", &params)
            };
            self.answers += u32::from(answered.is_ok());
        }
    }

    /// What became of an act in doubt.
    fn truth(&self, pending: &Value) -> &'static str {
        let args: Value = serde_json::from_str(pending["args_preview"].as_str().unwrap_or(""))
            .unwrap_or_default();
        let done = match pending["tool"].as_str() {
            Some("http_send") => {
                let url = args["url"].as_str().unwrap_or("");
                let path = url
                    .strip_prefix(&self.effects.url())
                    .unwrap_or_else(|| panic!("{pending}"));
                let record = self.effects.settled();
                record.done.contains_key(path) || record.set.contains_key(path)
            }
            // The file is what a later act made of it, and only the record does not know.
            Some("file_write" | "file_edit") if self.torn => true,
            _ => panic!(
                "lane {}: nobody should be asked about {pending}",
                self.number
            ),
        };
        if done { "done" } else { "repeat" }
    }

    /// One fault at a drawn moment.
    pub(crate) fn fault(&mut self) {
        self.start();
        self.look();
        self.decide(50);
        self.fill();
        let victim = match self.seed.below(100) {
            0..50 => Victim::Daemon,
            50..56 => Victim::DaemonAsked,
            56..80 => Victim::Worker,
            80..88 => Victim::Launcher,
            _ => Victim::Broker,
        };
        self.wait();
        self.kill(victim);
    }

    fn wait(&mut self) {
        let open: Vec<String> = self
            .runs
            .iter()
            .filter(|run| !run.ended)
            .map(|run| run.id.clone())
            .collect();
        if !open.is_empty() && self.seed.percent(50) {
            let run = self.seed.one(&open).clone();
            let kind = *self.seed.one(&MOMENTS);
            let after = self
                .ask("run.status", &json!({ "run": run }))
                .map_or(0, |shown| shown["view"]["last"].as_u64().unwrap_or(0));
            if let Some(link) = self.link() {
                link.until(&run, after, kind, Duration::from_millis(100));
            }
        } else {
            std::thread::sleep(Duration::from_micros(self.seed.below(60_000)));
        }
    }

    fn kill(&mut self, victim: Victim) {
        let daemon = self.daemon.as_ref().unwrap().id();
        let beneath = processes::beneath(daemon);
        let own = i32::try_from(daemon).unwrap();
        let is_worker = |one: &&Process| one.name.starts_with("aaos-agent-work");
        let chosen: Vec<&Process> = match victim {
            Victim::Daemon | Victim::DaemonAsked => vec![],
            Victim::Worker => beneath
                .iter()
                .filter(is_worker)
                .filter(|one| one.parent != own)
                .collect(),
            Victim::Launcher => beneath
                .iter()
                .filter(is_worker)
                .filter(|one| one.parent == own)
                .collect(),
            Victim::Broker => beneath
                .iter()
                .filter(|one| one.name == "aaos-egress")
                .collect(),
        };
        match victim {
            Victim::Daemon => self.end(Signal::KILL),
            Victim::DaemonAsked => self.end(Signal::TERM),
            // Nothing of the kind runs at this moment; the daemon does.
            _ if chosen.is_empty() => return self.kill(Victim::Daemon),
            _ => processes::kill(self.seed.one(&chosen).number, Signal::KILL),
        }
        *self.kills.entry(victim).or_default() += 1;
    }

    /// Ends the daemon and remembers what ran beneath it.
    pub(crate) fn end(&mut self, signal: Signal) {
        let mut child = self.daemon.take().unwrap();
        self.memory = self.memory.max(processes::memory(child.id()));
        self.gone.extend(processes::beneath(child.id()));
        processes::kill(i32::try_from(child.id()).unwrap(), signal);
        let ended = child.wait().unwrap();
        assert!(
            signal == Signal::KILL || ended.success(),
            "lane {}: {ended:?}: {}",
            self.number,
            self.said()
        );
        processes::reap();
        if self.gone.len() > 200 {
            self.nothing_left();
        }
    }

    /// That nothing of the daemons that ended is left.
    pub(crate) fn nothing_left(&mut self) {
        let left = processes::left(&std::mem::take(&mut self.gone));
        assert!(
            left.is_empty(),
            "lane {}: left behind: {left:?}",
            self.number
        );
    }

    /// Lets every run finish.
    pub(crate) fn finish(&mut self) {
        let since = Instant::now();
        loop {
            self.start();
            self.look();
            self.decide(0);
            if self.runs.iter().all(|run| run.ended) {
                return;
            }
            if since.elapsed() > PATIENCE {
                let open: Vec<String> = self
                    .runs
                    .iter()
                    .filter(|run| !run.ended)
                    .map(|run| self.excerpt(run))
                    .collect();
                panic!(
                    "lane {}: not finished:\n{}\n{}",
                    self.number,
                    open.join("\n"),
                    self.said()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The end of a run's record, for whoever looks for what went wrong.
    pub(crate) fn excerpt(&self, run: &Given) -> String {
        let events = self.events(&run.id);
        let from = events.len().saturating_sub(60);
        let lines: Vec<String> = events[from..]
            .iter()
            .map(|event| event.to_string().chars().take(400).collect())
            .collect();
        format!(
            "{} {:?} {}\n{}",
            run.id,
            run.form,
            run.tag,
            lines.join("\n")
        )
    }

    /// Ends the daemon as an operator does, and checks that nothing is left and the record holds.
    pub(crate) fn close(&mut self) {
        self.end(Signal::TERM);
        self.nothing_left();
        let state = self.place.path("state/aaos");
        let done = self
            .place
            .run(&["audit", "verify", "--json", state.to_str().unwrap()]);
        assert!(
            done.code == 0 && done.json()["whole"] == true,
            "lane {}: {done:?}",
            self.number
        );
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
