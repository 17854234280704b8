//! Reaches the daemon, and starts it where it is started on demand.

use super::{CliError, Code, Desk, link::Link};
use crate::{
    config::{Config, Installation},
    limits::{ANSWER_TIME, LOG_BYTES_MAX, START_TIME, STOP_TIME},
    rpc::{
        Call, DaemonStatus, DaemonStop,
        wire::{DaemonStatusAnswer, Nothing, StopParams, When},
    },
};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What to do if no daemon answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Start one.
    Start,
    /// Say so.
    Report,
}

/// Pause between two looks at whether the daemon is there: a tenth of its start.
const LOOK_PAUSE: Duration = Duration::from_millis(4);
/// Pause before a daemon that hung up is looked for again: longer than the system takes to end a killed process.
const ENDING_PAUSE: Duration = Duration::from_millis(200);
/// Lines of the log that are shown when a start failed.
const LOG_LINES_SHOWN: usize = 12;
/// Bytes at the end of the log that are looked through for them.
const LOG_BYTES_SHOWN: u64 = 8 * 1024;

/// Asks the daemon one question.
pub(crate) fn ask<C: Call>(
    desk: &Desk,
    absent: Absent,
    doing: &str,
    params: &C::Params,
) -> Result<C::Answer, CliError> {
    ask_for::<C>(desk, absent, doing, params, ANSWER_TIME)
}

/// Asks the daemon one question, and waits so long for the answer.
pub(crate) fn ask_for<C: Call>(
    desk: &Desk,
    absent: Absent,
    doing: &str,
    params: &C::Params,
    patience: Duration,
) -> Result<C::Answer, CliError> {
    let config = desk.config(Installation::PerUser)?;
    desk.wait(async {
        let mut link = reach(desk, &config, absent).await?;
        link.ask_for::<C>(doing, params, patience).await
    })
}

/// Asks the daemon what it is.
pub(crate) async fn about(link: &mut Link) -> Result<DaemonStatusAnswer, CliError> {
    const DOING: &str = "ask the daemon what it is";
    link.ask::<DaemonStatus>(DOING, &Nothing {}).await
}

