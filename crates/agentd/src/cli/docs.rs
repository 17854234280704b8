//! `agentd docs`: reference pages as Markdown, written from the tables the program runs on.

use super::{Act, CliError, Desk};
use crate::{
    config::env::VARIABLES,
    rpc::{CODES, METHODS},
};
use aaos_core::capability::Capability;
use clap::{Args, ValueEnum};
use serde_json::Value;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Docs {
    /// The page.
    #[arg(value_enum)]
    page: Page,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    /// Every tool.
    Tools,
    /// Every method on the socket.
    Rpc,
    /// Every command.
    Cli,
    /// Every setting and variable.
    Config,
    /// Every kind of event, as JSON carries it.
    Events,
    /// Every form of grant.
    Capabilities,
}

impl Act for Docs {
    const NAME: &'static str = "docs";
    const ABOUT: &'static str = "Print a reference page as Markdown";
    const HIDDEN: bool = true;

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let page = match self.page {
            Page::Tools => aaos_tools::catalogue(),
            Page::Rpc => rpc(),
            Page::Cli => cli(),
            Page::Config => config(),
            Page::Events => events(),
            Page::Capabilities => capabilities(),
        };
        if desk.json() {
            desk.say_json(&page)
        } else {
            desk.say(page.trim_end())
        }
    }
}

fn rpc() -> String {
    let mut page = String::from(
        "# Methods on the socket\n\nJSON-RPC 2.0, one object to a line, over the daemon's Unix socket. The peer's user number, which the \
         system vouches for, is the operator. Unknown parameters are refused. Requests on one connection run side by side; answers come \
         as they are done. Batches are refused.\n",
    );
    for method in METHODS {
        page.push_str(&format!("\n## `{}`\n\n{}\n\n", method.name, method.summary));
        page.push_str(&parameters((method.params)().as_value()));
        page.push_str(&format!("\nAnswer: {}.\n", method.answer));
    }
    page.push_str("\n## Errors\n\nThe member `data` is `{problem, next_step, candidates}`.\n\n| code | meaning |\n|---|---|\n");
    for (_, code, meaning) in CODES {
        page.push_str(&format!("| {code} | {meaning} |\n"));
    }
    page
}

fn parameters(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        return "No parameters.\n".to_owned();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let mut table = String::from("| parameter | type | required | meaning |\n|---|---|---|---|\n");
    for (name, property) in properties {
        let needed = required.is_some_and(|names| names.iter().any(|required| required == name));
        let meaning = property
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .replace('\n', " ");
        table.push_str(&format!(
            "| `{name}` | {} | {} | {meaning} |\n",
            kind(property),
            if needed { "yes" } else { "no" }
        ));
    }
    table
}

