//! The tools that start programs: what they ask for and answer against the fake, and what really happens with git.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests; the real programs run in a temporary directory"
)]

use aaos_core::{approval::Preview, capability::Need, id::CallId};
use aaos_ports::{
    AnyTool, Exec, Happened, PowerError, Powers, Question, ToolError,
    power::{Captured, Command, Ended, Finished},
};
use aaos_testkit::{
    backend::OpenGate,
    exec::{Programs, finished},
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{self, Stdio},
    sync::Arc,
};

fn tool(name: &str) -> Arc<dyn AnyTool> {
    let mut all = aaos_tools::builtin().into_iter();
    all.find(|tool| tool.spec().name.as_str() == name).unwrap()
}

async fn call(name: &str, exec: Arc<dyn Exec>, input: Value) -> Result<Value, ToolError> {
    let powers = Powers::none(CallId::from_drawn(1), Arc::new(OpenGate::default()));
    let outcome = tool(name).call(input, &powers.with_exec(exec)).await;
    outcome.map(|output| output.json)
}

async fn ask(name: &str, exec: Arc<dyn Exec>, input: &Value, question: Question) -> Value {
    let powers = Powers::none(CallId::from_drawn(1), Arc::new(OpenGate::default()));
    let powers = powers.with_exec(exec);
    let answer = tool(name).consider(question, input.clone(), &powers).await;
    answer.unwrap().json
}

fn exec_needs(name: &str, input: &Value) -> Vec<(String, Vec<String>, String)> {
    let needs = tool(name).needs(input).unwrap();
    let start = |need| match need {
        Need::Exec {
            program,
            args,
            workspace,
        } => (program, args, workspace),
        other => panic!("{other}"),
    };
    needs.into_iter().map(start).collect()
}

/// Whether the calls declare exactly the starts that are then made.
fn is_declared(name: &str, input: &Value, started: &[Command]) {
    let needs = exec_needs(name, input);
    for command in started {
        let start = (
            command.program.clone(),
            command.args.clone(),
            command.directory.clone(),
        );
        assert!(needs.contains(&start), "{start:?} in {needs:?}");
    }
}

#[tokio::test]
async fn the_short_grants_cover_what_the_tools_of_those_names_need() {
    for (name, grant, input) in [
        (
            "cargo_run",
            "cargo_run: /ws/*",
            json!({"subcommand": "test", "args": ["--workspace"], "directory": "/ws/a"}),
        ),
        (
            "git_commit",
            "git_commit: /ws/*",
            json!({"directory": "/ws", "message": "m", "paths": ["-f", "a"]}),
        ),
        (
            "shell",
            "exec: sh in /ws/*",
            json!({"command": "ls | wc", "directory": "/ws"}),
        ),
    ] {
        let capability: aaos_core::capability::Capability = grant.parse().unwrap();
        let needs = tool(name).needs(&input).unwrap();
        assert!(!needs.is_empty());
        for need in needs {
            assert!(capability.allows(&need), "{grant}: {need}");
        }
    }
}

#[tokio::test]
async fn cargo_is_run_offline_and_a_failed_build_is_an_answer() {
    let stderr = "error[E0425]: cannot find value `x`\n --> src/lib.rs:1:1\n";
    let programs = Arc::new(Programs::default().with("cargo check", Ok(finished(101, "", stderr))));
    let input = json!({"subcommand": "check", "args": ["--workspace"], "directory": "p"});
    let answer = call("cargo_run", programs.clone(), input.clone())
        .await
        .unwrap();
    assert_eq!(
        (&answer["success"], &answer["exit_code"]),
        (&json!(false), &json!(101))
    );
    assert_eq!(
        answer["diagnostics"],
        json!([{"level": "error", "message": "cannot find value `x`", "at": "src/lib.rs:1:1"}])
    );
    let started = programs.started();
    is_declared("cargo_run", &input, &started);
    assert_eq!(started[0].args, ["check", "--workspace"]);
    let offline = ("CARGO_NET_OFFLINE".to_owned(), "true".to_owned());
    assert!(started[0].env.contains(&offline));
    let online = json!({"subcommand": "check", "directory": "p", "online": true});
    call("cargo_run", programs.clone(), online).await.unwrap();
    let told = &programs.started()[1].env;
    assert!(!told.contains(&offline) && told.iter().any(|(key, _)| key == "CARGO_HOME"));
}

