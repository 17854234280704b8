//! Confinement as an operator meets it: on by default, refused by name when a layer is missing, shown wherever it is less
//! than whole, tried by `doctor`, taken back by `revoke`; for root and for an unprivileged user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{Done, GOAL, Place, with_files};
use serde_json::{Value, json};
use stage::{Foreground, of_kind};
use std::{
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::Command,
    time::{Duration, Instant},
};

/// What every launch requires unless the operator says otherwise.
const REQUIRED: [&str; 12] = [
    "user_namespace",
    "mount_namespace",
    "pid_namespace",
    "ipc_namespace",
    "uts_namespace",
    "cgroup_namespace",
    "network_namespace",
    "root",
    "landlock",
    "seccomp",
    "privileges",
    "rlimits",
];
/// The user number of nobody in particular.
const UNPRIVILEGED: u32 = 65534;
/// Longest wait for anything; far over what a slow machine takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn run_of(done: &Done) -> String {
    done.out.split_whitespace().next().unwrap().to_owned()
}

/// The newest run there is.
fn newest(place: &Place) -> Value {
    place.run(&["list", "--json"]).json()[0].clone()
}

#[test]
fn the_first_command_runs_its_tools_in_confined_workers() {
    let place = with_files();
    let done = place.run(&["submit", GOAL]);
    assert_eq!(done.code, 0, "{done:?}");
    let first = done.out.lines().next().unwrap();
    assert!(first.contains("  namespaced  "), "{first}");
    assert!(done.out.contains("[worker]"), "{}", done.out);
    assert!(!done.out.contains("worker without"), "{}", done.out);
    let events = place.events(&run_of(&done));
    let started = of_kind(&events, "worker_started");
    assert_eq!(started.len(), of_kind(&events, "agent_spawned").len());
    for event in started {
        let layers = event["proof"]["layers"].as_array().unwrap();
        for layer in REQUIRED {
            assert!(layers.contains(&json!(layer)), "{layer}: {event}");
        }
        let canaries = event["proof"]["canaries"].as_array().unwrap();
        assert!(!canaries.is_empty());
        assert!(
            canaries.iter().all(|canary| canary["stopped"] == true),
            "{event}"
        );
    }
    let files = of_kind(&events, "tool_invoked");
    let by_files = files
        .iter()
        .filter(|event| event["tool"].as_str().unwrap().starts_with("file_"));
    let places: Vec<&Value> = by_files.map(|event| &event["execution_surface"]).collect();
    assert!(
        !places.is_empty() && places.iter().all(|place| **place == "worker"),
        "{places:?}"
    );
}

#[test]
fn a_drilled_layer_refuses_the_run_and_is_named_everywhere() {
    for layer in ["landlock", "seccomp", "network_namespace"] {
        let place = with_files();
        place.config(&format!("[confinement]\ndrill = \"{layer}\"\n"));
        let done = place.run(&["submit", GOAL]);
        assert_eq!(done.code, 1, "{layer}: {done:?}");
        let label = format!("namespaced (drill: {layer} left out)");
        assert!(
            done.out.lines().next().unwrap().contains(&label),
            "{}",
            done.out
        );
        assert!(
            done.err.contains(layer) && done.err.contains("next:"),
            "{}",
            done.err
        );
        assert!(!place.path("work/report.md").exists());
        let run = newest(&place);
        assert_eq!(run["backend"], label.as_str());
        let events = place.events(run["run"].as_str().unwrap());
        let refused = of_kind(&events, "worker_refused");
        assert!(!refused.is_empty());
        assert!(
            refused.iter().all(|event| event["layer"] == layer),
            "{refused:?}"
        );
        assert!(of_kind(&events, "tool_invoked").is_empty(), "nothing ran");
        assert!(of_kind(&events, "worker_started").is_empty());
    }
}