/// A property's type for people.
fn kind(property: &Value) -> String {
    let words = |list: &[Value]| {
        list.iter()
            .map(kind)
            .filter(|word| word != "null")
            .collect::<Vec<_>>()
            .join(" or ")
    };
    if let Some(Value::Array(values)) = property.get("enum") {
        return values
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| format!("`{}`", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(only) = property.get("const").and_then(Value::as_str) {
        return format!("`{only}`");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(list)) = property.get(key) {
            return words(list);
        }
    }
    match property.get("type") {
        Some(Value::String(word)) if word == "array" => format!(
            "list of {}",
            property.get("items").map(kind).unwrap_or_default()
        ),
        Some(Value::String(word)) if word == "object" => object(property),
        Some(Value::String(word)) => word.clone(),
        Some(Value::Array(list)) => words(
            &list
                .iter()
                .map(|word| serde_json::json!({ "type": word }))
                .collect::<Vec<_>>(),
        ),
        _ => "any".to_owned(),
    }
}

fn object(property: &Value) -> String {
    let members = property.get("properties").and_then(Value::as_object);
    let members = members
        .into_iter()
        .flatten()
        .map(|(name, member)| format!("{name}: {}", kind(member)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

fn cli() -> String {
    let mut page = String::from(
        "# Commands\n\nEvery command takes `--json`, `--config FILE`, `--state-dir DIR` and `--socket PATH`. Exit codes: 0 done, 1 it failed, \
         2 wrong use or configuration, 3 the daemon cannot be reached or the connection broke, 4 Ctrl-C twice within two seconds. \
         [From a script](../guide/programs.md) says what is printed with `--json`.\n",
    );
    let mut root = super::command();
    root.build();
    section(&mut page, &mut root, "agentd");
    page
}

fn section(page: &mut String, command: &mut clap::Command, name: &str) {
    for sub in command
        .get_subcommands_mut()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        let name = format!("{name} {}", sub.get_name());
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        page.push_str(&format!("\n## `{name}`\n\n{about}.\n\n"));
        let own = sub.get_arguments().filter(|argument| {
            !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help"
        });
        let rows: Vec<String> = own.map(row).collect();
        if !rows.is_empty() {
            page.push_str("| argument | meaning |\n|---|---|\n");
            rows.iter().for_each(|row| page.push_str(row));
        }
        section(page, sub, &name);
    }
}

fn row(argument: &clap::Arg) -> String {
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string);
    let takes = argument.get_action().takes_values();
    let name = match (argument.get_long(), value.filter(|_| takes)) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_else(|| argument.get_id().to_string()),
    };
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("| `{name}` | {} |\n", help.replace('|', "\\|"))
}

/// What each setting means; a test holds that the file's shape knows every one of them.
const SETTINGS: &[(&str, &str)] = &[
    (
        "backend = \"namespaced\"",
        "How agents' tools run: each agent's in a confined process of its own, or `in_process`, in the daemon.",
    ),
    (
        "roles_dir = \"/path\"",
        "A directory of role files; `roles` beside the file if not given.",
    ),
    (
        "[providers.NAME]",
        "A model provider. Its key is in `credentials.toml` beside the file, as `NAME = \"key\"`.",
    ),
    (
        "kind = \"openai\"",
        "In a provider: its protocol or preset.",
    ),
    (
        "base_url = \"http://127.0.0.1:8000/v1\"",
        "In a provider: its address, if not its kind's.",
    ),
    (
        "model = \"name\"",
        "In a provider: the model for every class, if not its kind's.",
    ),
    (
        "file = \"replies.jsonl\"",
        "In a provider of kind `scripted`: the replies.",
    ),
    (
        "patience = \"10m\"",
        "In a provider: how long it is asked again while it cannot be reached or is overloaded, before the request fails.",
    ),
    ("[models]", "Models by class."),
    (
        "planner = \"NAME/model\"",
        "In `[models]`; also `worker` and `reasoner`.",
    ),
    (
        "[confinement]",
        "How workers are confined; [the page on it](../operate/confinement.md) says what each layer is for.",
    ),
    (
        "require = [\"landlock\", \"seccomp\"]",
        "In `[confinement]`: layers without which no worker takes a call; all but `cgroup_limits` if not given.",
    ),
    (
        "worker = \"/path/aaos-agent-worker\"",
        "In `[confinement]`: the program that becomes each worker; beside `agentd` or in `/usr/libexec/aaos` if not given. Also `egress`, for `aaos-egress`.",
    ),
    (
        "pool = 4",
        "In `[confinement]`: workers kept ready, 0 to 64; one per processor if not given.",
    ),
    (
        "toolchain = [\"/opt/sdk\"]",
        "In `[confinement]`: directories that programs an agent may start can read, and start programs from.",
    ),
    (
        "drill = \"landlock\"",
        "In `[confinement]`: leaves a layer out on purpose, to see that launches are refused for it.",
    ),
    (
        "[profiles.NAME]",
        "What runs under `--profile NAME` may do; `default`, `developer`, `read-only` and `none` are built in and may be replaced.",
    ),
    (
        "grants = [\"file_read: ./**\"]",
        "In a profile: grants. Relative paths start from each run's base directory.",
    ),
    (
        "deny = [\"http: GET *\"]",
        "In a profile: what is taken out of the grants again.",
    ),
    ("[budget]", "Limits of a run that says nothing else."),
    (
        "tokens = 5000000",
        "In `[budget]`; also `calls`, `agents`, `depth` and `fan_out`.",
    ),
    (
        "cost = \"5usd\"",
        "In `[budget]`, and in the four sections below: money.",
    ),
    ("wall_clock = \"1h\"", "In `[budget]`: time."),
    (
        "at_limit = \"fail\"",
        "In `[budget]`: what becomes of a run at a limit. `park` has it wait for `agentd resume`.",
    ),
    (
        "[budget.roles.NAME]",
        "Limits of all agents of a role together, in one run: `tokens`, `cost`, `calls`, `agents`.",
    ),
    (
        "[budget.operator]",
        "Limits of each operator's runs together, per day in UTC: `tokens`, `cost`.",
    ),
    (
        "[budget.day]",
        "Limits of all runs together, per day in UTC: `tokens`, `cost`.",
    ),
    (
        "[approvals]",
        "What waits for a person; [the page on it](../guide/approvals.md) has examples.",
    ),
    (
        "ask = [\"effect: irreversible\"]",
        "In `[approvals]`: acts that wait for approval in every run, as `effect: CLASS`, `tool: NAME` or any capability.",
    ),
    (
        "expire = \"24h\"",
        "In `[approvals]`: how long a request waits before it is refused by itself.",
    ),
    (
        "notify = [\"notify-send\", \"aaos\"]",
        "In `[approvals]`: a command that is told of what waits, with the event as JSON on its input and a line for people as its last argument. No shell; ten seconds.",
    ),
    ("[effects]", "What is known of effects elsewhere."),
    (
        "keyed = [\"http: POST https://api.example.com\"]",
        "In `[effects]`: addresses that perform a request once however often it comes with the same `Idempotency-Key`; what was cut off there is sent again.",
    ),
    ("[retention]", "How long content is kept."),
    (
        "days = 90",
        "In `[retention]`: days after its end at which a run's content is erased; for ever if not given.",
    ),
    ("[audit]", "How often the journal's head is signed."),
    (
        "sign_every_events = 1000",
        "In `[audit]`: events after which it is.",
    ),
    (
        "sign_every_s = 60",
        "In `[audit]`: seconds after which it is, if there were any events.",
    ),
    ("[daemon]", "The daemon."),
    (
        "idle_exit_s = 900",
        "In `[daemon]`: seconds of idleness after which a per-user daemon ends; 0 for never.",
    ),
    (
        "slots = 8",
        "In `[daemon]`: model requests at the same time.",
    ),
    (
        "workers_max = 16",
        "In `[daemon]`: agents at the same time, per run.",
    ),
    ("[sinks]", "Where events are copied to, beside the journal."),
    (
        "stdout = false",
        "In `[sinks]`: to the daemon's standard output.",
    ),
    (
        "file = \"/path/events.jsonl\"",
        "In `[sinks]`: to the end of a file.",
    ),
    (
        "journald = false",
        "In `[sinks]`: to the system's own journal, with fields.",
    ),
];

fn config() -> String {
    let mut page = String::from(
        "# Configuration\n\nDefaults, then the file, then credentials, then the environment, then flags; `agentd config` shows the result \
         and where each value came from. What is not known is refused with its line and column.\n\n\
         | file | per user | system-wide |\n|---|---|---|\n\
         | settings | `$XDG_CONFIG_HOME/aaos/config.toml` | `/etc/aaos/config.toml` |\n\
         | keys and secrets, mode 0600 | `credentials.toml` beside it | `credentials.toml` beside it; keys also from systemd's `PROVIDER.key` |\n\
         | prices | `prices.toml` beside it | `prices.toml` beside it |\n\
         | roles | `roles/` beside it | `roles/` beside it |\n\
         | state | `$XDG_STATE_HOME/aaos` | `/var/lib/aaos` |\n\
         | socket | `$XDG_RUNTIME_DIR/aaos/agentd.sock`, else in the state directory | `/run/agentd/agentd.sock` |\n\n\
         A secret stands in the keys file beneath `[secrets]`, as `name = \"value\"`; a grant's `using name` lets requests carry it.\n\n\
         ## The file\n\n| setting | meaning |\n|---|---|\n",
    );
    for (setting, meaning) in SETTINGS {
        page.push_str(&format!("| `{setting}` | {meaning} |\n"));
    }
    page.push_str("\n## Variables\n\n| variable | meaning |\n|---|---|\n");
    for variable in VARIABLES {
        page.push_str(&format!("| `{}` | {} |\n", variable.name, variable.meaning));
    }
    page
}

fn events() -> String {
    String::from(
        "# Events on the wire\n\nEach event is one JSON object: `seq`, its place in the journal; `time`, in microseconds since 1970; `run`, \
         `agent` and `call`, where it is about one; `cause`, the place of the event that led to it; `kind`, and that kind's members. \
         `agentd logs --json RUN` prints them, and `run.watch` sends them. [The kinds](events.md) are listed with what each means.\n",
    )
}

/// One grant of every form, with what it means.
const GRANTS: &[(&str, &str)] = &[
    (
        "file_read: /data/**",
        "Read everything beneath `/data`, and list it.",
    ),
    (
        "file_write: /out/report.md",
        "Create, replace or change this file; not read it.",
    ),
    (
        "file_read: /data/*/notes.txt",
        "`*` stays within one component, except at the end.",
    ),
    ("http: GET *", "GET from every host with a public address."),
    (
        "http: GET,HEAD https://api.example.com/v1",
        "These methods, this host and scheme, beneath this path.",
    ),
    ("http: GET *.example.com", "Every host beneath the domain."),
    (
        "http: GET http://127.0.0.1:8080",
        "A private address is reached only through a grant that names it.",
    ),
    ("web_search", "The same as `http: GET *`."),
    (
        "http: GET https://api.example.com using github_token",
        "As without `using`; a request may carry the secret of that name, which the agent never sees. The host is named, and reached over https or private.",
    ),
    (
        "http: CONNECT https://static.example.com",
        "A tunnel to this host and port, for granted programs: what goes through it is not seen.",
    ),
    (
        "exec: cargo [check, test] in /ws/**",
        "Start a program with arguments that begin so, there; without the list, with any.",
    ),
    (
        "cargo_run: /ws",
        "What the tool of that name may start, there.",
    ),
    (
        "git_commit: /ws",
        "What the tool of that name may start, there.",
    ),
    ("tool: web_fetch", "Call the tool; `*` for every tool."),
    (
        "spawn: [fetcher, writer]",
        "Start agents of these roles; `*` for every role.",
    ),
    (
        "message: *",
        "Send messages to any peer. No built-in tool asks for it yet.",
    ),
    (
        "memory_read: notes",
        "Ask for remembered records; `memory_write` stores them. No built-in tool asks for it yet.",
    ),
    (
        "custom.deploy: stage=test",
        "Something only your own tools know. No built-in tool asks for it yet.",
    ),
    (
        "http: GET * {uses=3, rate=10/60s, bytes=1MiB}",
        "Limits on any of them; also `until=` and `money=`.",
    ),
];

fn capabilities() -> String {
    let mut page = String::from(
        "# Grants\n\nOne grammar, in profiles, roles, flags and on the wire. What does not parse is an error with its position. A grant is made \
         from another only by making it weaker. With `--grant` and `--deny`, relative paths start from the base directory.\n\n\
         | grant | written in full | meaning |\n|---|---|---|\n",
    );
    for (grant, meaning) in GRANTS {
        let full = grant
            .parse::<Capability>()
            .map_or_else(|error| error.to_string(), |grant| grant.to_string());
        page.push_str(&format!("| `{grant}` | `{full}` | {meaning} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_grant_on_the_page_is_one() {
        for (grant, _) in GRANTS {
            grant
                .parse::<Capability>()
                .unwrap_or_else(|error| panic!("{grant}: {error}"));
        }
    }

    #[test]
    fn every_method_and_command_is_on_its_page() {
        let (methods, commands) = (rpc(), cli());
        for method in METHODS {
            assert!(methods.contains(method.name), "{}", method.name);
        }
        for command in [
            "submit",
            "plan",
            "audit verify",
            "roles validate",
            "daemon restart",
        ] {
            assert!(
                commands.contains(&format!("`agentd {command}`")),
                "{command}"
            );
        }
    }
}
