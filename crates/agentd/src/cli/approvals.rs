//! `agentd approvals`: what waits for you, and your answer. The first answer stands.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words::{self, Paint},
};
use crate::{
    rpc::{
        ApprovalAnswer, ApprovalList, ApprovalShow,
        decided::{AnswerParams, CallParams, PendingParams, Shown, Verdict},
    },
    world::SystemClock,
};
use aaos_core::{
    approval::Preview,
    event::{Waiting, WaitsFor},
    id::RunId,
};
use aaos_ports::{Clock, Pending};
use clap::{Args, Subcommand};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Approvals {
    #[command(subcommand)]
    which: Option<Which>,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// List what waits for you, the oldest first.
    List {
        /// Only of this run: its id, or the beginning of it.
        run: Option<String>,
    },
    /// Show the whole of what an act would do.
    Show {
        /// The act's id, or the beginning of it.
        call: String,
    },
    /// Let an act happen, once, exactly as it is shown.
    Approve {
        /// The act's id, or the beginning of it.
        call: String,
        /// Let further calls of the same tool by the same run happen for so long, as `1h`, as far as the same rule asks.
        #[arg(long, value_name = "SPAN")]
        always: Option<String>,
        /// Only if it is still what `show` showed with this sign.
        #[arg(long, value_name = "SIGN")]
        seen: Option<String>,
    },
    /// Refuse an act; its agent is told and goes on without it.
    Deny {
        /// The act's id, or the beginning of it.
        call: String,
        /// What the agent is told.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

impl Act for Approvals {
    const NAME: &'static str = "approvals";
    const ABOUT: &'static str = "Show what waits for your approval, approve it or deny it";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        match self.which.unwrap_or(Which::List { run: None }) {
            Which::List { run } => {
                let params = PendingParams { run };
                let doing = "list what waits";
                let pending = start::ask::<ApprovalList>(desk, Absent::Start, doing, &params)?;
                desk.tell(&pending, |pending| list(desk, pending))
            }
            Which::Show { call } => {
                let params = CallParams { call };
                let doing = "show the act";
                let shown = start::ask::<ApprovalShow>(desk, Absent::Start, doing, &params)?;
                desk.tell(&shown, |shown| show(desk, shown))
            }
            Which::Approve { call, always, seen } => {
                let params = AnswerParams {
                    call,
                    verdict: Verdict::Approve,
                    always_s: always.as_deref().map(seconds).transpose()?,
                    seen,
                    reason: None,
                };
                answer(desk, &params, "approved")
            }
            Which::Deny { call, reason } => {
                let params = AnswerParams {
                    call,
                    verdict: Verdict::Deny,
                    always_s: None,
                    seen: None,
                    reason,
                };
                answer(desk, &params, "denied")
            }
        }
    }
}

/// A length of time as it is written in a budget, in whole seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, CliError> {
    use crate::config::amount::Amount;
    match text.parse() {
        Ok(Amount::WallClockMs(millis)) if millis >= 1_000 => Ok(millis / 1_000),
        _ => {
            let problem = format!("`{}` is no length of time", words::one_line(text, 64));
            Err(CliError::usage(
                "read the time",
                &problem,
                "Write `30m`, `1h` or `7d`",
            ))
        }
    }
}

fn list(desk: &Desk, pending: &[Pending]) -> Result<(), CliError> {
    if pending.is_empty() {
        return desk.say("Nothing waits for you.");
    }
    let now = SystemClock.now();
    let row = |one: &Pending| {
        let waiting = &one.waiting;
        let (sort, left, what) = match &waiting.what {
            WaitsFor::Approval {
                preview, expires, ..
            } => ("approval", words::span(expires.since(now)), preview),
            WaitsFor::Doubt { args_preview, .. } => ("settling", "–".to_owned(), args_preview),
        };
        [
            waiting.call.to_string(),
            sort.to_owned(),
            words::span(now.since(waiting.since)),
            left,
            words::one_line(&waiting.tool, 24),
            words::one_line(what, 72),
            one.run.to_string(),
        ]
    };
    // What is asked about has to be seen on a narrow terminal; of which run it is, `show` tells too.
    desk.say_table(
        ["CALL", "WAITS FOR", "WAITED", "LEFT", "TOOL", "WHAT", "RUN"],
        pending.iter().map(row),
    )?;
    desk.say("`agentd approvals show CALL` shows all of one and how to answer it")
}

fn show(desk: &Desk, shown: &Shown) -> Result<(), CliError> {
    let (waiting, paint) = (&shown.pending.waiting, desk.paint());
    desk.say(format!(
        "{}  {}",
        paint.strong(&waiting.call.to_string()),
        paint.tool(&words::one_line(&waiting.tool, 64))
    ))?;
    desk.say(format!("run      {}", shown.pending.run))?;
    desk.say(format!("base     {}", words::one_line(&shown.base, 400)))?;
    desk.say(format!("goal     {}", words::one_line(&shown.goal, 300)))?;
    desk.say(format!("agent    {}", waiting.agent))?;
    desk.say(format!("asked    {}", words::date(waiting.since)))?;
    match &waiting.what {
        WaitsFor::Approval {
            rule,
            expires,
            preview,
            body,
            ..
        } => {
            desk.say(format!("rule     {}", words::one_line(rule, 300)))?;
            desk.say(format!(
                "ends     {}, refused if nobody answers",
                words::date(*expires)
            ))?;
            desk.say("")?;
            match &shown.whole {
                Some(preview) => lines(preview, paint)
                    .iter()
                    .try_for_each(|line| desk.say(line))?,
                None => desk.say(format!(
                    "{}\n(only this line of it is left)",
                    words::clean(preview)
                ))?,
            }
            desk.say("")?;
            desk.say(format!(
                "`agentd approvals approve {0} --seen {1}` lets exactly this happen; `agentd approvals deny {0}` does not",
                waiting.call,
                aaos_core::text::head(body, SIGN_BYTES)
            ))
        }
        WaitsFor::Doubt { .. } => doubt(desk, shown.pending.run, waiting),
    }
}

