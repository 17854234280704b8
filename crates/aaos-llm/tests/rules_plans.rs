//! The provider `rules` plans what it understands and quotes what it does not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rules;

use aaos_core::{
    failure::Failure,
    model::{Message, Purpose},
    plan::{Item, Plan, check},
};
use aaos_llm::provider::rules::own_addresses;
use proptest::prelude::*;
use std::time::Instant;

const COVERED: &str = include_str!("goals/covered.txt");
const REFUSED: &str = include_str!("goals/refused.txt");

/// Each goal and the lines under it.
fn corpus(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut goals: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match (line.strip_prefix("> "), goals.last_mut()) {
            (Some(goal), _) => goals.push((goal, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => panic!("a line before the first goal: {line}"),
        }
    }
    goals
}

/// What is wrong with a plan: refused by the core, or naming a path or address that the goal does not.
fn faults(goal: &str, plan: &Plan) -> Vec<String> {
    let mut faults = check::check(plan, rules::roles(), &check::Limits::default())
        .err()
        .unwrap_or_default();
    for subtask in &plan.subtasks {
        for name in ["url", "folder", "inputs", "output"] {
            let items = subtask
                .params
                .get(name)
                .map(|param| param.items())
                .unwrap_or_default();
            for item in items {
                if let Item::Text(text) = item
                    && !goal.contains(text.as_str())
                    && !own_addresses().contains(&text.as_str())
                {
                    faults.push(format!("{}: `{text}` is not in the goal", subtask.id));
                }
            }
        }
    }
    faults
}

#[test]
fn every_covered_goal_becomes_the_plan_it_means() {
    let (roles, goals) = (rules::roles(), corpus(COVERED));
    assert!(goals.len() >= 40, "only {} goals", goals.len());
    for (goal, expected) in goals {
        let plan = rules::plan(goal, roles).unwrap_or_else(|failure| panic!("{goal}: {failure}"));
        assert_eq!(rules::lines(&plan), expected, "{goal}");
        assert_eq!(faults(goal, &plan), Vec::<String>::new(), "{goal}");
    }
}

#[test]
fn every_other_goal_is_refused_with_its_own_words_and_the_ways_on() {
    let (roles, goals) = (rules::roles(), corpus(REFUSED));
    assert!(goals.len() >= 20, "only {} goals", goals.len());
    for (goal, expected) in goals {
        let Err(Failure::GoalRefused { reason, ways_on }) = rules::plan(goal, roles) else {
            panic!("planned: {goal}");
        };
        let quoted = format!("`{}`", expected.join("\n"));
        assert!(
            reason.starts_with(&quoted) && goal.contains(&expected.join("\n")),
            "{goal}\n{reason}"
        );
        assert!(
            ways_on.iter().any(|way| way.contains("agentd configure")),
            "{ways_on:?}"
        );
        assert!(
            ways_on.iter().any(|way| way.contains("OpenAI-compatible")),
            "{ways_on:?}"
        );
    }
}

#[test]
fn empty_huge_and_binary_goals_are_refused() {
    let roles = rules::roles();
    for goal in [
        String::new(),
        " \n\t".to_owned(),
        "read a.txt ".repeat(100_000),
        "read \u{0}a.txt".to_owned(),
        "\u{1b}[2J".to_owned(),
        "\"".to_owned(),
        "read \"a".to_owned(),
    ] {
        assert!(
            matches!(rules::plan(&goal, roles), Err(Failure::GoalRefused { .. })),
            "{:.40}",
            goal
        );
    }
}

#[test]
fn a_plan_that_was_found_wanting_is_not_made_again() {
    let purpose = Purpose::Plan {
        goal: "read a.txt".to_owned(),
        base: "/".to_owned(),
        roles: rules::roles().values().cloned().collect(),
        problems: vec!["no role `analyzer`".to_owned()],
    };
    let answer = rules::ask(&rules::request(
        purpose,
        vec![Message::User {
            text: "read a.txt".to_owned(),
        }],
    ));
    assert!(
        matches!(answer, Err(Failure::GoalRefused { reason, .. }) if reason.contains("no role `analyzer`"))
    );
}

#[test]
fn a_role_that_is_not_installed_is_named() {
    let mut roles = rules::roles().clone();
    roles.retain(|name, _| name.as_str() != "explorer");
    let refused = rules::plan("list the files in docs", &roles);
    assert!(
        matches!(refused, Err(Failure::GoalRefused { reason, .. }) if reason.contains("`explorer`"))
    );
}

#[test]
fn it_always_plans() {
    let purpose = Purpose::Classify {
        goal: "anything".to_owned(),
    };
    let reply = rules::ask(&rules::request(
        purpose,
        vec![Message::User {
            text: String::new(),
        }],
    ))
    .unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.usage, reply.model.as_str()),
        ("plan", aaos_core::model::Usage::default(), "rules")
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of speed needs a clock")]
fn a_plan_takes_less_than_a_millisecond_on_average() {
    let (roles, goals) = (rules::roles(), corpus(COVERED));
    let start = Instant::now();
    for (goal, _) in &goals {
        rules::plan(goal, roles).unwrap();
    }
    let each = start.elapsed() / u32::try_from(goals.len()).unwrap();
    let allowed = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(each.as_millis() < allowed, "{each:?} a plan");
}

/// Words that goals are made of, so that chance finds its way deep into the parser.
fn words() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "read",
        "fetch",
        "list",
        "show",
        "count",
        "search",
        "for",
        "summarise",
        "compare",
        "combine",
        "sort",
        "write",
        "save",
        "copy",
        "a.txt",
        "b.md",
        "docs",
        "docs/",
        "docs/*.md",
        "https://example.com/x",
        "out.md",
        "\"a phrase\"",
        "the",
        "words",
        "lines",
        "links",
        "headings",
        "files",
        "in",
        "of",
        "from",
        "to",
        "into",
        "as",
        "and",
        "then",
        ",",
        ".",
        "it",
        "them",
        "each",
        "both",
        "top",
        "5",
        "three",
        "most",
        "frequent",
        "first",
        "stories",
        "summary",
        "report",
        "a",
        "how",
        "many",
        "what",
        "is",
        "are",
        "containing",
        "recursively",
        "markdown",
        "sentences",
        "field",
        "column",
        "TODO",
        "not",
        "JSON",
        "with",
        "total",
        "number",
        "results",
        "all",
    ];
    prop::collection::vec(prop::sample::select(WORDS), 0..18).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_goal_panics(goal in any::<String>()) {
        if let Ok(plan) = rules::plan(&goal, rules::roles()) {
            prop_assert_eq!(faults(&goal, &plan), Vec::<String>::new());
        }
    }

    #[test]
    fn whatever_is_planned_is_valid_and_names_only_what_the_goal_names(goal in words()) {
        if let Ok(plan) = rules::plan(&goal, rules::roles()) {
            prop_assert_eq!(faults(&goal, &plan), Vec::<String>::new(), "{}", goal);
        }
    }

    #[test]
    fn a_word_that_is_not_understood_is_never_passed_over(at in 0_usize..1000, goal in prop::sample::select(corpus(COVERED))) {
        let spaces: Vec<usize> = goal.0.match_indices(' ').map(|(place, _)| place).collect();
        let place = spaces[at % spaces.len()];
        let quoted = goal.0[..place].matches('"').count() % 2 == 1;
        let spoiled = format!("{} xyzzy{}", &goal.0[..place], &goal.0[place..]);
        if !quoted && let Ok(plan) = rules::plan(&spoiled, rules::roles()) {
            let shown = rules::lines(&plan).join("\n");
            prop_assert!(shown.contains("xyzzy"), "{}\n{}", spoiled, shown);
        }
    }
}
