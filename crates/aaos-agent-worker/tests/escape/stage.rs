//! The stage: a workspace full of traps, something worth stealing beside it, and a confined worker that may run the probe.

use crate::rows::Row;
use aaos_core::{
    id::{AgentId, CallId, RunId},
    proof::Layer,
    time::Span,
};
use aaos_ports::{Backend, Gate, LaunchSpec, ToolError, ToolOutput, Worker, WorkerCall};
use aaos_sandbox::{
    backend::namespaced::{Namespaced, NamespacedConfig},
    programs::Toolchain,
    protocol::Mask,
};
use aaos_testkit::backend::{Notes, OpenGate};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, symlink},
            net::{SocketAddr, UnixListener},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tempfile::TempDir;

/// In the environment of whoever starts workers; nothing inside may see it.
const NEEDLE: &str = "AAOS_ESCAPE_NEEDLE";
/// Where the suite's programs were copied to, for an unprivileged user who may not read the build's directory.
const PROGRAMS: &str = "AAOS_ESCAPE_PROGRAMS";
/// The unprivileged user number: `nobody`, on every system.
const NOBODY: u32 = 65_534;
/// Longest an ordinary attempt takes; a fork bomb on a busy machine takes longest.
const ATTEMPT_MS: u64 = 60_000;

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Said {
    /// The probe's exit code, if it ended by itself.
    pub(crate) code: Option<i64>,
    /// What it printed, or the tool's error.
    pub(crate) text: String,
}

/// The stage of one test.
pub(crate) struct Stage {
    root: TempDir,
    backend: Namespaced,
    port: u16,
    abstract_name: String,
    calls: AtomicU64,
    _unix: Vec<UnixListener>,
}

/// The directory that holds the worker, the egress broker and the probe.
fn programs() -> PathBuf {
    if let Some(copied) = std::env::var_os(PROGRAMS) {
        return copied.into();
    }
    Path::new(env!("CARGO_BIN_EXE_aaos-agent-worker"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Builds the probe into a directory.
fn build_probe(into: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/escape/probe.c");
    let built = Command::new("cc")
        .args(["-O1", "-o"])
        .arg(into.join("probe"))
        .arg(source)
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the probe was not built; the suite needs a C compiler"
    );
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server on this machine's loopback that answers every connection.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nreached",
            );
        }
    });
    port
}

