//! The bell: has the operator's command told of what waits for them.
//!
//! The command is an argument list from the configuration and never goes through a shell. It gets the act as JSON on
//! its standard input and one line for people as its last argument; what it prints is dropped. It is given some seconds
//! and then killed with all it started. Few ring at a time. Nothing waits for the bell.

use aaos_core::event::WaitsFor;
use aaos_ports::{Bell, Pending};
use async_trait::async_trait;
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, sync::Semaphore};

/// Longest time the command may take: a desktop's notification takes a fraction of a second.
const RING_TIME: Duration = Duration::from_secs(10);
/// Most commands at the same time: a run that asks about a thousand acts at once starts no thousand programs.
const RINGS_MAX: usize = 4;
/// Longest description of an act in the line for people, in bytes: what a notification shows.
const LINE_BYTES_MAX: usize = 240;

/// The operator's command.
pub(crate) struct Told {
    command: Vec<String>,
    hidden: Vec<&'static str>,
    room: Semaphore,
}

impl Told {
    /// A command with its arguments, which does not get the variables that are hidden; none if it is empty.
    pub(crate) fn by(command: &[String], hidden: Vec<&'static str>) -> Option<Self> {
        (!command.is_empty()).then(|| Self {
            command: command.to_vec(),
            hidden,
            room: Semaphore::new(RINGS_MAX),
        })
    }
}

#[async_trait]
impl Bell for Told {
    async fn ring(&self, pending: &Pending) -> Result<(), String> {
        let _place = self
            .room
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let rung = run(&self.command, &self.hidden, pending).await;
        let program = self.command.first().map_or("", String::as_str);
        rung.map_err(|error| format!("{program}: {error}"))
    }
}

async fn run(command: &[String], hidden: &[&str], pending: &Pending) -> std::io::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let body = serde_json::to_vec(pending)?;
    let mut starting = Command::new(program);
    starting
        .args(arguments)
        .arg(line(pending))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    for variable in hidden {
        starting.env_remove(variable);
    }
    let mut child = starting.spawn()?;
    let group = Group::of(&child);
    let stdin = child.stdin.take();
    let told = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read what it is given has seen the line.
            let _ = stdin.write_all(&body).await;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(RING_TIME, told).await.map_err(|_| {
        std::io::Error::other(format!("it took longer than {} s", RING_TIME.as_secs()))
    })??;
    group.ended();
    if status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(format!("it ended with {status}")))
}

/// The command and all it started: killed together unless the command ended by itself.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self(number.and_then(rustix::process::Pid::from_raw))
    }

    /// The command was waited for; its number may be another's by now.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// What waits, in one line, with the command that shows all of it. It begins with a word of ours, so that no program
/// takes it for an option.
fn line(pending: &Pending) -> String {
    let waiting = &pending.waiting;
    let text = match &waiting.what {
        WaitsFor::Approval { preview, .. } => format!("Approve {}? {preview}", waiting.tool),
        WaitsFor::Doubt { args_preview, .. } => {
            format!("Did {} happen? {args_preview}", waiting.tool)
        }
    };
    let what = aaos_core::text::preview(&text, LINE_BYTES_MAX);
    format!("{what}. agentd approvals show {}", waiting.call)
}
