//! `git_commit`: the named files and directories, as they are, as one commit.
//!
//! The repository's hooks, its file system monitor and its signing do not run, and no other configuration than the
//! repository's is read. A path is a path: it is never an option, and no sign in it means anything to git.
//!
//! Whether a commit happened that was cut off is looked up: `HEAD` before it is on record, and the commit is the one that
//! follows it with the same message.

use super::program::{self, Report};
use aaos_core::{
    approval::Preview,
    capability::Need,
    text,
    time::Span,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{Exec, Happened, Powers, Tool, ToolError, power::Command, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest time of one call: staging a large tree from a slow disk.
const DEADLINE: Span = Span::from_secs(120);
/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Most paths in one commit; a directory stands for all beneath it.
const PATHS_MAX: usize = 256;
/// Most bytes of git's own words in an error.
const WORDS_BYTES_MAX: usize = 2000;
/// What git is configured to, over whatever the repository says.
const SETTINGS: [(&str, &str); 8] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("commit.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // The repository may be another owner's, seen from inside a worker; what it may do is a matter of grants.
    ("safe.directory", "*"),
    // Git is to say that it knows no author, not to make one up.
    ("user.useConfigOnly", "true"),
];
/// What git says when it knows no author. Source: git, ident.c, in the language `LC_ALL=C` gives.
const NO_AUTHOR: &str = "auto-detection is disabled";
/// What git says of a branch without a commit. Source: git, builtin/log.c and revision.c, as above.
const NO_COMMIT: &str = "does not have any commits yet";
/// What is asked of the last commit: its id, its parents, its author, its message. Source: git-log(1), pretty formats.
const LAST_FORMAT: &str = "--format=%H%n%P%n%an <%ae>%n%B";
/// Who commits where the repository does not say.
const AUTHOR: (&str, &str) = ("aaOS agent", "agent@localhost");

/// Commits.
pub(super) struct GitCommit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The repository's directory, or one in it: an absolute path, or one relative to the base directory.
    directory: String,
    /// The commit's message: a short first line, an empty line, then why.
    message: String,
    /// Files and directories to commit, relative to the directory; `.` for everything in it.
    paths: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Output {
    commit: String,
    summary: String,
    author: String,
}

/// What is recorded before the commit.
#[derive(Serialize, Deserialize)]
struct Evidence {
    /// The commit `HEAD` names; none on a branch without one.
    head: Option<String>,
}

/// The last commit.
struct Last {
    commit: String,
    parents: Vec<String>,
    author: String,
    message: String,
}

#[async_trait]
impl Tool for GitCommit {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "git_commit",
        summary: "Commit named files or directories of a git repository as they are now; answers with the commit's id.",
        powers: &[Power::Exec],
        effect: Effect::Reversible,
        recovery: Recovery::Looks,
        deadline: DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        let commands = [add(input), commit(input), log(input)];
        commands.iter().map(program::need).collect()
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let exec = powers.exec()?;
        check(&input)?;
        succeed(exec, add(&input), "git could not add these paths")?;
        let (summary, author) = committed(exec, &input)?;
        let unnamed = |error: String| {
            in_doubt(&format!(
                "git committed, and cannot name the commit: {error}"
            ))
        };
        let last = last(exec, &input).map_err(|error| unnamed(error.to_string()))?;
        let last = last.ok_or_else(|| unnamed("there is none".to_owned()))?;
        Ok(Output {
            commit: last.commit,
            summary: summary.trim().to_owned(),
            author: author.to_owned(),
        })
    }

    async fn evidence(&self, input: &Input, powers: &Powers) -> Result<Option<Value>, ToolError> {
        check(input)?;
        let last = last(powers.exec()?, input)?;
        let evidence = Evidence {
            head: last.map(|last| last.commit),
        };
        let json = serde_json::to_value(evidence);
        json.map(Some)
            .map_err(|error| ToolError::Failed(error.to_string()))
    }

    async fn happened(
        &self,
        input: &Input,
        evidence: &Value,
        powers: &Powers,
    ) -> Result<Happened, ToolError> {
        let unknown = |why: String| Ok(Happened::Unknown { why });
        let Ok(Evidence { head: before }) = Evidence::deserialize(evidence) else {
            return unknown("where HEAD stood before the commit is not on record".to_owned());
        };
        let last = last(powers.exec()?, input)?;
        let Some(last) = last.filter(|last| before.as_ref() != Some(&last.commit)) else {
            // What was staged and not committed is staged again by the same words.
            return Ok(Happened::No);
        };
        let follows = last.parents.iter().eq(before.iter());
        if !follows || tidy(&last.message) != tidy(&input.message) {
            let before = before.as_deref().unwrap_or("no commit");
            return unknown(format!(
                "HEAD moved from {before} to {}, which is not this commit; somebody else committed, or it was amended",
                last.commit
            ));
        }
        let output = Output {
            summary: text::head(last.message.lines().next().unwrap_or_default(), 200).to_owned(),
            commit: last.commit,
            author: last.author,
        };
        let output = serde_json::to_value(output);
        let output = output.map_err(|error| ToolError::Failed(error.to_string()))?;
        Ok(Happened::Yes { output })
    }

    async fn preview(&self, input: &Input, _powers: &Powers) -> Result<Option<Preview>, ToolError> {
        check(input)?;
        Ok(Some(program::preview(&commit(input))))
    }
}

/// A message as git keeps it. Source: git-commit(1), `--cleanup=whitespace`.
fn tidy(message: &str) -> String {
    let mut lines: Vec<&str> = message.lines().map(str::trim_end).collect();
    lines.dedup_by(|next, line| next.is_empty() && line.is_empty());
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The commit `HEAD` names; none on a branch without one.
fn last(exec: &dyn Exec, input: &Input) -> Result<Option<Last>, ToolError> {
    let report = Report::from(exec.run(log(input))?);
    if !report.success() && report.stderr.contains(NO_COMMIT) {
        return Ok(None);
    }
    if !report.success() {
        return Err(failed("git could not tell the last commit", &report));
    }
    let mut lines = report.stdout.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let (commit, parents, author, message) = (next(), next(), next(), next());
    Ok(Some(Last {
        commit,
        parents: parents
            .split(' ')
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect(),
        author,
        message,
    }))
}

fn in_doubt(reason: &str) -> ToolError {
    ToolError::InDoubt {
        tool: GitCommit::ABOUT.name.to_owned(),
        reason: reason.to_owned(),
    }
}

fn check(input: &Input) -> Result<(), ToolError> {
    let wrong = |problem: String| {
        Err(ToolError::Input {
            tool: GitCommit::ABOUT.name.to_owned(),
            problem,
        })
    };
    if input.message.trim().is_empty() || input.message.len() > MESSAGE_BYTES_MAX {
        return wrong(format!("message: one to {MESSAGE_BYTES_MAX} bytes"));
    }
    if input.paths.is_empty() || input.paths.len() > PATHS_MAX {
        return wrong(format!(
            "paths: one to {PATHS_MAX}; `.` for everything in the directory"
        ));
    }
    if input.paths.iter().any(String::is_empty) {
        return wrong("paths: an empty path names nothing; write `.` for the directory".to_owned());
    }
    program::check(GitCommit::ABOUT.name, &add(input))?;
    program::check(GitCommit::ABOUT.name, &commit(input))
}

/// Commits what the paths name; git's summary, and who the author is.
fn committed(exec: &dyn Exec, input: &Input) -> Result<(String, &'static str), ToolError> {
    let mut author = "the repository's";
    let mut report = Report::from(exec.run(commit(input))?);
    if !report.success() && report.stderr.contains(NO_AUTHOR) {
        author = "aaOS agent <agent@localhost>";
        let mut again = commit(input);
        let (name, email) = AUTHOR;
        again
            .env
            .extend(["AUTHOR", "COMMITTER"].iter().flat_map(|who| {
                [
                    (format!("GIT_{who}_NAME"), name.to_owned()),
                    (format!("GIT_{who}_EMAIL"), email.to_owned()),
                ]
            }));
        report = Report::from(exec.run(again)?);
    }
    match (report.success(), report.exit_code()) {
        (true, _) => Ok((report.stdout, author)),
        // With hooks off, one reason is left for this code.
        (false, Some(1)) => Err(failed(
            "there is nothing to commit in these paths: nothing in them changed since the last commit, or git ignores it",
            &report,
        )),
        // A signal ended it, perhaps behind its last act.
        (false, None) => Err(in_doubt(&failed("git was ended", &report).to_string())),
        (false, Some(_)) => Err(failed("git could not commit", &report)),
    }
}

fn succeed(exec: &dyn Exec, command: Command, problem: &str) -> Result<Report, ToolError> {
    let report = Report::from(exec.run(command)?);
    if report.success() {
        Ok(report)
    } else {
        Err(failed(problem, &report))
    }
}

fn failed(problem: &str, report: &Report) -> ToolError {
    let words = format!("{}\n{}", report.stderr.trim(), report.stdout.trim());
    let words = text::head(words.trim(), WORDS_BYTES_MAX);
    ToolError::Failed(format!("{problem}. Git says: {words}"))
}

fn add(input: &Input) -> Command {
    git(input, ["add", "--"], &input.paths)
}

/// Only what the paths name is committed; what was staged beside them stays staged.
fn commit(input: &Input) -> Command {
    git(input, ["commit", "-m", &input.message, "--"], &input.paths)
}

fn log(input: &Input) -> Command {
    git(input, ["log", "-1", LAST_FORMAT], &[])
}

fn git<const N: usize>(input: &Input, words: [&str; N], paths: &[String]) -> Command {
    let words = words.into_iter().map(str::to_owned);
    let args = words.chain(paths.iter().cloned()).collect();
    let mut env: Vec<(String, String)> = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_LITERAL_PATHSPECS", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    env.push(("GIT_CONFIG_COUNT".to_owned(), SETTINGS.len().to_string()));
    for (number, (key, value)) in SETTINGS.iter().enumerate() {
        env.push((format!("GIT_CONFIG_KEY_{number}"), (*key).to_owned()));
        env.push((format!("GIT_CONFIG_VALUE_{number}"), (*value).to_owned()));
    }
    Command {
        env,
        ..program::command("git", args, &input.directory)
    }
}