#[test]
fn a_bar_set_lower_lets_the_run_through_and_every_view_says_so() {
    let place = with_files();
    let kept: Vec<String> = REQUIRED
        .iter()
        .filter(|layer| **layer != "landlock")
        .map(|layer| format!("{layer:?}"))
        .collect();
    place.config(&format!(
        "[confinement]\nrequire = [{}]\ndrill = \"landlock\"\n",
        kept.join(", ")
    ));
    let done = place.run(&["submit", GOAL]);
    assert_eq!(done.code, 0, "{done:?}");
    let label = "namespaced (not required: landlock; drill: landlock left out)";
    assert!(
        done.out.lines().next().unwrap().contains(label),
        "{}",
        done.out
    );
    assert!(
        done.out
            .contains("worker without landlock, which the configuration does not require"),
        "{}",
        done.out
    );
    let status = place.run(&["status", &run_of(&done)]);
    assert!(status.out.contains(label), "{}", status.out);
    assert!(
        place
            .run(&["list"])
            .out
            .contains("namespaced (not required")
    );
    let events = place.events(&run_of(&done));
    assert!(
        of_kind(&events, "agent_spawned")
            .iter()
            .all(|event| event["backend"] == label)
    );
    for event in of_kind(&events, "worker_started") {
        assert!(
            event["missing"]
                .as_array()
                .unwrap()
                .contains(&json!("landlock")),
            "{event}"
        );
    }
}

#[test]
fn the_daemon_as_the_place_for_tools_is_chosen_by_name_and_shown_everywhere() {
    let place = with_files();
    place.config("backend = \"in_process\"\n");
    let done = place.run(&["submit", GOAL]);
    assert_eq!(done.code, 0, "{done:?}");
    let text = "in_process: tools run inside the daemon, not confined by the kernel";
    assert!(
        done.out.lines().next().unwrap().contains(text),
        "{}",
        done.out
    );
    assert!(
        done.out.contains("[daemon]") && !done.out.contains("[worker]"),
        "{}",
        done.out
    );
    assert!(place.run(&["status", &run_of(&done)]).out.contains(text));
    assert!(place.run(&["daemon", "status"]).out.contains(text));
    assert!(place.run(&["list"]).out.contains("in_process"));
    assert!(of_kind(&place.events(&run_of(&done)), "worker_started").is_empty());
}

#[test]
fn a_program_that_is_not_there_is_named_with_its_path_and_the_next_step() {
    let place = with_files();
    place.config("[confinement]\nworker = \"/nowhere/aaos-agent-worker\"\n");
    let done = place.run(&["submit", GOAL]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.err.contains("/nowhere/aaos-agent-worker"),
        "{}",
        done.err
    );
    assert!(done.err.contains("next:"), "{}", done.err);
    assert!(!place.path("work/report.md").exists());
    let doctor = place.run(&["doctor"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(
        doctor
            .out
            .contains("there is no /nowhere/aaos-agent-worker"),
        "{}",
        doctor.out
    );
}

/// The row of a layer in the table of layers.
fn layer_row<'a>(done: &'a Done, layer: &str) -> &'a str {
    let table = done
        .out
        .lines()
        .skip_while(|line| !line.starts_with("LAYER"));
    let mut rows = table.take_while(|line| !line.is_empty());
    let row = rows.find(|line| line.starts_with(&format!("{layer} ")));
    row.unwrap_or_else(|| panic!("{layer}: {}", done.out))
}

#[test]
fn doctor_shows_every_layer_and_every_canary_of_a_real_worker() {
    let place = Place::new();
    let done = place.run(&["doctor"]);
    assert_eq!(done.code, 0, "{done:?}");
    for layer in REQUIRED {
        let row = layer_row(&done, layer);
        assert!(row.contains("required"), "{row}");
        assert_eq!(row.matches("stands").count(), 2, "plain and exec: {row}");
    }
    assert!(
        !done.out.contains("GOT THROUGH") && done.out.contains("stopped"),
        "{}",
        done.out
    );
    for name in ["plain", "exec", "egress"] {
        let end = done
            .out
            .lines()
            .rfind(|line| line.starts_with(name))
            .unwrap();
        assert!(end.contains("starts"), "{end}");
    }
    let json = place.run(&["doctor", "--json"]);
    assert_eq!(json.code, 0, "{json:?}");
    let told = json.json();
    assert_eq!(told["ok"], true);
    assert!(told["machine"].as_array().unwrap().len() >= 8);
    for trial in told["trials"].as_array().unwrap() {
        assert_eq!(
            trial["layers"].as_array().unwrap().len(),
            REQUIRED.len() + 1
        );
        assert!(
            trial["refused"].is_null() && trial["elapsed_us"].is_u64(),
            "{trial}"
        );
        let canaries = trial["canaries"].as_array().unwrap();
        assert!(
            canaries.iter().all(|canary| canary["stopped"] == true),
            "{canaries:?}"
        );
    }
    assert!(!place.socket().exists(), "no daemon was needed");
}

