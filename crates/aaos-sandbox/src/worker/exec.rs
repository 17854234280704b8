//! Starting programs in a worker, one after the other.
//!
//! The worker is the first process of its namespace: when a program has ended, or its call is over, whatever it left
//! running is ended and reaped before anyone hears of it.
//!
//! Refuses: a program, arguments or a directory that the agent does not hold or the call did not declare, without
//! trying; growing with what a program writes; a program that waits for someone to read or write.

use super::{calls::Ticket, inside::Held, line::stopped, program::Started};
use crate::protocol::Program;
use aaos_core::{capability::Need, id::CallId, text};
use aaos_ports::{
    Exec, PowerError,
    power::{Command, Finished, absolute},
};
use rustix::fd::{AsRawFd, OwnedFd};
use std::{
    ffi::OsStr,
    fs,
    io::{self, PipeReader, PipeWriter, Write},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
};

/// Where programs are looked for beside the granted ones' own directories. What is not granted is not executed.
const SEARCH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// The directory programs take for their operator's own; private to the worker, and gone with it.
const HOME: &str = "/tmp/home";

/// The programs of one worker.
pub(super) struct Programs {
    granted: Vec<Program>,
    fixed: Vec<(String, String)>,
    base: String,
    running: Mutex<Option<Running>>,
    free: Condvar,
}

/// The program whose turn it is.
struct Running {
    call: CallId,
    /// Written to when it is to end.
    bell: PipeWriter,
}