/// Connects to the daemon. One that runs with other settings is restarted if it is idle.
pub(crate) async fn reach(desk: &Desk, config: &Config, absent: Absent) -> Result<Link, CliError> {
    let socket = config.paths.socket.value.as_path();
    match Link::open(socket).await {
        Ok(link) if absent == Absent::Start => match current(desk, config, link).await {
            // The one that took the connection was just ending: what comes after it is asked once more.
            Err(error) if error.code == Code::Unreachable => {
                tokio::time::sleep(ENDING_PAUSE).await;
                let again = Link::open(socket).await;
                match again {
                    Ok(link) => current(desk, config, link).await,
                    Err(absent) if is_absent(&absent) && starts_on_demand(config) => {
                        start(config).await
                    }
                    Err(_) => Err(error),
                }
            }
            reached => reached,
        },
        Ok(link) => Ok(link),
        Err(error) if is_absent(&error) && absent == Absent::Start && starts_on_demand(config) => {
            start(config).await
        }
        Err(error) => Err(unreachable(config, &error)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// The system-wide daemon is its service manager's to start.
fn starts_on_demand(config: &Config) -> bool {
    config.paths.installation == Installation::PerUser
        && config.paths.socket.value != Path::new("/run/agentd/agentd.sock")
}

/// That the daemon cannot be reached, and why.
pub(crate) fn unreachable(config: &Config, error: &io::Error) -> CliError {
    let place = config.paths.socket.value.display();
    let (problem, next_step) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            format!("the socket {place} is not open to you"),
            "Join the group `aaos` and log in again, or use your own daemon".to_owned(),
        ),
        _ if is_absent(error) && starts_on_demand(config) => (
            format!("no daemon answers at {place}"),
            "`agentd submit` starts one; `agentd run` does so in this terminal".to_owned(),
        ),
        _ if is_absent(error) => (
            format!("no daemon answers at {place}"),
            "Run `systemctl status agentd`".to_owned(),
        ),
        _ => (
            format!("{place}: {error}"),
            "See `agentd config` for where the socket is".to_owned(),
        ),
    };
    CliError::new(Code::Unreachable, "reach the daemon", problem, next_step)
}

/// Makes sure that the daemon which answers has the settings that are in force here.
async fn current(desk: &Desk, config: &Config, mut link: Link) -> Result<Link, CliError> {
    let status = about(&mut link).await?;
    let mine = status.installation == "per_user" && starts_on_demand(config);
    if !mine || status.fingerprint == config.fingerprint() {
        return Ok(link);
    }
    let idle = StopParams { when: When::Idle };
    let stopping = link.ask::<DaemonStop>("restart the daemon", &idle).await?;
    if !stopping.stopping {
        desk.note(format!(
            "note: the daemon runs with other settings than these and has {} active; this goes by the daemon's. \
             `agentd daemon restart` when it is idle",
            super::words::plural(stopping.runs_active as u64, "run")
        ));
        return Ok(link);
    }
    drop(link);
    gone(config, stopping.pid).await?;
    start(config).await
}

/// Waits until the daemon of this process has let go of its journal and ended, so that what follows finds it whole.
pub(crate) async fn gone(config: &Config, process: u32) -> Result<(), CliError> {
    let since = Instant::now();
    while runs(process) || Link::open(&config.paths.socket.value).await.is_ok() {
        if since.elapsed() > STOP_TIME {
            let problem = format!(
                "process {process} still runs after {} s",
                STOP_TIME.as_secs()
            );
            return Err(CliError::new(
                Code::Unreachable,
                "stop the daemon",
                problem,
                "See its log, or end its process",
            ));
        }
        tokio::time::sleep(LOOK_PAUSE * 5).await;
    }
    Ok(())
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(process: u32) -> bool {
    let about = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the program's name, which may itself hold parentheses.
    about
        .rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Starts a daemon and connects to it.
pub(crate) async fn start(config: &Config) -> Result<Link, CliError> {
    let log = config.paths.log();
    let trouble = |problem: String| {
        let next_step = format!(
            "Make {} writable, or choose another with --state-dir",
            config.paths.state.value.display()
        );
        CliError::new(Code::Unreachable, "start the daemon", problem, next_step)
    };
    let (file, from) =
        open_log(&log).map_err(|error| trouble(format!("{}: {error}", log.display())))?;
    let mut child = spawn(config, file)
        .map_err(|error| trouble(format!("the program cannot start itself again: {error}")))?;
    let since = Instant::now();
    let mut ended = None;
    loop {
        match Link::open(&config.paths.socket.value).await {
            Ok(link) => return Ok(link),
            Err(error) if !is_absent(&error) => return Err(unreachable(config, &error)),
            Err(_) => {}
        }
        if ended.is_none() {
            ended = child
                .try_wait()
                .ok()
                .flatten()
                .map(|status| (status, Instant::now()));
        }
        let patience_over = since.elapsed() > START_TIME;
        // Another that was started at the same moment may still be on its way.
        let gave_up = ended
            .as_ref()
            .is_some_and(|(_, at)| at.elapsed() > Duration::from_millis(300));
        if patience_over || gave_up {
            let problem = match ended {
                Some((status, _)) => format!("it ended at once ({status})"),
                None => format!("it is not ready after {} s", START_TIME.as_secs()),
            };
            let error = CliError::new(
                Code::Unreachable,
                "start the daemon",
                problem,
                format!("Its log is {}", log.display()),
            );
            return Err(CliError {
                shown: last_lines(&log, from),
                ..error
            });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Opens the log to add to it, after setting a long one aside. Answers with where this start's lines begin.
fn open_log(path: &Path) -> io::Result<(File, u64)> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    if std::fs::metadata(path).is_ok_and(|about| about.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let from = file.metadata()?.len();
    Ok((file, from))
}

fn spawn(config: &Config, log: File) -> io::Result<Child> {
    let program: PathBuf = std::env::current_exe()?;
    let also = log.try_clone()?;
    let mut command = Command::new(program);
    command.args(["run", "--on-demand"]);
    let paths = &config.paths;
    if paths.config.origin != crate::config::Origin::Default {
        command.arg("--config").arg(&paths.config.value);
    }
    command
        .arg("--state-dir")
        .arg(&paths.state.value)
        .arg("--socket")
        .arg(&paths.socket.value);
    if let Some(roles) = &paths.roles {
        // It may have been given relative to this directory; the daemon has another.
        command.env("AAOS_ROLES_DIR", &roles.value);
    }
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also)
        .spawn()
}

/// The last lines of the log, from this start on.
fn last_lines(path: &Path, from: u64) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(
            from.max(length.saturating_sub(LOG_BYTES_SHOWN)),
        ))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_SHOWN).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
    lines
        .iter()
        .skip(shown)
        .map(|line| (*line).to_owned())
        .collect()
}