#[test]
fn doctors_drill_leaves_a_layer_out_and_shows_the_refusal() {
    let place = Place::new();
    for layer in ["landlock", "seccomp", "network_namespace"] {
        let done = place.run(&["doctor", "--drill", layer]);
        assert_eq!(done.code, 1, "{layer}: {done:?}");
        assert!(
            done.out.contains(&format!("drill: {layer} left out")),
            "{}",
            done.out
        );
        let row = layer_row(&done, layer);
        assert!(row.contains("missing") || row.contains("passed"), "{row}");
        assert!(done.out.contains("refused:"), "{}", done.out);
        assert!(
            done.err.contains(layer) && done.err.contains("drill"),
            "{}",
            done.err
        );
        let told = place.run(&["doctor", "--json", "--drill", layer]);
        assert_eq!(told.code, 1, "{told:?}");
        assert_eq!(told.json()["ok"], false);
        assert_eq!(told.json()["trials"][0]["refused"]["layer"], layer);
    }
    assert_eq!(place.run(&["doctor", "--drill", "moat"]).code, 2);
}

/// A server on loopback that takes connections and answers nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// Waits until a run has an event of a kind.
fn wait_for(place: &Place, run: &str, kind: &str) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let events = place.events(run);
        if !of_kind(&events, kind).is_empty() {
            return events;
        }
        let over = !of_kind(&events, "run_finished").is_empty() || since.elapsed() > PATIENCE;
        assert!(!over, "no {kind}: {:?}", events.last());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_grant_taken_back_ends_the_call_that_rests_on_it_and_no_further_one_starts() {
    let place = with_files();
    let (_silent, url) = silent();
    let fetch = json!({ "tool_calls": [{ "name": "web_fetch", "input": { "url": url } }] });
    place.script(&[
        json!({ "match": { "purpose": "turn", "turn": 1 }, "reply": fetch }),
        json!({ "match": { "purpose": "turn", "turn": 2 }, "reply": fetch }),
        json!({ "match": { "purpose": "turn" }, "times": "many", "reply": { "text": "done" } }),
    ]);
    let grant = format!("http: GET {url}");
    let submit = [
        "submit",
        "--detach",
        "--orchestration",
        "direct",
        "--grant",
        &grant,
        "fetch it",
    ];
    let run = place.run(&submit).out.trim().to_owned();
    wait_for(&place, &run, "tool_invoked");

    let status = place.run(&["status", &run, "--json"]).json();
    let live = status["live"].as_array().unwrap();
    let whole = |held: &&Value| {
        held["agent"].is_null()
            && held["capability"]
                .as_str()
                .is_some_and(|text| text.contains("127.0.0.1"))
    };
    let held = live
        .iter()
        .find(whole)
        .unwrap_or_else(|| panic!("{live:?}"));
    let id = held["grant"].as_str().unwrap();
    let shown = place.run(&["status", &run]).out;
    assert!(
        shown.contains(id) && shown.contains("agentd revoke"),
        "{shown}"
    );

    let revoked = place.run(&["revoke", "--json", &run, id]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert!(
        revoked.json()["descendants"].as_u64() >= Some(1),
        "{revoked:?}"
    );
    assert_eq!(revoked.json()["calls"], 1, "{revoked:?}");
    place.run(&["logs", "--follow", &run]);
    let events = place.events(&run);
    assert!(!of_kind(&events, "capability_revoked").is_empty());
    let results = of_kind(&events, "tool_result");
    assert!(
        results.iter().all(|event| event["success"] == false),
        "{results:?}"
    );
    let invoked = of_kind(&events, "tool_invoked");
    assert_eq!(
        invoked.len(),
        1,
        "the second fetch did not start: {invoked:?}"
    );
    assert!(!of_kind(&events, "capability_denied").is_empty());
    assert_eq!(
        place.run(&["revoke", &run, id]).code,
        1,
        "the run has ended"
    );
}

#[test]
fn what_cannot_be_revoked_is_said() {
    let place = with_files();
    assert_eq!(
        place.run(&["revoke", "run-1", "grant-1"]).code,
        2,
        "there is no such run"
    );
    let run = run_of(&place.run(&["submit", GOAL]));
    assert_eq!(
        place.run(&["revoke", &run, "grant-1"]).code,
        1,
        "it has ended"
    );
    assert_eq!(place.run(&["revoke", "run-zzzz", "grant-1"]).code, 2);
    assert_eq!(place.run(&["revoke", &run]).code, 2);
}

#[test]
fn a_grant_that_uses_a_secret_there_is_not_is_refused_before_anything_starts() {
    let place = with_files();
    let grant = "http: GET https://api.example.com using github_token";
    let done = place.run(&["submit", "--grant", grant, GOAL]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        done.err.contains("github_token") && done.err.contains("credentials.toml"),
        "{}",
        done.err
    );
    assert!(place.run(&["list"]).out.contains("No runs yet"));
}

#[test]
fn an_agent_that_may_write_the_home_directory_puts_no_configuration_in_place() {
    let place = Place::new();
    let home = place.path("home");
    std::fs::write(home.join("a.txt"), "Alpha is the first letter.\n").unwrap();
    for name in [
        "config.toml",
        "prices.toml",
        "credentials.toml",
        "roles/a.yaml",
    ] {
        let file = format!(".config/aaos/{name}");
        let goal = format!("read a.txt and write a summary to {file}");
        let mut command = place.command(&["submit", &goal]);
        command.env_remove("XDG_CONFIG_HOME").current_dir(&home);
        let done = Done::from(command.output().unwrap());
        assert_eq!(done.code, 1, "{name}: {done:?}");
        assert!(!home.join(&file).exists(), "{name}: {done:?}");
    }
    let beside = "read a.txt and write a summary to .config/mine.md";
    let mut command = place.command(&["submit", beside]);
    command.env_remove("XDG_CONFIG_HOME").current_dir(&home);
    let done = Done::from(command.output().unwrap());
    assert_eq!(
        done.code, 0,
        "what lies beside is the agent's to write: {done:?}"
    );
}

#[test]
fn the_daemons_memory_goes_into_no_core_dump() {
    let place = Place::new();
    let daemon = Foreground::start(place.command(&["run"]), &place.socket());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.process())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let numbers: Vec<&str> = core
        .split_whitespace()
        .filter(|word| *word == "0")
        .collect();
    assert_eq!(numbers.len(), 2, "{core}");
}