#[tokio::test]
async fn cargo_does_only_what_is_listed_and_stays_where_it_is_put() {
    for (input, parsed) in [
        (json!({"subcommand": "publish", "directory": "."}), false),
        (json!({"subcommand": "+nightly", "directory": "."}), false),
        (
            json!({"subcommand": "check", "args": ["--manifest-path", "/x/Cargo.toml"], "directory": "."}),
            true,
        ),
        (
            json!({"subcommand": "check", "args": ["a\0b"], "directory": "."}),
            true,
        ),
    ] {
        assert_eq!(tool("cargo_run").needs(&input).is_ok(), parsed, "{input}");
        let programs = Arc::new(Programs::default());
        let outcome = call("cargo_run", programs.clone(), input).await;
        assert!(
            matches!(outcome, Err(ToolError::Input { .. })),
            "{outcome:?}"
        );
        assert!(programs.started().is_empty());
    }
}

#[tokio::test]
async fn a_shell_line_and_a_program_are_declared_as_they_are_started() {
    let programs = Arc::new(
        Programs::default()
            .with("sh -c", Ok(finished(3, "out", "err")))
            .with("make", Ok(finished(0, "", ""))),
    );
    let line = json!({"command": "false; exit 3", "stdin": "in"});
    let answer = call("shell", programs.clone(), line.clone()).await.unwrap();
    assert_eq!(
        answer,
        json!({"success": false, "exit_code": 3, "stdout": "out", "stderr": "err", "truncated": false})
    );
    let direct = json!({"command": "make", "args": [], "directory": "/ws"});
    call("shell", programs.clone(), direct.clone())
        .await
        .unwrap();
    let started = programs.started();
    is_declared("shell", &line, &started[..1]);
    is_declared("shell", &direct, &started[1..]);
    assert_eq!(
        (started[0].stdin.as_slice(), started[0].directory.as_str()),
        (&b"in"[..], ".")
    );
    assert!(started[1].args.is_empty());
    let refused = PowerError::NotFound("the program".to_owned());
    let missing = Arc::new(Programs::default().with("no-such", Err(refused.clone())));
    let outcome = call("shell", missing, json!({"command": "no-such", "args": []})).await;
    assert_eq!(outcome, Err(ToolError::Power(refused)));
}

#[tokio::test]
async fn without_the_power_nothing_starts() {
    for (name, input) in [
        (
            "cargo_run",
            json!({"subcommand": "check", "directory": "."}),
        ),
        (
            "git_commit",
            json!({"directory": ".", "message": "m", "paths": ["."]}),
        ),
        ("shell", json!({"command": "true"})),
    ] {
        let powers = Powers::none(CallId::from_drawn(1), Arc::new(OpenGate::default()));
        let outcome = tool(name).call(input, &powers).await;
        assert!(
            matches!(outcome, Err(ToolError::Power(PowerError::NotHeld(_)))),
            "{name}"
        );
    }
}

/// Starts real programs with no other variables than the command's and a search path.
struct Unconfined;

impl Exec for Unconfined {
    fn run(&self, command: Command) -> Result<Finished, PowerError> {
        let path = std::env::var("PATH").unwrap();
        let output = process::Command::new(&command.program)
            .args(&command.args)
            .current_dir(&command.directory)
            .env_clear()
            .env("PATH", path)
            .envs(command.env)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| PowerError::NotFound(error.to_string()))?;
        let captured = |head| Captured {
            head,
            ..Captured::default()
        };
        Ok(Finished {
            ended: output.status.code().map_or(Ended::Signal(0), Ended::Code),
            stdout: captured(output.stdout),
            stderr: captured(output.stderr),
        })
    }
}

/// A repository with one file in one commit.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "--quiet"]);
        repository.write("kept.txt", "one\n");
        repository.git(&["add", "kept.txt"]);
        repository.git(&[
            "-c",
            "user.name=o",
            "-c",
            "user.email=o@h",
            "commit",
            "--quiet",
            "-m",
            "first",
        ]);
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    fn git(&self, args: &[&str]) -> String {
        let output = process::Command::new("git")
            .args(args)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn commit(&self, message: &str, paths: &[&str]) -> Result<Value, ToolError> {
        let input = json!({"directory": self.path(), "message": message, "paths": paths});
        call("git_commit", Arc::new(Unconfined), input).await
    }
}