impl Stage {
    pub(crate) fn build() -> Self {
        let root = TempDir::with_prefix("aaos-escape-").unwrap();
        open_to_all(root.path());
        let at = |name: &str| root.path().join(name);
        for directory in [
            "outside",
            "ws",
            "ws/.git",
            "ws/.git/hooks",
            "ws/own",
            "ws/above",
            "ws/above/own",
            "ro",
            "bare",
            "bare/.git",
            "bin",
        ] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::write(at("outside/secret"), "secret words\n").unwrap();
        fs::write(at("ws/inside"), "inside\n").unwrap();
        fs::write(at("ws/.git/config"), "[core]\n").unwrap();
        fs::write(at("ws/own/journal"), "secret words\n").unwrap();
        fs::write(at("ro/kept"), "kept\n").unwrap();
        symlink(at("outside"), at("ws/linked")).unwrap();
        symlink(at("outside/secret"), at("ws/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("ws/pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        match std::env::var_os(PROGRAMS) {
            Some(copied) => {
                fs::copy(Path::new(&copied).join("probe"), at("bin/probe")).unwrap();
            }
            None => build_probe(&at("bin")),
        }
        let abstract_name = format!(
            "aaos-escape-{}-{}",
            std::process::id(),
            root.path().display()
        );
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unix = vec![
            UnixListener::bind(at("outside/socket")).unwrap(),
            UnixListener::bind(at("ws/socket")).unwrap(),
            UnixListener::bind_addr(&address).unwrap(),
        ];
        let programs = programs();
        let config = NamespacedConfig {
            worker: programs.join("aaos-agent-worker"),
            egress: programs.join("aaos-egress"),
            require: Layer::required_by_default(),
            pool: 0,
            omit: None,
            lock: None,
            mask: Mask {
                hidden: ["ws/own", "ws/above/own"]
                    .map(|own| at(own).display().to_string())
                    .to_vec(),
                shown: Vec::new(),
            },
            toolchain: Toolchain {
                path: vec!["/usr/bin".into(), "/bin".into()],
                cargo_home: None,
                rustup_home: None,
                extra: Vec::new(),
            },
        };
        Self {
            backend: Namespaced::new(config, aaos_tools::builtin()),
            port: server(),
            abstract_name,
            calls: AtomicU64::new(1),
            root,
            _unix: unix,
        }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    /// A worker of an agent that may read and write the workspace, read beside it, run the probe, and get one page.
    pub(crate) async fn launch(&self) -> Box<dyn Worker> {
        let (ws, ro, probe) = (self.path("ws"), self.path("ro"), self.path("bin/probe"));
        let bare = self.path("bare");
        let grants = [
            format!("file_read: {ws}/**"),
            format!("file_write: {ws}/**"),
            format!("file_read: {ro}/**"),
            format!("file_write: {bare}/**"),
            format!("exec: {probe} in {ws}/**"),
            format!("http: GET http://127.0.0.1:{}", self.port),
            "tool: *".to_owned(),
        ];
        let granted: Vec<&str> = grants.iter().map(String::as_str).collect();
        self.launch_with(&granted, &ws, vec![ws.clone(), ro, bare])
            .await
    }

    /// A worker of an agent that may read what lies beyond a link another agent put into the workspace, and whose run
    /// the operator started there.
    pub(crate) async fn launch_beyond_a_link(&self) -> Box<dyn Worker> {
        let (ws, linked) = (self.path("ws"), self.path("ws/linked"));
        let grant = format!("file_read: {linked}/**");
        let anchors = vec![ws, linked.clone()];
        self.launch_with(&[&grant, "tool: *"], &linked, anchors)
            .await
    }

    async fn launch_with(
        &self,
        grants: &[&str],
        base: &str,
        anchors: Vec<String>,
    ) -> Box<dyn Worker> {
        let spec = LaunchSpec {
            agent: AgentId::from_drawn(1),
            run: RunId::from_drawn(1),
            capabilities: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
            base: base.to_owned(),
            folder: base.to_owned(),
            anchors,
            witness: Arc::new(Notes::default()),
        };
        self.backend
            .launch(spec)
            .await
            .unwrap_or_else(|error| panic!("no worker: {error}"))
    }

    async fn call(
        &self,
        worker: &dyn Worker,
        tool: &str,
        input: Value,
        deadline_ms: u64,
    ) -> Result<ToolOutput, ToolError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let gate: Arc<dyn Gate> = Arc::new(OnlyTheServer {
            port: self.port,
            open: OpenGate::default(),
        });
        worker
            .call(WorkerCall {
                act: aaos_ports::Act::Perform,
                call: CallId::from_drawn(number),
                tool: tool.parse().unwrap(),
                input,
                gate,
                deadline: Span::from_millis(deadline_ms),
            })
            .await
    }

    /// Runs the probe, with a deadline.
    pub(crate) async fn run_for(
        &self,
        worker: &dyn Worker,
        arguments: &[&str],
        deadline_ms: u64,
    ) -> Result<Said, ToolError> {
        let probe = self.path("bin/probe");
        let args: Vec<String> = arguments
            .iter()
            .map(|argument| self.filled(argument))
            .collect();
        let output = self
            .call(
                worker,
                "shell",
                json!({ "command": probe, "args": args }),
                deadline_ms,
            )
            .await?;
        Ok(Said {
            code: output.json.get("exit_code").and_then(Value::as_i64),
            text: output
                .json
                .get("stdout")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Runs the probe; a tool's error is what was said.
    pub(crate) async fn run(&self, worker: &dyn Worker, arguments: &[&str]) -> Said {
        let ran = self.run_for(worker, arguments, ATTEMPT_MS).await;
        ran.unwrap_or_else(|error| Said {
            code: None,
            text: error.to_string(),
        })
    }

    /// Makes one attempt.
    pub(crate) async fn attempt(&self, worker: &dyn Worker, row: &Row) -> Said {
        self.run(worker, row.run).await
    }

    pub(crate) async fn read_by_tool(
        &self,
        worker: &dyn Worker,
        name: &str,
    ) -> Result<ToolOutput, ToolError> {
        let path = format!("{}/{name}", self.path("ws"));
        self.call(worker, "file_read", json!({ "path": path }), ATTEMPT_MS)
            .await
    }

    fn filled(&self, argument: &str) -> String {
        argument
            .replace("{outside}", &self.path("outside"))
            .replace("{ws}", &self.path("ws"))
            .replace("{ro}", &self.path("ro"))
            .replace("{bare}", &self.path("bare"))
            .replace("{probe}", &self.path("bin/probe"))
            .replace("{port}", &self.port.to_string())
            .replace("{abstract}", &self.abstract_name)
            .replace("{needle}", needle())
            .replace("{loader}", loader())
            .replace("{longer}", &"/x".repeat(4000))
            .replace("{long}", &"x".repeat(300))
    }

    /// Processes of this stage's probe that are still there, as the machine sees them.
    pub(crate) fn processes_of_the_probe(&self) -> Vec<String> {
        let probe = self.path("bin/probe");
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = processes.filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        });
        lines.filter(|line| line.starts_with(&probe)).collect()
    }
}

/// A variable of this process's environment.
fn needle() -> &'static str {
    // Whoever runs tests of a workspace sets the second; this suite sets the first when it runs itself again.
    let set = |name: &&str| std::env::var_os(name).is_some();
    [NEEDLE, "CARGO_MANIFEST_DIR"]
        .into_iter()
        .find(set)
        .expect("a variable to look for")
}

/// The C library's loader, as the kernel starts it.
const fn loader() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    }
}

