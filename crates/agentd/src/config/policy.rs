//! What the operator's configuration says of decisions and of the record: which acts a person is asked about and how
//! they are told, which addresses keep to an idempotency key, how often the journal's head is signed, how long content
//! is kept.
//!
//! Refuses a rule that does not parse, a time or count that could not work, and a command that names no program.

use super::{
    ConfigError, Setting,
    assemble::FromFile,
    budgets::time,
    file::{FileApprovals, FileAudit, FileConfig},
};
use aaos_core::{
    approval::{EXPIRES_AFTER, RULES_MAX, Rule},
    capability::{Capability, Resource},
    time::Span,
};
use std::path::Path;
use toml::Spanned;

/// Longest time a request for approval may wait: a year, after which nobody remembers what it was about.
const EXPIRE_MAX: Span = Span::from_secs(365 * 86_400);
/// Most arguments of the command that is told of what waits.
const NOTIFY_ARGUMENTS_MAX: usize = 64;
/// Most addresses that keep to an idempotency key.
const KEYED_MAX: usize = 256;

/// What the operator decided beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Acts that wait for a person's approval, in every run.
    pub(crate) ask: Setting<Vec<Rule>>,
    /// How long a request waits.
    pub(crate) expire: Setting<Span>,
    /// The command that is told of what waits, with its arguments; empty for none.
    pub(crate) notify: Setting<Vec<String>>,
    /// Addresses that perform a request once, however often it comes with the same idempotency key.
    pub(crate) keyed: Setting<Vec<Capability>>,
    /// Days after its end at which a run's content is erased; none for never.
    pub(crate) retention_days: Option<Setting<u32>>,
    /// Events after which the journal's head is signed.
    pub(crate) sign_every_events: Setting<u64>,
    /// Seconds after which it is signed, if there were any events.
    pub(crate) sign_every_s: Setting<u64>,
}

impl Policy {
    /// What holds where the file says nothing: nobody is asked about anything that was granted.
    pub(super) fn usual() -> Self {
        let pace = aaos_store::notary::Pace::standard();
        Self {
            ask: Setting::default(Vec::new()),
            expire: Setting::default(EXPIRES_AFTER),
            notify: Setting::default(Vec::new()),
            keyed: Setting::default(Vec::new()),
            retention_days: None,
            sign_every_events: Setting::default(pace.events.get()),
            sign_every_s: Setting::default(pace.every.as_secs()),
        }
    }

    /// Takes what the file says.
    pub(super) fn set(
        &mut self,
        from: &FromFile<'_>,
        read: &FileConfig,
    ) -> Result<(), ConfigError> {
        self.set_approvals(from, &read.approvals)?;
        self.set_audit(from, &read.audit)?;
        if let Some(lines) = &read.effects.keyed {
            let keyed = lines.get_ref().iter().map(|line| keyed(from, line));
            self.keyed = list(from, lines, keyed.collect::<Result<_, _>>()?, KEYED_MAX)?;
        }
        if let Some(days) = &read.retention.days {
            positive(from, days, u64::from(*days.get_ref()))?;
            self.retention_days = Some(from.setting(days));
        }
        Ok(())
    }

    fn set_approvals(
        &mut self,
        from: &FromFile<'_>,
        read: &FileApprovals,
    ) -> Result<(), ConfigError> {
        if let Some(lines) = &read.ask {
            let rule = |line: &Spanned<String>| -> Result<Rule, ConfigError> {
                let wrong = |problem: String| from.problem(line, problem, "Correct the rule");
                let rule: Rule = line
                    .get_ref()
                    .parse()
                    .map_err(|error| wrong(format!("{error}")))?;
                match rule.problem() {
                    Some(problem) => Err(wrong(problem.to_owned())),
                    None => Ok(rule),
                }
            };
            let rules = lines.get_ref().iter().map(rule).collect::<Result<_, _>>()?;
            self.ask = list(from, lines, rules, RULES_MAX)?;
        }
        if let Some(text) = &read.expire {
            let expire = time(from, "expire", text)?;
            if expire.millis() < 1_000 || expire > EXPIRE_MAX {
                let problem =
                    "a request for approval waits for a second at least and a year at most";
                return Err(from.problem(text, problem, "Write `expire = \"24h\"`"));
            }
            self.expire = Setting::new(expire, from.origin(text));
        }
        if let Some(words) = &read.notify {
            let texts: Vec<String> = words
                .get_ref()
                .iter()
                .map(|word| word.get_ref().clone())
                .collect();
            command(from, words, &texts)?;
            self.notify = Setting::new(texts, from.origin(words));
        }
        Ok(())
    }

    fn set_audit(&mut self, from: &FromFile<'_>, read: &FileAudit) -> Result<(), ConfigError> {
        if let Some(events) = &read.sign_every_events {
            positive(from, events, *events.get_ref())?;
            self.sign_every_events = from.setting(events);
        }
        if let Some(seconds) = &read.sign_every_s {
            positive(from, seconds, *seconds.get_ref())?;
            self.sign_every_s = from.setting(seconds);
        }
        Ok(())
    }
}

fn positive<T>(from: &FromFile<'_>, spanned: &Spanned<T>, value: u64) -> Result<(), ConfigError> {
    if value > 0 {
        return Ok(());
    }
    let problem = "this must be 1 or more";
    Err(from.problem(spanned, problem, "Give a larger number, or remove the line"))
}

/// A list of the file's, if it is not too long.
fn list<T, S>(
    from: &FromFile<'_>,
    spanned: &Spanned<S>,
    values: Vec<T>,
    most: usize,
) -> Result<Setting<Vec<T>>, ConfigError> {
    if values.len() > most {
        let problem = format!("there are more than {most} entries");
        return Err(from.problem(spanned, problem, "Write wider patterns instead of many"));
    }
    Ok(Setting::new(values, from.origin(spanned)))
}

/// An address that keeps to an idempotency key, as an http capability.
fn keyed(from: &FromFile<'_>, line: &Spanned<String>) -> Result<Capability, ConfigError> {
    let example = "Write it as `http: POST https://api.example.com/orders`";
    let read: Capability = line
        .get_ref()
        .parse()
        .map_err(|error| from.problem(line, format!("{error}"), example))?;
    if matches!(read.resource, Resource::Http(_)) {
        return Ok(read);
    }
    let problem = "only an `http` capability names an address";
    Err(from.problem(line, problem, example))
}

/// A command is a program, by a name that is searched for or an absolute path, and its arguments.
fn command<S>(
    from: &FromFile<'_>,
    spanned: &Spanned<S>,
    words: &[String],
) -> Result<(), ConfigError> {
    let named = words.first().is_some_and(|program| {
        !program.trim().is_empty() && (!program.contains('/') || Path::new(program).is_absolute())
    });
    let plain = words.iter().all(|word| !word.contains('\0'));
    if named && plain && words.len() <= NOTIFY_ARGUMENTS_MAX {
        return Ok(());
    }
    let problem = format!(
        "this is not a command: a program, by its name or absolute path, and at most {NOTIFY_ARGUMENTS_MAX} arguments"
    );
    Err(from.problem(
        spanned,
        problem,
        "Write `notify = [\"notify-send\", \"aaos\"]`",
    ))
}