#[tokio::test]
async fn only_the_named_paths_are_committed_and_the_commits_id_is_the_answer() {
    let repository = Repository::new();
    repository.write("kept.txt", "two\n");
    repository.write("new.txt", "new\n");
    repository.write("staged.txt", "staged\n");
    repository.git(&["add", "staged.txt"]);
    let answer = repository
        .commit("-second\n\nwhy", &["kept.txt", "new.txt"])
        .await
        .unwrap();
    assert_eq!(
        answer["commit"],
        json!(repository.git(&["rev-parse", "HEAD"]))
    );
    assert_eq!(answer["author"], "aaOS agent <agent@localhost>");
    assert_eq!(
        repository.git(&["show", "--name-only", "--format=%s|%an|%ce", "HEAD"]),
        "-second|aaOS agent|agent@localhost\n\nkept.txt\nnew.txt"
    );
    assert_eq!(repository.git(&["status", "--porcelain"]), "A  staged.txt");
    fs::remove_file(repository.path().join("kept.txt")).unwrap();
    repository.commit("third", &["."]).await.unwrap();
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn the_author_is_the_repositorys_where_it_names_one() {
    let repository = Repository::new();
    repository.git(&["config", "user.name", "Owner"]);
    repository.git(&["config", "user.email", "owner@host"]);
    repository.write("kept.txt", "two\n");
    let answer = repository.commit("m", &["."]).await.unwrap();
    assert_eq!(answer["author"], "the repository's");
    assert_eq!(
        repository.git(&["log", "-1", "--format=%an <%ae>"]),
        "Owner <owner@host>"
    );
}

#[tokio::test]
async fn a_path_is_never_an_option_nor_a_pattern() {
    let repository = Repository::new();
    repository.write("kept.txt", "two\n");
    for path in [
        "--all",
        "-A",
        "*.txt",
        ":(top)kept.txt",
        ":/",
        "--amend",
        "../outside",
        "/etc/passwd",
    ] {
        let outcome = repository.commit("m", &[path]).await;
        assert!(
            matches!(outcome, Err(ToolError::Failed(_))),
            "{path}: {outcome:?}"
        );
    }
    assert_eq!(repository.git(&["rev-list", "--count", "HEAD"]), "1");
    repository.write("--all", "a file of that name\n");
    repository.commit("m", &["--all"]).await.unwrap();
    assert_eq!(
        repository.git(&["show", "--name-only", "--format=", "HEAD"]),
        "--all"
    );
}

#[tokio::test]
async fn nothing_the_repository_configures_is_started() {
    let repository = Repository::new();
    let marker = repository.path().join("ran");
    let program = repository.path().join(".git/evil");
    fs::write(
        &program,
        format!("#!/bin/sh\ntouch '{}'\nexit 0\n", marker.display()),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = repository.path().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "pre-commit",
        "commit-msg",
        "post-commit",
        "prepare-commit-msg",
    ] {
        fs::copy(&program, hooks.join(hook)).unwrap();
    }
    let evil = program.to_str().unwrap();
    for (key, value) in [
        ("core.fsmonitor", evil),
        ("gpg.program", evil),
        ("commit.gpgSign", "true"),
        ("core.editor", evil),
        ("core.pager", evil),
    ] {
        repository.git(&["config", key, value]);
    }
    repository.write("kept.txt", "two\n");
    repository.commit("m", &["."]).await.unwrap();
    assert!(!marker.exists());
}

#[tokio::test]
async fn what_cannot_be_committed_is_refused_in_words() {
    let repository = Repository::new();
    let said = |outcome: Result<Value, ToolError>| outcome.unwrap_err().to_string();
    let unchanged = said(repository.commit("m", &["kept.txt"]).await);
    assert!(unchanged.contains("nothing to commit"), "{unchanged}");
    let unknown = said(repository.commit("m", &["no-such"]).await);
    assert!(unknown.contains("no-such"), "{unknown}");
    assert!(said(repository.commit(" ", &["."]).await).contains("message"));
    assert!(said(repository.commit("m", &[]).await).contains("paths"));
    assert!(said(repository.commit("m", &[""]).await).contains("empty path"));
    let elsewhere = tempfile::tempdir().unwrap();
    let input = json!({"directory": elsewhere.path(), "message": "m", "paths": ["."]});
    let outside = said(call("git_commit", Arc::new(Unconfined), input).await);
    assert!(outside.contains("not a git repository"), "{outside}");
}

#[tokio::test]
async fn a_commit_is_told_from_none_and_from_somebody_elses() {
    let repository = Repository::new();
    let message = "second \n\n\n  why  \n";
    let input = json!({"directory": repository.path(), "message": message, "paths": ["kept.txt"]});
    let happened = async |evidence: &Value| -> Happened {
        let evidence = evidence.clone();
        let question = Question::Happened { evidence };
        let told = ask("git_commit", Arc::new(Unconfined), &input, question).await;
        serde_json::from_value(told).unwrap()
    };
    repository.write("kept.txt", "two\n");
    let evidence = ask(
        "git_commit",
        Arc::new(Unconfined),
        &input,
        Question::Evidence,
    )
    .await;
    assert_eq!(
        evidence["head"],
        json!(repository.git(&["rev-parse", "HEAD"]))
    );
    assert_eq!(happened(&evidence).await, Happened::No);
    repository.git(&["add", "kept.txt"]);
    assert_eq!(
        happened(&evidence).await,
        Happened::No,
        "staged is not committed"
    );
    let done = repository.commit(message, &["kept.txt"]).await.unwrap();
    let Happened::Yes { output } = happened(&evidence).await else {
        panic!("it happened");
    };
    assert_eq!(output["commit"], done["commit"]);
    repository.write("kept.txt", "three\n");
    repository.commit("third", &["."]).await.unwrap();
    assert!(matches!(
        happened(&evidence).await,
        Happened::Unknown { .. }
    ));
    let amended = json!({ "head": repository.git(&["rev-parse", "HEAD~1"]) });
    assert!(
        matches!(happened(&amended).await, Happened::Unknown { .. }),
        "another message"
    );
    assert!(matches!(
        happened(&Value::Null).await,
        Happened::Unknown { .. }
    ));
}

#[tokio::test]
async fn the_first_commit_of_a_branch_is_told_from_none() {
    let room = tempfile::tempdir().unwrap();
    let repository = Repository(room);
    repository.git(&["init", "--quiet"]);
    repository.write("a.txt", "one\n");
    let input = json!({"directory": repository.path(), "message": "first", "paths": ["."]});
    let evidence = ask(
        "git_commit",
        Arc::new(Unconfined),
        &input,
        Question::Evidence,
    )
    .await;
    assert_eq!(evidence, json!({ "head": null }));
    let happened = async || {
        let evidence = evidence.clone();
        let question = Question::Happened { evidence };
        ask("git_commit", Arc::new(Unconfined), &input, question).await
    };
    assert_eq!(happened().await["happened"], "no");
    let done = repository.commit("first", &["."]).await.unwrap();
    assert_eq!(happened().await["output"]["commit"], done["commit"]);
}

#[tokio::test]
async fn what_only_builds_may_be_done_again_and_what_runs_is_asked_about() {
    for (subcommand, word) in [
        ("build", "no"),
        ("test", "no"),
        ("fmt", "no"),
        ("run", "unknown"),
    ] {
        let input = json!({"subcommand": subcommand, "directory": "p"});
        let programs = Arc::new(Programs::default());
        let evidence = ask("cargo_run", programs.clone(), &input, Question::Evidence).await;
        assert!(!evidence.is_null());
        let question = Question::Happened { evidence };
        let told = ask("cargo_run", programs.clone(), &input, question).await;
        assert_eq!(told["happened"], word, "{subcommand}");
        assert!(programs.started().is_empty());
    }
}

#[tokio::test]
async fn a_program_is_shown_by_its_words_its_directory_and_what_it_reads() {
    for (name, input, words, read) in [
        (
            "shell",
            json!({"command": "rm -r x", "directory": "/ws"}),
            json!(["sh", "-c", "rm -r x"]),
            "",
        ),
        (
            "shell",
            json!({"command": "bash", "args": [], "directory": "/ws", "stdin": "rm -r x"}),
            json!(["bash"]),
            "rm -r x",
        ),
        (
            "cargo_run",
            json!({"subcommand": "test", "directory": "/ws"}),
            json!(["cargo", "test"]),
            "",
        ),
        (
            "git_commit",
            json!({"directory": "/ws", "message": "m", "paths": ["a"]}),
            json!(["git", "commit", "-m", "m", "--", "a"]),
            "",
        ),
    ] {
        let shown = ask(
            name,
            Arc::new(Programs::default()),
            &input,
            Question::Preview,
        )
        .await;
        let shown: Preview = serde_json::from_value(shown).unwrap();
        let argv = serde_json::from_value(words).unwrap();
        let (directory, stdin) = ("/ws".to_owned(), read.to_owned());
        let wanted = Preview::Program {
            directory,
            argv,
            stdin,
        };
        assert_eq!(shown, wanted);
    }
}
