//! Configuration: what is wrong is named with its place, keys show nowhere, what is written is written whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::Place;
use std::os::unix::fs::PermissionsExt;

/// Everything that can be wrong with a field, and the line that has to be named.
const BROKEN: &[(&str, u32)] = &[
    ("backend = 7", 1),
    ("backend = \"\"", 1),
    ("spaceship = true", 1),
    ("roles_dir = \"\"", 1),
    ("backend = \"in_process", 1),
    ("[providers.main]\nbase_url = \"http://x\"", 1),
    ("[providers.main]\nkind = \"openai\"\nkey = \"sk-1\"", 3),
    ("[providers.main]\nkind = 3", 2),
    ("[providers.\"a b\"]\nkind = \"openai\"", 2),
    ("[models]\nworker = \"no-slash\"", 2),
    ("[models]\nworker = \"nobody/model\"", 2),
    ("[models]\nclever = \"a/b\"", 2),
    ("[profiles.p]\ngrants = [\"file_read\"]", 2),
    (
        "[profiles.p]\ngrants = [\n  \"tool: *\",\n  \"exec\",\n]",
        4,
    ),
    ("[profiles.p]\nallow = []", 2),
    ("[profiles.p]\ndeny = \"tool: *\"", 2),
    ("[budget]\ntokens = -1", 2),
    ("[budget]\ntokens = \"many\"", 2),
    ("[budget]\ncost = \"2\"", 2),
    ("[budget]\ncost = \"10m\"", 2),
    ("[budget]\nwall_clock = \"2usd\"", 2),
    ("[budget]\nmoney = 1", 2),
    ("[daemon]\nslots = 0", 2),
    ("[daemon]\nslots = 100000", 2),
    ("[daemon]\nidle_exit_s = \"soon\"", 2),
    ("[daemon]\nport = 80", 2),
    ("[sinks]\nstdout = \"yes\"", 2),
    ("[sinks]\nfile = \"\"", 2),
    ("[confinement]\nrequire = [\"landlock\", \"moat\"]", 2),
    ("[confinement]\nrequire = [\n  \"root\",\n  \"moat\",\n]", 4),
    ("[confinement]\nrequire = \"landlock\"", 2),
    ("[confinement]\nworker = \"\"", 2),
    ("[confinement]\npool = 65", 2),
    ("[confinement]\npool = -1", 2),
    ("[confinement]\ntoolchain = \"/opt\"", 2),
    ("[confinement]\ntoolchain = [\"/opt\", \"\"]", 2),
    ("[confinement]\ndrill = \"moat\"", 2),
    ("[confinement]\nstrict = true", 2),
    ("[providers.secrets]\nkind = \"openai\"", 2),
];

#[test]
fn a_broken_field_is_refused_with_its_line() {
    let place = Place::new();
    for (text, line) in BROKEN {
        place.config(text);
        let done = place.run(&["config"]);
        assert_eq!(done.code, 2, "{text}: {done:?}");
        assert!(
            done.err.contains(&format!("config.toml:{line}")),
            "{text}: {}",
            done.err
        );
        assert!(done.err.contains("next:"), "{text}: {}", done.err);
    }
}

#[test]
fn what_turns_a_text_around_is_not_in_what_is_shown_of_it() {
    let place = Place::new();
    place.config("[daemon]\n\"slo\u{202e}ts\" = 3\n");
    for arguments in [&["config"][..], &["config", "--json"]] {
        let done = place.run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        let said = done.out + &done.err;
        assert!(said.contains("2 | \"slo ts\" = 3") || said.contains("2 | \\\"slo ts\\\" = 3"));
        assert!(!said.contains('\u{202e}'), "{said:?}");
    }
    let role = place.path("work/ro\u{202e}le.yaml");
    for text in [
        "name: a\n\"pro\u{202e}mpt\": b\n",
        "name: a\nsummary: b\nprompt: c\n",
    ] {
        std::fs::write(&role, text).unwrap();
        let done = place.run(&["roles", "validate", role.to_str().unwrap()]);
        let said = done.out + &done.err;
        assert!(
            said.contains("ro le.yaml") && !said.contains('\u{202e}'),
            "{said:?}"
        );
    }
}

#[test]
fn binary_and_huge_files_are_refused() {
    let place = Place::new();
    std::fs::write(place.path("config/aaos/config.toml"), b"\xff\xfe\x00").unwrap();
    assert_eq!(place.run(&["config"]).code, 2);
    std::fs::write(place.path("config/aaos/config.toml"), vec![b'#'; 300_000]).unwrap();
    assert_eq!(place.run(&["config"]).code, 2);
    std::fs::remove_file(place.path("config/aaos/config.toml")).unwrap();
    let _ = std::process::Command::new("mkfifo")
        .arg(place.path("config/aaos/config.toml"))
        .status();
    assert_eq!(place.run(&["config"]).code, 2, "a FIFO is not waited on");
}