/// A command of an unprivileged user: of this one if it is one, else of nobody in particular. The programs are in the
/// place, because where they were built need not be open to everyone.
fn unprivileged(place: &Place, arguments: &[&str]) -> Command {
    let usual = place.command(arguments);
    let mut command = Command::new(place.path("bin/agentd"));
    command
        .args(usual.get_args())
        .env_clear()
        .envs(
            usual
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(place.path("work"));
    if rustix::process::geteuid().is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

/// A place that belongs to the unprivileged user.
fn of_the_unprivileged() -> Place {
    let place = with_files();
    let bin = place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    if rustix::process::geteuid().is_root() {
        let root = place.path("");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        hand_over(&root);
    }
    for program in ["agentd", "aaos-agent-worker", "aaos-egress"] {
        let built = std::path::Path::new(common::PROGRAM).with_file_name(program);
        let linked = std::fs::hard_link(&built, bin.join(program));
        linked
            .or_else(|_| std::fs::copy(&built, bin.join(program)).map(drop))
            .unwrap();
    }
    place
}

fn hand_over(path: &std::path::Path) {
    std::os::unix::fs::chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path)
            .unwrap()
            .for_each(|entry| hand_over(&entry.unwrap().path()));
    }
}

#[test]
fn an_unprivileged_user_gets_the_whole_of_confinement() {
    let place = of_the_unprivileged();
    let run = |arguments: &[&str]| Done::from(unprivileged(&place, arguments).output().unwrap());
    let doctor = run(&["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");

    let mut daemon = Foreground::start(unprivileged(&place, &["run"]), &place.socket());
    let done = run(&["submit", GOAL]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.out.lines().next().unwrap().contains("  namespaced  "),
        "{}",
        done.out
    );
    assert!(done.out.contains("[worker]"), "{}", done.out);
    let report = std::fs::metadata(place.path("work/report.md")).unwrap();
    let own = std::fs::metadata(place.path("work/a.txt")).unwrap().uid();
    assert_eq!(report.uid(), own, "what a worker writes is the operator's");
    let memory = std::fs::metadata(format!("/proc/{}/mem", daemon.process())).unwrap();
    assert_eq!(
        memory.uid(),
        0,
        "a process of the same user number cannot look into the daemon"
    );
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.said());
}
