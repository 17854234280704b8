//! What becomes of an act that was begun and whose end nobody saw: the daemon ended under it, its worker was lost, its
//! time was up.
//!
//! What may be done twice is done again. A tool that can look, looks. A request that carries its identity is sent again
//! where the operator says that the other side keeps such identities apart. Everything else waits for the operator.
//! Refuses: to tell the model that an act failed which may have happened, and to do one twice that may not be.

use super::{
    Caller, act,
    place::{self, Deed, Performed},
};
use crate::{
    desk::{Matter, Underway, Word},
    limits,
    past::CallPast,
    patience::Wait,
    record::Who,
};
use aaos_core::{
    approval::Settlement, capability::Need, event::Kind, failure::Failure, time::Span,
    tool::Recovery,
};
use aaos_ports::{Happened, PowerError, Question, ToolError, ToolOutput};

/// An act whose end nobody saw.
pub(super) struct Doubt {
    /// The error it ended with, if that was in this daemon's time.
    live: Option<ToolError>,
    /// What is known.
    why: String,
    /// Whether it is recorded that it is in doubt.
    recorded: bool,
    /// What was decided of it, if something was.
    settled: Option<Settlement>,
}

impl Doubt {
    /// Of an act that the daemon's end cut off.
    pub(super) fn of_past(past: &CallPast) -> Self {
        Self {
            live: None,
            why: "the daemon ended while it was under way".to_owned(),
            recorded: past.doubted,
            settled: past.settled,
        }
    }

    fn of_loss(error: ToolError) -> Self {
        Self {
            why: error.to_string(),
            live: Some(error),
            recorded: false,
            settled: None,
        }
    }

    /// Of an act that was done again, which certainly did not happen then, and may have happened before.
    fn of_repetition(error: &ToolError) -> Self {
        Self {
            live: None,
            why: format!(
                "it may have happened; it was done again, and this time it did not: {error}"
            ),
            recorded: false,
            settled: None,
        }
    }
}

/// How it goes on with an act.
enum Next {
    Perform,
    Ended(Result<ToolOutput, ToolError>),
}

/// Marks the caller as waiting for the operator, so that its time stands still.
pub(super) fn patience(caller: &Caller<'_>) -> Wait {
    caller.task.patience.wait()
}

/// Marks an act as under way whose end has to be known, so that it is in doubt if its agent ends first.
pub(super) fn underway<'a>(caller: &'a Caller<'_>, deed: &Deed, who: Who) -> Option<Underway<'a>> {
    let spec = deed.tool.spec();
    let matters = !spec.effect.may_repeat() && spec.recovery != Recovery::GoesOn;
    let doubt = || in_doubt(deed, "its agent was ended while it was under way");
    matters.then(|| caller.run.desk.begin(deed.call, who, doubt()))
}

/// Performs an act until its end is known.
///
/// # Errors
/// The journal's failure, or why the agent is ended before that.
pub(super) async fn to_the_end(
    caller: &Caller<'_>,
    who: Who,
    deed: &Deed,
    doubt: Option<Doubt>,
    evidence: Option<serde_json::Value>,
) -> Result<Result<ToolOutput, ToolError>, Failure> {
    let mut settling = Settling {
        caller,
        who,
        deed,
        evidence,
        losses: 0,
        may_have_happened: false,
    };
    let mut doubt = doubt;
    loop {
        if let Some(doubt) = doubt.take() {
            match settling.resolve(doubt).await? {
                Next::Perform => deed.gate.renew(),
                Next::Ended(known) => return Ok(known),
            }
        }
        doubt = match place::perform(caller, deed).await {
            Performed::Revoked { begun } => return settling.revoked(begun).await,
            Performed::Ended(Err(error)) if !error.is_certain() => Some(Doubt::of_loss(error)),
            Performed::Ended(Err(error)) if settling.may_have_happened => {
                settling.losses = limits::REPEATS_AFTER_LOSS_MAX;
                Some(Doubt::of_repetition(&error))
            }
            Performed::Ended(known) => return Ok(known),
        }
    }
}

/// What a call came to whose authority was taken back, with what its parts leave in doubt: they end a moment after it.
pub(super) async fn with_what_is_left(
    caller: &Caller<'_>,
    deed: &Deed,
    known: Result<ToolOutput, ToolError>,
) -> Result<ToolOutput, ToolError> {
    let by_parts = deed.tool.spec().recovery == Recovery::GoesOn;
    let Err(ToolError::Power(PowerError::Denied { need, axis, reason })) = known else {
        return known;
    };
    let mut words = vec![reason];
    if by_parts && deed.gate.is_revoked() {
        caller.hands.gone().await;
        words.extend(caller.run.left_in_doubt(Some(caller.task.agent)));
    }
    let reason = words.join("; ");
    Err(ToolError::Power(PowerError::Denied { need, axis, reason }))
}