impl Programs {
    /// The programs a policy grants. They reach the egress broker at `proxy`, if there is one.
    pub(super) fn new(granted: Vec<Program>, base: String, proxy: Option<SocketAddr>) -> Self {
        let fixed = fixed_environment(&granted, proxy);
        Self {
            granted,
            fixed,
            base,
            running: Mutex::new(None),
            free: Condvar::new(),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the program of any of these calls; those whose turn has not come look whether they are still wanted.
    pub(super) fn interrupt(&self, calls: &[CallId]) {
        if let Some(running) = &*self.running()
            && calls.contains(&running.call)
        {
            ring(&running.bell);
        }
        self.free.notify_all();
    }

    /// Ends the program whose turn it is and waits until it is gone.
    pub(super) fn end(&self) {
        let mut running = self.running();
        if let Some(running) = &*running {
            ring(&running.bell);
        }
        while running.is_some() {
            let woken = self.free.wait(running);
            running = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the turn, as long as the call lasts. The turn ends when the answer is dropped.
    fn turn(&self, ticket: &Ticket, what: &str) -> Result<Turn<'_>, PowerError> {
        let (wake, bell) = io::pipe().map_err(|error| io_fault(what, &error))?;
        let mut running = self.running();
        while running.is_some() {
            if ticket.is_over() {
                return Err(stopped(what));
            }
            let woken = self.free.wait_timeout(running, ticket.left());
            running = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        // Whoever ends the call from here on finds the bell.
        *running = Some(Running {
            call: ticket.call,
            bell,
        });
        drop(running);
        let turn = Turn {
            programs: self,
            wake,
        };
        if ticket.is_over() {
            return Err(stopped(what));
        }
        Ok(turn)
    }
}

/// A byte in an empty pipe of our own: there is room, and both ends are open.
fn ring(mut bell: &PipeWriter) {
    let _rung = bell.write(&[1]);
}

/// The right to run a program now.
struct Turn<'a> {
    programs: &'a Programs,
    wake: PipeReader,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.programs.running() = None;
        self.programs.free.notify_all();
    }
}

/// What every program is told.
fn fixed_environment(granted: &[Program], proxy: Option<SocketAddr>) -> Vec<(String, String)> {
    let own = granted.iter().filter_map(|program| parent(&program.file));
    let mut search: Vec<&str> = Vec::new();
    for directory in own.chain(SEARCH) {
        if !search.contains(&directory) {
            search.push(directory);
        }
    }
    let mut all = vec![
        ("PATH", search.join(":")),
        ("HOME", HOME.to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TERM", "dumb".to_owned()),
    ];
    if let Some(proxy) = proxy {
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
        all.extend(names.map(|name| (name, format!("http://{proxy}"))));
        all.extend(["NO_PROXY", "no_proxy"].map(|name| (name, String::new())));
    }
    all.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn parent(file: &str) -> Option<&str> {
    Path::new(file).parent()?.to_str()
}

/// The power to start programs, of one call.
pub(super) struct WorkerExec {
    pub(super) programs: Arc<Programs>,
    pub(super) needs: Vec<Need>,
    /// What the agent holds, looked at when it matters.
    pub(super) held: Arc<RwLock<Held>>,
    pub(super) ticket: Ticket,
}

impl Exec for WorkerExec {
    fn run(&self, command: Command) -> Result<Finished, PowerError> {
        let what = shown(&command);
        let directory = absolute(&command.directory, &self.programs.base)?;
        self.check(&command, &directory)?;
        let program = self.program(&command)?;
        let turn = self.programs.turn(&self.ticket, &what)?;
        // Again: something may have been taken away while the turn had not come.
        let held = self.check(&command, &directory)?;
        let directory = held.files.directory(&directory)?;
        let child = self
            .start(program, &command, &directory)
            .map_err(|error| start_fault(&what, &error))?;
        let started = Started {
            child,
            ticket: &self.ticket,
            wake: &turn.wake,
            what: &what,
        };
        started.finish(&command.stdin, command.output_bytes_max)
    }
}

impl WorkerExec {
    /// Whether this start is held and was declared; answers with all that is held.
    fn check(&self, command: &Command, directory: &str) -> Result<Held, PowerError> {
        let held = super::inside::read(&self.held).clone();
        let wanted = Need::Exec {
            program: command.program.clone(),
            args: command.args.clone(),
            workspace: directory.to_owned(),
        };
        let denied = |reason: &str| PowerError::Denied {
            need: wanted.to_string(),
            axis: "program".to_owned(),
            reason: reason.to_owned(),
        };
        if !held.capabilities.iter().any(|held| held.allows(&wanted)) {
            return Err(denied(
                "no grant of this agent starts it so; work within the granted programs",
            ));
        }
        let base = &self.programs.base;
        let declared = |need: &Need| match need {
            Need::Exec {
                program,
                args,
                workspace,
            } => {
                *program == command.program
                    && *args == command.args
                    && absolute(workspace, base).is_ok_and(|declared| declared == directory)
            }
            _ => false,
        };
        if !self.needs.iter().any(declared) {
            return Err(denied("the call did not declare that it starts this"));
        }
        Ok(held)
    }

    fn program(&self, command: &Command) -> Result<&Program, PowerError> {
        let mut granted = self.programs.granted.iter();
        granted
            .find(|program| program.name == command.program)
            .ok_or_else(|| {
                PowerError::NotFound(format!(
                    "the program `{}`",
                    text::preview(&command.program, 128)
                ))
            })
    }

    fn start(
        &self,
        program: &Program,
        command: &Command,
        directory: &OwnedFd,
    ) -> io::Result<Child> {
        // Where it exists already nothing is lost; where it cannot be made the program finds out.
        let _made = fs::create_dir(HOME);
        // By the handle, so that what was looked at is where it starts.
        let directory = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let name = Path::new(&program.name).file_name();
        let called = if name == Path::new(&program.file).file_name() {
            OsStr::new(&program.file)
        } else {
            name.unwrap_or(OsStr::new(&program.file))
        };
        std::process::Command::new(&program.file)
            .arg0(called)
            .args(&command.args)
            .current_dir(directory)
            .env_clear()
            .envs(self.programs.fixed.iter().cloned())
            .envs(program.env.iter().cloned())
            .envs(command.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

fn shown(command: &Command) -> String {
    format!("starting `{}`", text::preview(&command.program, 128))
}

pub(super) fn io_fault(what: &str, error: &io::Error) -> PowerError {
    PowerError::Io {
        what: what.to_owned(),
        message: error.to_string(),
    }
}

fn start_fault(what: &str, error: &io::Error) -> PowerError {
    match error.kind() {
        io::ErrorKind::NotFound => PowerError::NotFound(format!("what {what} needs")),
        io::ErrorKind::ArgumentListTooLong => PowerError::Io {
            what: what.to_owned(),
            message: "its arguments are longer than the system takes; pass them in a file or on its standard input"
                .to_owned(),
        },
        _ => io_fault(what, error),
    }
}