/// Admits what the worker's own grant says and nothing else, as the runtime's gate would.
struct OnlyTheServer {
    port: u16,
    open: OpenGate,
}

#[async_trait::async_trait]
impl Gate for OnlyTheServer {
    async fn admit(
        &self,
        need: &aaos_core::capability::Need,
    ) -> Result<aaos_ports::Admitted, aaos_ports::PowerError> {
        let grant: aaos_core::capability::Capability =
            format!("http: GET http://127.0.0.1:{}", self.port)
                .parse()
                .unwrap();
        if !grant.allows(need) {
            return Err(aaos_ports::PowerError::Denied {
                need: need.to_string(),
                axis: "host".to_owned(),
                reason: "no grant of this agent reaches it".to_owned(),
            });
        }
        self.open.admit(need).await
    }

    fn note(&self, connection: aaos_ports::Connection) {
        self.open.note(connection);
    }
}

/// Runs the tests of this program whose names begin so once more, as an unprivileged user, if root runs them now.
pub(crate) fn again_as_an_unprivileged_user(beginning: &str) {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let copies = TempDir::with_prefix("aaos-escape-programs-").unwrap();
    open_to_all(copies.path());
    let to = |name: &str| copies.path().join(name);
    for name in ["aaos-agent-worker", "aaos-egress"] {
        let from = programs().join(name);
        fs::copy(&from, to(name)).unwrap_or_else(|error| {
            panic!("{}: {error}; build the workspace first", from.display())
        });
    }
    fs::copy(std::env::current_exe().unwrap(), to("suite")).unwrap();
    build_probe(copies.path());
    let ran = Command::new(to("suite"))
        .args([beginning, "--test-threads", "2"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", "/tmp")
        .env(PROGRAMS, copies.path())
        .env(NEEDLE, "1")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && told.contains("test result: ok") && !told.contains(" 0 passed"),
        "as an unprivileged user:\n{told}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
