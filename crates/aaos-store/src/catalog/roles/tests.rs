#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
use super::*;
use aaos_core::role::OutputKind;

const GOOD: &str = "name: good\nsummary: Does.\nprompt: Do.\n";

fn catalog(files: &[(&str, &str)]) -> RoleCatalog {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    RoleCatalog::load(&[dir.path().to_owned()], &[])
}

fn names(catalog: &RoleCatalog) -> Vec<String> {
    catalog
        .roles()
        .into_iter()
        .map(|role| role.name.to_string())
        .collect()
}

/// The place and words of the only problem of a file called `good.yaml`.
fn problem(text: &str) -> (Option<u64>, Option<u64>, String) {
    let found = catalog(&[("good.yaml", text)]).problems();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].file.ends_with("good.yaml"));
    (found[0].line, found[0].column, found[0].problem.clone())
}

#[test]
fn the_bundled_roles_are_good() {
    let catalog = RoleCatalog::load(&[], BUNDLED);
    assert_eq!(catalog.problems(), []);
    assert_eq!(
        names(&catalog),
        [
            "analyzer",
            "browser",
            "builder",
            "explorer",
            "fetcher",
            "generalist",
            "writer"
        ]
    );
    let role = |name: &str| catalog.role(&name.parse().unwrap()).unwrap();
    assert_eq!(role("fetcher").scaffold.as_deref(), Some("fetch"));
    assert_eq!(role("writer").output, OutputKind::File("output".to_owned()));
    assert_eq!(role("analyzer").output, OutputKind::Text);
    let starts_programs: Vec<String> = catalog
        .roles()
        .iter()
        .filter(|role| {
            role.capabilities
                .contains(&"inherit: exec".parse().unwrap())
        })
        .map(|role| role.name.to_string())
        .collect();
    assert_eq!(starts_programs, ["builder", "generalist"]);
    for name in ["cargo_run", "git_commit", "shell"] {
        let tool = format!("tool: {name}").parse().unwrap();
        assert!(role("builder").capabilities.contains(&tool), "{name}");
        assert!(role("builder").prompt.contains(name), "{name}");
    }
    for role in catalog.roles() {
        assert!(
            role.prompt.contains("CANNOT:") && role.prompt.contains("data"),
            "{}",
            role.name
        );
    }
}

#[test]
fn one_bad_role_never_disables_the_others() {
    let catalog = catalog(&[
        ("bad.yaml", "name: [broken"),
        ("good.yaml", GOOD),
        ("binary.yaml", "\u{0}\u{1}"),
        ("empty.yaml", ""),
        ("README.md", "not a role"),
        (".good.yaml.swp.yaml", "an editor's"),
    ]);
    assert_eq!(names(&catalog), ["good"]);
    assert_eq!(catalog.problems().len(), 3, "{:?}", catalog.problems());
}

#[test]
fn a_problem_has_line_and_column() {
    let (line, column, text) = problem("name: good\nsummary: Does.\nprompt: Do.\npromt: typo\n");
    assert_eq!((line, column), (Some(4), Some(1)), "{text}");
    assert!(text.contains("promt"), "{text}");
    let (line, _, text) = problem("name: good\nsummary: Does.\nprompt: Do.\nclass: wizard\n");
    assert_eq!(line, Some(4), "{text}");
    assert!(
        text.contains("wizard") && text.contains("reasoner"),
        "{text}"
    );
    let (line, _, text) = problem("name: good\nsummary: a\nsummary: b\nprompt: Do.\n");
    assert_eq!(line, Some(3), "{text}");
    let (line, _, text) = problem(&format!(
        "{GOOD}capabilities:\n  - \"file_read: relative\"\n"
    ));
    assert_eq!(line, Some(5), "{text}");
    let (line, column, text) = problem(&format!(
        "{GOOD}capabilities:\n  - \"file_read: {{nothing}}\"\n"
    ));
    assert_eq!((line, column), (Some(5), Some(6)), "{text}");
    let (line, _, text) = problem(&format!("{GOOD}ladder: [reasoner]\n"));
    assert_eq!(line, Some(4), "{text}");
}