#[test]
fn every_value_tells_where_it_came_from() {
    let place = Place::new();
    place.config("[daemon]\nslots = 3\n");
    let done = place
        .command(&["config", "--socket", "/tmp/x.sock"])
        .env("ANTHROPIC_API_KEY", "sk-ant-very-secret")
        .output()
        .unwrap();
    let done = common::Done::from(done);
    assert_eq!(done.code, 0, "{done:?}");
    let has = |line: &str| done.out.lines().any(|found| found.contains(line));
    assert!(
        has("daemon.slots = 3") && has("config.toml:2"),
        "{}",
        done.out
    );
    assert!(has("socket = /tmp/x.sock  # --socket"), "{}", done.out);
    assert!(
        has("providers.anthropic.key = …  # $ANTHROPIC_API_KEY"),
        "{}",
        done.out
    );
    assert!(has("daemon.idle_exit_s = 900  # default"), "{}", done.out);
    assert!(!done.out.contains("very-secret"));
}

#[test]
fn configure_keeps_what_was_there_and_hides_the_key() {
    let place = Place::new();
    place.config("# mine\n[daemon]\nslots = 3 # three\n");
    let configure = |arguments: &[&str]| {
        let mut all = vec!["configure", "--no-probe"];
        all.extend(arguments);
        common::Done::from(
            place
                .command(&all)
                .env("MY_KEY", "sk-ant-very-secret")
                .output()
                .unwrap(),
        )
    };
    let done = configure(&["--provider", "anthropic", "--key-from-env", "MY_KEY"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!done.out.contains("very-secret") && !done.err.contains("very-secret"));
    let config = std::fs::read_to_string(place.path("config/aaos/config.toml")).unwrap();
    assert!(
        config.contains("# mine") && config.contains("slots = 3 # three"),
        "{config}"
    );
    assert!(
        config.contains("[providers.anthropic]") && !config.contains("very-secret"),
        "{config}"
    );
    let keys = place.path("config/aaos/credentials.toml");
    assert!(
        std::fs::read_to_string(&keys)
            .unwrap()
            .contains("very-secret")
    );
    for file in [&keys, &place.path("config/aaos/config.toml")] {
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let done = configure(&[
        "--provider",
        "openai",
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--model",
        "small",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    let shown = place.run(&["config"]).out;
    assert!(
        shown.contains("providers.anthropic.key = …")
            && shown.contains("models.worker = openai/small"),
        "{shown}"
    );
    let left: Vec<_> = std::fs::read_dir(place.path("config/aaos"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn configure_without_a_terminal_needs_flags() {
    let place = Place::new();
    for arguments in [
        &["configure"][..],
        &["configure", "--provider", "skynet"],
        &["configure", "--provider", "anthropic"],
        &[
            "configure",
            "--provider",
            "anthropic",
            "--key-from-env",
            "NOT_SET",
        ],
    ] {
        let done = place.run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains("next:"), "{done:?}");
    }
    assert!(!place.path("config/aaos/config.toml").exists());
}

#[test]
fn configure_writes_nothing_that_it_would_not_read_again() {
    let place = Place::new();
    for flags in [
        ["--name", "a b"],
        ["--name", "secrets"],
        ["--base-url", "notaurl"],
        ["--base-url", "ftp://models.example"],
        ["--model", " "],
    ] {
        let ollama = ["configure", "--no-probe", "--provider", "ollama"];
        let arguments = &[&ollama[..], &flags[..]].concat();
        let done = place.run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.err.contains("next:"), "{done:?}");
    }
    assert!(!place.path("config/aaos/config.toml").exists());
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let place = Place::new();
    let keys = place.path("config/aaos/credentials.toml");
    std::fs::write(&keys, "anthropic = \"sk-ant-very-secret\"\n").unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let done = place.run(&["config"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("chmod 600"), "{}", done.err);
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(place.run(&["config"]).code, 0);
    std::fs::write(&keys, "anthropic = [\"sk-ant-very-secret\"]\n").unwrap();
    let done = place.run(&["config"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(!done.err.contains("very-secret"), "{}", done.err);
}

fn credentials(place: &Place, text: &str) {
    let keys = place.path("config/aaos/credentials.toml");
    std::fs::write(&keys, text).unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn secrets_are_named_with_their_origin_and_their_values_show_nowhere() {
    let place = Place::new();
    credentials(
        &place,
        "anthropic = \"sk-ant-key-value\"\n[secrets]\ngithub_token = \"ghp-very-secret-1\"\n",
    );
    let done = place.run(&["config"]);
    assert_eq!(done.code, 0, "{done:?}");
    let line = done.out.lines().find(|line| line.contains("github_token"));
    assert!(
        line.is_some_and(|line| line.starts_with("secrets.github_token = …  # /")
            && line.ends_with("credentials.toml")),
        "{}",
        done.out
    );
    let json = place.run(&["config", "--json"]);
    let before = json.json()["fingerprint"].clone();
    for shown in [&done, &json] {
        assert!(!format!("{shown:?}").contains("very-secret"), "{shown:?}");
        assert!(!format!("{shown:?}").contains("key-value"), "{shown:?}");
    }
    credentials(
        &place,
        "anthropic = \"sk-ant-key-value\"\n[secrets]\ngithub_token = \"ghp-very-secret-2\"\n",
    );
    let after = place.run(&["config", "--json"]).json()["fingerprint"].clone();
    assert_ne!(before, after, "another value is another configuration");
}

#[test]
fn a_bad_secret_is_refused_with_its_line_and_not_shown() {
    let place = Place::new();
    for (text, line) in [
        ("[secrets]\nGitHub = \"very-secret\"", 2),
        ("[secrets]\n1st = \"very-secret\"", 2),
        ("[secrets]\nok = \"very-secret\"\nshort = \"seven77\"", 3),
        ("[secrets]\nlines = \"very\\nsecret\"", 2),
        ("[secrets]\nodd = [\"very-secret\"]", 2),
        ("secrets = \"very-secret\"", 1),
    ] {
        credentials(&place, text);
        let done = place.run(&["config"]);
        assert_eq!(done.code, 2, "{text}: {done:?}");
        assert!(
            done.err.contains(&format!("credentials.toml:{line}")),
            "{text}: {}",
            done.err
        );
        let shown = format!("{done:?}");
        assert!(
            !shown.contains("very-secret") && !shown.contains("seven77"),
            "{shown}"
        );
    }
}

#[test]
fn a_key_that_configure_adds_leaves_the_secrets_where_they_are() {
    let place = Place::new();
    credentials(&place, "[secrets]\ngithub_token = \"ghp-very-secret\"\n");
    let configure = [
        "configure",
        "--no-probe",
        "--provider",
        "anthropic",
        "--key-from-env",
        "K",
    ];
    let done = place
        .command(&configure)
        .env("K", "sk-ant-1")
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let shown = place.run(&["config"]).out;
    assert!(
        shown.contains("secrets.github_token = …") && shown.contains("providers.anthropic.key = …"),
        "{shown}"
    );
}

#[test]
fn the_bar_for_workers_is_the_whole_of_confinement_unless_it_is_set() {
    let place = Place::new();
    let shown = place.run(&["config"]).out;
    let line = |name: &str| {
        let found = shown.lines().find(|line| line.starts_with(name));
        found.unwrap_or_default().to_owned()
    };
    assert_eq!(line("backend = "), "backend = namespaced  # default");
    let require = line("confinement.require = ");
    for layer in [
        "user_namespace",
        "network_namespace",
        "landlock",
        "seccomp",
        "privileges",
    ] {
        assert!(require.contains(layer), "{require}");
    }
    assert!(
        !require.contains("cgroup_limits") && require.ends_with("# default"),
        "{require}"
    );
    let beside = std::path::Path::new(common::PROGRAM).with_file_name("aaos-agent-worker");
    assert!(
        line("confinement.worker = ").contains(beside.to_str().unwrap()),
        "{shown}"
    );

    place.config("[confinement]\nrequire = [\"landlock\"]\nworker = \"bin/w\"\npool = 0\ndrill = \"seccomp\"\ntoolchain = [\"/opt\"]\n");
    let shown = place.run(&["config"]).out;
    for wanted in [
        "confinement.require = [\"landlock\"]",
        "confinement.pool = 0",
        "confinement.drill = seccomp",
        "confinement.toolchain = [\"/opt\"]",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let beside = place.path("config/aaos/bin/w");
    assert!(
        shown.contains(beside.to_str().unwrap()),
        "a path starts from the file: {shown}"
    );
}

#[test]
fn a_provider_that_is_not_there_fails_the_run_when_patience_with_it_is_over() {
    let place = Place::new();
    place.work("a.txt", "alpha\n");
    place.config(
        "[providers.openai]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"small\"\npatience = \"1s\"\n",
    );
    let done = place.run(&["submit", "read a.txt and summarise it"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.err.contains("openai/small") && done.err.contains("next:"),
        "{}",
        done.err
    );
}