/// Digits of a preview's digest that tell it from another of the same act.
const SIGN_BYTES: usize = 12;

/// What is known of an act in doubt, and what each choice means.
pub(crate) fn doubt(desk: &Desk, run: RunId, waiting: &Waiting) -> Result<(), CliError> {
    let WaitsFor::Doubt {
        effect,
        args_preview,
        why,
    } = &waiting.what
    else {
        return Ok(());
    };
    let tool = words::one_line(&waiting.tool, 64);
    let what = format!("{tool} {}", words::one_line(args_preview, 300));
    desk.say(format!("  it was cut off while it did: {what}"))?;
    desk.say(format!(
        "  its effect is {}; {}",
        effect.as_str(),
        words::one_line(why, 300)
    ))?;
    let command = format!("agentd settle {run} {}", waiting.call);
    desk.say(format!(
        "  `{command} --done`     it happened: the agent goes on, and it is not done again"
    ))?;
    desk.say(format!(
        "  `{command} --repeat`   it did not happen, or may happen twice: {tool} does it again now"
    ))?;
    desk.say(format!(
        "  `{command} --give-up`  leave it: the agent is told that it failed"
    ))
}

/// A preview, line by line.
fn lines(preview: &Preview, paint: Paint) -> Vec<String> {
    match preview {
        Preview::Diff { path, diff, .. } => {
            let mut lines = vec![format!("change {}", words::one_line(path, 4_096))];
            if diff.is_empty() {
                lines.push("nothing would change".to_owned());
            }
            lines.extend(
                words::clean(diff)
                    .lines()
                    .map(|line| diff_line(line, paint)),
            );
            lines
        }
        Preview::Program {
            directory,
            argv,
            stdin,
        } => {
            let mut lines = vec![format!("start in {}", words::one_line(directory, 4_096))];
            // Quoted one by one, so that an argument with spaces is not taken for two.
            lines.extend(argv.iter().map(|word| format!("  {word:?}")));
            if !stdin.is_empty() {
                lines.push("and give it to read".to_owned());
            }
            lines.extend(indented(stdin));
            lines
        }
        Preview::Request {
            line,
            headers,
            body,
        } => {
            let mut lines = vec![format!("send {}", words::clean(line).replace('\n', " "))];
            lines.extend(
                headers
                    .iter()
                    .map(|header| format!("  {}", words::clean(header).replace('\n', " "))),
            );
            if !body.is_empty() {
                lines.push("with the body".to_owned());
            }
            lines.extend(indented(body));
            lines
        }
        Preview::Arguments { json } => {
            let value = serde_json::from_str::<serde_json::Value>(json);
            let text = value
                .ok()
                .and_then(|value| serde_json::to_string_pretty(&value).ok())
                .unwrap_or_else(|| json.clone());
            words::clean(&text).lines().map(str::to_owned).collect()
        }
    }
}

/// A text set off from our own words, which it could imitate.
fn indented(text: &str) -> Vec<String> {
    let lines = words::clean(text);
    lines.lines().map(|line| format!("  {line}")).collect()
}

fn diff_line(line: &str, paint: Paint) -> String {
    match line.as_bytes().first() {
        Some(b'+') => paint.good(line),
        Some(b'-') => paint.bad(line),
        Some(b'@') => paint.dim(line),
        _ => line.to_owned(),
    }
}

fn answer(desk: &Desk, params: &AnswerParams, word: &str) -> Result<(), CliError> {
    let decided = start::ask::<ApprovalAnswer>(desk, Absent::Start, "answer the request", params)?;
    desk.tell(&decided, |decided| {
        desk.say(format!("{word} {}", words::decided(decided)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_shows_every_argument_and_moves_no_cursor() {
        let program = Preview::Program {
            directory: "/work".to_owned(),
            argv: vec![
                "git".to_owned(),
                "commit".to_owned(),
                "-m a\u{1b}[2J b".to_owned(),
            ],
            stdin: "rm -rf\u{1b}[2J /\nstart in /elsewhere".to_owned(),
        };
        let shown = lines(&program, Paint(false));
        assert_eq!(shown.len(), 7);
        assert_eq!(shown[5..], ["  rm -rf [2J /", "  start in /elsewhere"]);
        assert!(
            shown.iter().all(|line| !line.contains('\u{1b}')),
            "{shown:?}"
        );
        let diff = Preview::Diff {
            path: "/work/a.txt".to_owned(),
            diff: "@@ -1 +1 @@\n-one\n+two\u{1b}[2J\n".to_owned(),
            before: None,
        };
        let shown = lines(&diff, Paint(false));
        assert_eq!(shown.get(2).map(String::as_str), Some("-one"));
        assert!(
            shown.iter().all(|line| !line.contains('\u{1b}')),
            "{shown:?}"
        );
    }

    #[test]
    fn a_time_is_a_time_and_nothing_else() {
        assert_eq!(seconds("1h"), Ok(3_600));
        for bad in ["", "1", "2usd", "10ms", "0s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