/// Asks a tool about a call, again if the worker is lost meanwhile.
///
/// # Errors
/// As [`place::consider`].
pub(super) async fn ask_again(
    caller: &Caller<'_>,
    deed: &Deed,
    question: &Question,
    limit: Span,
) -> Result<ToolOutput, ToolError> {
    let mut losses = 0;
    loop {
        match place::consider(caller, deed, question.clone(), limit).await {
            Err(ToolError::WorkerLost { .. }) if losses < limits::REPEATS_AFTER_LOSS_MAX => {
                losses += 1;
            }
            answer => return answer,
        }
    }
}

struct Settling<'a> {
    caller: &'a Caller<'a>,
    who: Who,
    deed: &'a Deed,
    evidence: Option<serde_json::Value>,
    /// How often it was performed again since its worker was lost.
    losses: u32,
    /// Whether a performance before the one at hand may have done it, so that the end of this one alone tells nothing.
    may_have_happened: bool,
}

impl Settling<'_> {
    async fn resolve(&mut self, doubt: Doubt) -> Result<Next, Failure> {
        match doubt.settled {
            Some(Settlement::Repeat) => return self.repeat("it was settled so").await,
            Some(settled) => return Ok(self.as_settled(settled).await),
            None if doubt.recorded => return self.wait_for_word().await,
            None => {}
        }
        let spec = self.deed.tool.spec();
        if let Some(error) = &doubt.live
            && (spec.recovery == Recovery::GoesOn || self.tires_of(error))
        {
            return Ok(Next::Ended(Err(error.clone())));
        }
        match spec.recovery {
            Recovery::GoesOn => self.repeat("what it had started goes on by itself").await,
            _ if spec.effect.may_repeat() => {
                self.repeat("doing it twice is the same as doing it once")
                    .await
            }
            Recovery::Looks => self.look(doubt).await,
            // Nobody does it again in an agent that is being ended; it stays in doubt.
            Recovery::Keyed
                if self.is_kept_apart()
                    && !self.is_tired()
                    && !self.caller.task.ending.has_ended() =>
            {
                self.may_have_happened = true;
                self.repeat("it carries the same key, and the operator says that the other side keeps keys apart")
                    .await
            }
            Recovery::Keyed | Recovery::ByEffect => self.in_doubt(&doubt.why).await,
        }
    }

    /// Whether an act that may be repeated is told as failed instead: one that was too slow, or lost its worker again and
    /// again.
    fn tires_of(&self, error: &ToolError) -> bool {
        let slow = matches!(error, ToolError::TimedOut { .. });
        self.deed.tool.spec().effect.may_repeat() && (slow || self.is_tired())
    }

    const fn is_tired(&self) -> bool {
        self.losses >= limits::REPEATS_AFTER_LOSS_MAX
    }

    /// Whether the operator says that every address this request goes to tells one key from another.
    fn is_kept_apart(&self) -> bool {
        let keyed = &self.caller.run.shared.deps.config.effects_keyed;
        let declared = self.deed.gate.declared();
        let mut addresses = declared
            .iter()
            .map(|(need, _)| need)
            .filter(|need| matches!(need, Need::Http { .. }))
            .peekable();
        addresses.peek().is_some()
            && addresses.all(|need| keyed.iter().any(|capability| capability.allows(need)))
    }

    /// Performs it again, unless its agent is being ended.
    async fn repeat(&mut self, reason: &str) -> Result<Next, Failure> {
        if self.caller.task.ending.has_ended() {
            return Err(self.caller.task.ending.why());
        }
        self.losses = self.losses.saturating_add(1);
        let repeated = self.repeated(reason);
        self.record(vec![repeated]).await?;
        Ok(Next::Perform)
    }

    fn repeated(&self, reason: &str) -> Kind {
        Kind::ToolRepeated {
            tool: self.deed.tool.spec().name.to_string(),
            reason: reason.to_owned(),
        }
    }

    /// Lets the tool look whether the act happened.
    async fn look(&mut self, doubt: Doubt) -> Result<Next, Failure> {
        let found = match self.happened().await {
            _ if self.is_tired() => Err("it was cut off again and again".to_owned()),
            Ok(found) => Ok(found),
            Err(error) => Err(format!("its tool could not look: {error}")),
        };
        let why = match found {
            Ok(Happened::Yes { output }) => {
                let settled = settled(Settlement::Done, "its tool looked: it happened");
                self.record(vec![settled]).await?;
                return Ok(Next::Ended(Ok(ToolOutput { json: output })));
            }
            Ok(Happened::No) if self.caller.task.ending.has_ended() => {
                return Err(self.caller.task.ending.why());
            }
            Ok(Happened::No) => {
                self.losses = self.losses.saturating_add(1);
                let reason = "its tool looked: it did not happen";
                let kinds = vec![settled(Settlement::Repeat, reason), self.repeated(reason)];
                self.record(kinds).await?;
                return Ok(Next::Perform);
            }
            Ok(Happened::Unknown { why }) => format!("its tool looked: {why}"),
            Err(why) => why,
        };
        self.in_doubt(&format!("{}; {why}", doubt.why)).await
    }

    async fn happened(&self) -> Result<Happened, ToolError> {
        let Some(evidence) = self.evidence.clone() else {
            let why = "nothing was seen beforehand that would tell".to_owned();
            return Ok(Happened::Unknown { why });
        };
        let limit = limits::QUESTION_MAX.min(self.deed.tool.spec().deadline);
        let question = Question::Happened { evidence };
        let answer = ask_again(self.caller, self.deed, &question, limit).await?;
        serde_json::from_value(answer.json).map_err(|error| ToolError::Failed(error.to_string()))
    }

    /// Records that nobody knows, and waits for the operator's word.
    async fn in_doubt(&mut self, why: &str) -> Result<Next, Failure> {
        self.record(vec![in_doubt(self.deed, why)]).await?;
        if !self.caller.task.ending.has_ended() {
            self.caller.run.ring(self.deed.call);
        }
        self.wait_for_word().await
    }

    async fn wait_for_word(&mut self) -> Result<Next, Failure> {
        let (caller, gate) = (self.caller, &self.deed.gate);
        let mut seat = caller.run.desk.sit(self.deed.call, Matter::Doubt);
        let _patience = patience(caller);
        let word = tokio::select! {
            biased;
            why = caller.task.ending.ended() => return Err(why),
            word = seat.word(gate.revoked()) => word,
        };
        match word {
            Some(Word::Settlement(Settlement::Repeat)) => {
                // It is the operator's decision; what came before does not count against it.
                (self.losses, self.may_have_happened) = (0, false);
                self.repeat("the operator decided so").await
            }
            Some(Word::Settlement(settlement)) => Ok(self.as_settled(settlement).await),
            Some(Word::Answer(_)) | None => {
                let gave_up = settled(Settlement::GiveUp, place::REVOKED);
                self.record(vec![gave_up]).await?;
                Ok(Next::Ended(Err(self.unknown(place::REVOKED))))
            }
        }
    }

    /// What an act comes to that was settled without doing it again.
    async fn as_settled(&self, settlement: Settlement) -> Next {
        if settlement == Settlement::GiveUp {
            return Next::Ended(Err(self.unknown(
                "it was given up; do not try it again, and say in your answer that it may have happened",
            )));
        }
        let output = match self.happened().await {
            Ok(Happened::Yes { output }) => output,
            _ => serde_json::json!({
                "done": true,
                "note": "it happened, and what it gave back is lost; look for yourself if you need it",
            }),
        };
        Next::Ended(Ok(ToolOutput { json: output }))
    }

    /// What becomes of a call that ends with its authority.
    async fn revoked(&self, begun: bool) -> Result<Result<ToolOutput, ToolError>, Failure> {
        let spec = self.deed.tool.spec();
        if spec.recovery == Recovery::GoesOn {
            return self.left_behind(begun).await.map(Err);
        }
        let nothing_done = !begun && !self.may_have_happened;
        if nothing_done || spec.effect.may_repeat() {
            return Ok(Err(place::revoked(self.deed)));
        }
        let doubt = in_doubt(self.deed, place::REVOKED);
        if self.caller.task.ending.has_ended() {
            // Its model is told nothing any more, so it stays in sight.
            self.record(vec![doubt]).await?;
            return Err(self.caller.task.ending.why());
        }
        let kinds = vec![doubt, settled(Settlement::GiveUp, place::REVOKED)];
        self.record(kinds).await?;
        Ok(Err(self.unknown(place::REVOKED)))
    }

    /// What becomes of a call that goes on by parts and ends with its authority. Parts that are at work are told to end;
    /// those that nobody has gone on with end here.
    async fn left_behind(&self, begun: bool) -> Result<ToolError, Failure> {
        if !begun {
            let agent = self.caller.task.agent;
            let why = place::revoked_start(self.deed);
            self.caller.run.end_below(agent, &why).await?;
        }
        Ok(place::revoked(self.deed))
    }

    fn unknown(&self, reason: &str) -> ToolError {
        ToolError::InDoubt {
            tool: self.deed.tool.spec().name.to_string(),
            reason: reason.to_owned(),
        }
    }

    async fn record(&self, kinds: Vec<Kind>) -> Result<(), Failure> {
        let sure = act::sure(self.deed.tool.spec().effect);
        let recorded = self.caller.run.record_all(self.who, kinds, sure);
        recorded.await.map(drop)
    }
}

fn settled(settlement: Settlement, reason: &str) -> Kind {
    Kind::EffectSettled {
        settlement,
        reason: reason.to_owned(),
        operator: None,
    }
}

fn in_doubt(deed: &Deed, why: &str) -> Kind {
    let spec = deed.tool.spec();
    Kind::EffectInDoubt {
        tool: spec.name.to_string(),
        effect: spec.effect,
        args_preview: act::args_preview(deed),
        why: why.to_owned(),
    }
}
