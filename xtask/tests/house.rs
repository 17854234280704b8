//! The rules of the house, each as a test. A failure says what to do.
//!
//! `cargo xtask house` prints every finding at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use xtask::rule::{House, RULES, named};

fn holds(name: &str) {
    let rule = named(name).expect("a rule of that name");
    let house = House::here().expect("house.toml reads");
    let found = (rule.judge)(&house).unwrap_or_else(|error| panic!("{error}"));
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}\n{}", rule.promise, lines.join("\n"));
}

#[test]
fn rooms_open_only_onto_the_rooms_the_plan_names() {
    holds("doors");
}

#[test]
fn every_crate_is_on_the_plan_and_every_room_exists() {
    holds("plan");
}

#[test]
fn workshops_never_ship() {
    holds("workshops");
}

#[test]
fn the_core_is_pure() {
    holds("core");
}

#[test]
fn the_worker_brings_no_network_and_no_database() {
    holds("closures");
}

#[test]
fn unsafe_code_has_one_place() {
    holds("unsafe");
}

#[test]
fn one_place_reads_the_environment() {
    holds("environment");
}

#[test]
fn every_clippy_config_is_what_the_plan_makes_of_it() {
    holds("clippy-config");
}

#[test]
fn ports_are_small() {
    holds("ports");
}

#[test]
fn files_and_functions_stay_short() {
    holds("sizes");
}

#[test]
fn little_is_written_twice() {
    holds("repetition");
}

#[test]
fn every_event_kind_is_emitted_and_asserted() {
    holds("events");
}

#[test]
fn comments_and_documents_use_the_glossarys_words() {
    holds("words");
}

#[test]
fn comments_tell_no_history() {
    holds("history");
}

#[test]
fn links_lead_somewhere() {
    holds("links");
}

#[test]
fn the_readmes_commands_exist_and_ci_calls_its_test_command() {
    holds("readme");
}

#[test]
fn generated_documents_are_current() {
    holds("documents");
}

#[test]
fn every_rule_has_a_test() {
    let tests = include_str!("house.rs");
    for rule in RULES {
        let call = format!("holds(\"{}\");", rule.name);
        assert!(tests.contains(&call), "write a test that calls {call}");
    }
}