#[test]
fn a_capability_whose_quotes_were_forgotten_never_becomes_nothing() {
    let quoted = catalog(&[(
        "good.yaml",
        &format!("{GOOD}capabilities:\n  - \"file_read: /data/*\"\n"),
    )]);
    let bare = catalog(&[(
        "good.yaml",
        &format!("{GOOD}capabilities:\n  - file_read: /data/*\n"),
    )]);
    assert_eq!(quoted.roles()[0].capabilities.len(), 1);
    assert_eq!(bare.roles(), quoted.roles());
    let (line, _, text) = problem(&format!("{GOOD}capabilities:\n  - {{a: b, c: d}}\n"));
    assert_eq!(line, Some(5), "{text}");
}

#[test]
fn a_name_that_is_not_the_files_is_refused() {
    let (line, _, text) = problem("name: other\nsummary: Does.\nprompt: Do.\n");
    assert_eq!(line, Some(1));
    assert!(text.contains("other.yaml"), "{text}");
}

#[test]
fn an_alias_bomb_a_deep_one_and_a_huge_file_are_refused() {
    let bomb = (1..9).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, level| {
            let below = format!("*a{}", level - 1);
            format!(
                "{text}a{level}: &a{level} [{}]\n",
                [below.as_str(); 9].join(", ")
            )
        },
    );
    problem(&bomb);
    problem(&format!("name: {}", "[".repeat(50_000)));
    problem(&format!(
        "{GOOD}prompt2: {}",
        "x".repeat(usize::try_from(ROLE_FILE_BYTES_MAX).unwrap())
    ));
    problem(&"- ".repeat(100_000));
    problem("name: good\n---\nname: good\n");
}

#[test]
fn what_is_no_file_is_a_problem_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("dir.yaml")).unwrap();
    fs::write(dir.path().join("good.yaml"), GOOD).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join("gone.yaml")).unwrap();
    let catalog = RoleCatalog::load(&[dir.path().to_owned(), dir.path().join("absent")], &[]);
    assert_eq!(names(&catalog), ["good"]);
    assert_eq!(catalog.problems().len(), 3, "{:?}", catalog.problems());
}

#[test]
fn a_later_directory_replaces_a_role_and_one_directory_declares_it_once() {
    let first = tempfile::tempdir().unwrap();
    let second = tempfile::tempdir().unwrap();
    fs::write(first.path().join("good.yaml"), GOOD).unwrap();
    fs::write(
        second.path().join("good.yaml"),
        GOOD.replace("Does.", "Does better."),
    )
    .unwrap();
    fs::write(
        second.path().join("good.yml"),
        GOOD.replace("Does.", "Does twice."),
    )
    .unwrap();
    let dirs = [first.path().to_owned(), second.path().to_owned()];
    let catalog = RoleCatalog::load(&dirs, &[("good.yaml", GOOD)]);
    assert_eq!(catalog.roles()[0].summary, "Does better.");
    assert_eq!(catalog.problems().len(), 1);
    assert!(catalog.problems()[0].problem.contains("twice"));
    // A broken file leaves the earlier role of its name in place.
    fs::write(second.path().join("good.yaml"), "name: [").unwrap();
    fs::remove_file(second.path().join("good.yml")).unwrap();
    assert_eq!(RoleCatalog::load(&dirs, &[]).roles()[0].summary, "Does.");
}

#[test]
fn a_file_can_be_validated_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("good.yaml");
    fs::write(&file, GOOD).unwrap();
    assert_eq!(validate(&file).unwrap().name.as_str(), "good");
    let several = format!("{GOOD}ladder: [worker]\noutput: {{file: nothing}}\n");
    fs::write(&file, several).unwrap();
    let problems = validate(&file).unwrap_err();
    assert!(
        problems.len() >= 2 && problems.iter().all(|problem| problem.line.is_some()),
        "{problems:?}"
    );
    assert!(validate(&dir.path().join("none.yaml")).is_err());
}
