//! The fake of the power to start programs: answers by how a command begins, and starts nothing.

use aaos_ports::{
    Exec, PowerError,
    power::{Captured, Command, Ended, Finished},
};
use std::sync::{Mutex, PoisonError};

/// An answer, and whether it has been given.
struct Answer {
    beginning: Vec<String>,
    outcome: Result<Finished, PowerError>,
    given: bool,
}

#[derive(Default)]
struct State {
    answers: Vec<Answer>,
    started: Vec<Command>,
}

/// Answers commands by their beginning; anything else is `NotFound`.
#[derive(Default)]
pub struct Programs {
    state: Mutex<State>,
}

impl Programs {
    /// With one more answer, for commands whose words begin with those of `beginning`. Several for one beginning are
    /// given in turn; the last is given again and again.
    #[must_use]
    pub fn with(self, beginning: &str, outcome: Result<Finished, PowerError>) -> Self {
        let beginning = beginning.split_whitespace().map(str::to_owned).collect();
        self.lock().answers.push(Answer {
            beginning,
            outcome,
            given: false,
        });
        self
    }

    /// Every command so far.
    #[must_use]
    pub fn started(&self) -> Vec<Command> {
        self.lock().started.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exec for Programs {
    fn run(&self, command: Command) -> Result<Finished, PowerError> {
        let mut state = self.lock();
        let words: Vec<String> = std::iter::once(command.program.clone())
            .chain(command.args.iter().cloned())
            .collect();
        state.started.push(command);
        let fits = |answer: &&mut Answer| words.starts_with(&answer.beginning);
        let mut last = None;
        for answer in state.answers.iter_mut().filter(fits) {
            let fresh = !std::mem::replace(&mut answer.given, true);
            last = Some(answer.outcome.clone());
            if fresh {
                break;
            }
        }
        last.unwrap_or_else(|| Err(PowerError::NotFound(format!("the program {words:?}"))))
    }
}

/// A program that ended with this code and these outputs.
#[must_use]
pub fn finished(code: i32, stdout: &str, stderr: &str) -> Finished {
    let captured = |text: &str| Captured {
        head: text.as_bytes().to_vec(),
        ..Captured::default()
    };
    Finished {
        ended: Ended::Code(code),
        stdout: captured(stdout),
        stderr: captured(stderr),
    }
}
