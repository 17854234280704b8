//! A builder changes, checks, tests and commits a real crate, a copy of `aaos-core`, and everything it runs, a hostile build
//! script and a hostile hook among it, runs in a worker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{Done, Place};
use serde_json::{Value, json};
use stage::{copy, objects, of_kind};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A build script that tries to get out, as far as a program can without anyone's help.
const BUILD_SCRIPT: &str = r##"//! Tries to get out.
use std::{env, fs, net::TcpStream, process::Command};
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let beside = "OUTSIDE";
    let mut got = Vec::new();
    if fs::write(format!("{beside}/written"), "x").is_ok() { got.push("wrote outside"); }
    if fs::read(format!("{beside}/secret")).is_ok() { got.push("read outside"); }
    if fs::read("/etc/shadow").is_ok() { got.push("read the password file"); }
    if TcpStream::connect("127.0.0.1:PORT").is_ok() { got.push("connected"); }
    if Command::new("/usr/bin/perl").arg("-e1").status().is_ok() { got.push("ran perl"); }
    if fs::write("../.git/hooks/post-commit", "#!/bin/sh\n").is_ok() { got.push("left a hook"); }
    if env::vars().any(|(name, _)| name == "AAOS_NEEDLE") { got.push("saw the environment"); }
    assert!(got.is_empty(), "got out: {got:?}");
}
"##;

/// The workspace around the copy: as ours, with one member.
fn manifest() -> String {
    let root = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let lines = root.lines().map(|line| {
        if line.starts_with("members = ") {
            "members = [\"aaos-core\"]"
        } else if line.starts_with("default-members = ") {
            ""
        } else {
            line
        }
    });
    // The other rooms are not here, and nothing asks for them.
    let kept = lines.filter(|line| !line.contains("path = \"crates/"));
    kept.collect::<Vec<_>>().join("\n")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn git(at: &Path, arguments: &[&str]) -> String {
    let ran = Command::new("git")
        .current_dir(at)
        .args([
            "-c",
            "user.name=Operator",
            "-c",
            "user.email=operator@localhost",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Copies the crate without its tests and benchmarks: what they alone depend on takes longer to build than the crate.
fn copy_core(to: &Path) {
    let core = workspace().join("crates/aaos-core");
    copy(&core.join("src"), &to.join("src"));
    fs::create_dir(to.join("tests")).unwrap();
    let manifest = fs::read_to_string(core.join("Cargo.toml")).unwrap();
    let (shipped, _) = manifest.split_once("[dev-dependencies]").unwrap();
    fs::write(to.join("Cargo.toml"), shipped).unwrap();
}

/// A repository with the copy, its hostile build script, and a hostile hook the operator does not know of.
fn repository(place: &Place, port: u16) -> PathBuf {
    let at = place.path("work");
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    copy_core(&at.join("aaos-core"));
    fs::write(at.join("Cargo.toml"), manifest()).unwrap();
    fs::copy(workspace().join("Cargo.lock"), at.join("Cargo.lock")).unwrap();
    fs::write(at.join(".gitignore"), "target\n").unwrap();
    let script = BUILD_SCRIPT
        .replace("OUTSIDE", outside.to_str().unwrap())
        .replace("PORT", &port.to_string());
    fs::write(at.join("aaos-core/build.rs"), script).unwrap();
    git(&at, &["init", "--quiet"]);
    git(&at, &["add", "."]);
    git(&at, &["commit", "--quiet", "-m", "the crate as it is"]);
    let hook = at.join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(
        &hook,
        format!("#!/bin/sh\ntouch {}/hooked\n", outside.display()),
    )
    .unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    at
}

/// What the model says, turn by turn.
fn script(at: &Path) -> Vec<Value> {
    let at = at.to_str().unwrap();
    let plan = json!({ "subtasks": [{
        "id": "change", "task": "Add a function and prove it.", "role": "builder",
        "params": { "workspace": at, "instructions": "Add `twice`, with a test, and commit." },
    }], "result": "change" });
    let test = "//! Twice.\n\n#[test]\nfn twice_two_is_four() {\n    assert_eq!(aaos_core::twice(2), 4);\n}\n";
    let added = "pub mod value;\n\n/// Twice a number.\n#[must_use]\npub const fn twice(number: u32) -> u32 {\n    number * 2\n}\n";
    let calls = [
        (
            "grep",
            json!({ "pattern": "pub mod value", "path": format!("{at}/aaos-core/src") }),
        ),
        (
            "file_read",
            json!({ "path": format!("{at}/aaos-core/src/lib.rs") }),
        ),
        (
            "file_edit",
            json!({ "path": format!("{at}/aaos-core/src/lib.rs"), "old_string": "pub mod value;\n", "new_string": added }),
        ),
        (
            "file_write",
            json!({ "path": format!("{at}/aaos-core/tests/twice.rs"), "content": test }),
        ),
        (
            "cargo_run",
            json!({ "subcommand": "check", "args": ["-p", "aaos-core"], "directory": at }),
        ),
        (
            "cargo_run",
            json!({ "subcommand": "test", "args": ["-p", "aaos-core", "--test", "twice"], "directory": at }),
        ),
        (
            "git_commit",
            json!({ "directory": at, "message": "core: twice", "paths": ["aaos-core/src/lib.rs", "aaos-core/tests/twice.rs"] }),
        ),
    ];
    let mut script = vec![json!({ "match": { "purpose": "plan" }, "reply": { "json": plan } })];
    for (turn, (name, input)) in calls.into_iter().enumerate() {
        let call = json!({ "tool_calls": [{ "name": name, "input": input }] });
        let mut fits = json!({ "purpose": "turn", "turn": turn + 1 });
        if name == "git_commit" {
            // Nothing is committed unless the test has run and passed.
            fits["contains"] = json!("1 passed");
        }
        script.push(json!({ "match": fits, "reply": call }));
    }
    script.push(json!({ "match": { "purpose": "turn", "turn": 8 }, "reply": { "text": "Added `twice` with its test and committed both." } }));
    script
}

/// Submits the goal with a tool chain in reach of the daemon.
fn submit(place: &Place) -> Done {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let or_home = |name: &str, beneath: &str| {
        std::env::var_os(name).map_or_else(|| home.join(beneath), PathBuf::from)
    };
    let ran = place
        .command(&[
            "submit",
            "--json",
            "--orchestration",
            "plan",
            "--profile",
            "developer",
            "add twice",
        ])
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("CARGO_HOME", or_home("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", or_home("RUSTUP_HOME", ".rustup"))
        .env("AAOS_NEEDLE", "x")
        .output();
    Done::from(ran.unwrap())
}

#[test]
fn a_builder_edits_checks_tests_and_commits_a_real_crate_wholly_in_workers() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = repository(&place, listener.local_addr().unwrap().port());
    place.script(&script(&at));
    let done = submit(&place);
    assert_eq!(done.code, 0, "{done:#?}");
    let events = objects(&done.out);
    let results = of_kind(&events, "tool_result");
    assert_eq!(results.len(), 7, "{results:#?}");
    for result in results {
        assert_eq!(result["success"], true, "{result:#}");
        assert_eq!(result["execution_surface"], "worker", "{result:#}");
        let exit = result["result_preview"].as_str().unwrap_or_default();
        assert!(!exit.contains("\"exit_code\":101"), "{result:#}");
    }
    let said = git(&at, &["log", "--format=%s", "-1", "--name-only"]);
    let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        said,
        [
            "core: twice",
            "aaos-core/src/lib.rs",
            "aaos-core/tests/twice.rs"
        ]
    );
    for left in [
        "outside/written",
        "outside/hooked",
        "work/.git/hooks/post-commit",
    ] {
        assert!(!place.path(left).exists(), "{left} was left behind");
    }
    let started = of_kind(&events, "worker_started");
    assert_eq!(started.len(), 1, "{started:#?}");
    assert_eq!(started[0]["proof"]["profile"], "exec");
}
