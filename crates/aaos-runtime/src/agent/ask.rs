//! Asking a model: reserve, wait for a slot, record the intent, ask, settle, record what came.
//!
//! What the past answers is not asked again. Once a request may have been paid for, its worst case counts as spent
//! unless its cost becomes known: when nobody waits any more, when the answer makes no sense or breaks off, when the
//! daemon ended meanwhile. Each attempt at an answer that may have to be paid for is a request of its own, reserved and
//! recorded as one.

use crate::{limits, park, past::Exchange, patience::Patience, purse::Hold, record::Who, run::Run};
use aaos_core::{
    budget::{Refused, Reservation},
    event::Kind,
    failure::Failure,
    id::AgentId,
    model::{Message, ModelRef, Purpose, Reply, Request, Usage},
    money::MicroDollars,
    text,
    time::Timestamp,
    tool::ToolSpec,
};
use aaos_ports::{Delta, DeltaSink, Durability, ProviderError, Retry};
use async_trait::async_trait;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{mpsc, oneshot};

/// One model request and who pays for it.
pub(crate) struct Ask {
    pub(crate) who: Who,
    /// Whose budget is drawn on; the run's own if none.
    pub(crate) payer: Option<AgentId>,
    /// Whose time stands still while it waits for the operator.
    pub(crate) patience: Patience,
    pub(crate) model: ModelRef,
    pub(crate) purpose: Purpose,
    pub(crate) system: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) output_tokens_max: u32,
    pub(crate) reply_schema: Option<serde_json::Value>,
    /// When the answer is needed; orders the queue for slots.
    pub(crate) deadline: Timestamp,
}

impl Ask {
    /// Sends it, unless the past has its answer.
    ///
    /// # Errors
    /// `Limit` if the budget does not allow the worst case, `Provider`, `GoalRefused`, `Journal`, `Unrecoverable`.
    pub(crate) async fn send(self, run: &Run) -> Result<Reply, Failure> {
        let (who, payer, deadline) = (self.who, self.payer, self.deadline);
        match run.past.exchange(who.agent)? {
            Some(Exchange::Replied { reply, .. }) => return answered(run, reply).await,
            Some(Exchange::Failed(failure)) => return Err(failure),
            Some(Exchange::Lost { model, .. }) => count_lost(run, who.agent, model).await?,
            None => {}
        }
        let patience = self.patience.clone();
        let request = self.into_request(run);
        loop {
            let held = Held::reserve(run, who, payer, &patience, &request).await?;
            let slot = run.shared.slots.acquire(deadline).await;
            let asked = exchange(run, who, &request, held).await?;
            drop(slot);
            if let Asked::Whole(result) = asked {
                return result;
            }
        }
    }

    fn into_request(self, run: &Run) -> Request {
        Request {
            run: run.id,
            model: self.model,
            purpose: self.purpose,
            system: self.system,
            messages: self.messages,
            tools: self.tools,
            output_tokens_max: self.output_tokens_max,
            reply_schema: self.reply_schema,
        }
    }
}

/// The reply that the record holds.
async fn answered(run: &Run, reply: String) -> Result<Reply, Failure> {
    let unrecoverable = |problem: String| Failure::Unrecoverable {
        problem,
        next_step: "Submit the goal again; `agentd audit verify` shows what is damaged".to_owned(),
    };
    let gone = |why| unrecoverable(format!("a model's reply is gone: {why}"));
    let body = run.body(reply, gone).await?;
    serde_json::from_slice(&body)
        .map_err(|error| unrecoverable(format!("a model's reply cannot be read: {error}")))
}

/// Counts a request that was in flight when the daemon ended at its worst case: it may have been paid for.
async fn count_lost(run: &Run, agent: Option<AgentId>, model: ModelRef) -> Result<(), Failure> {
    let Some(reservation) = run.ledger().lost(agent) else {
        return Ok(());
    };
    let worst = reservation.worst();
    let abandoned = Kind::ModelAbandoned {
        model,
        tokens: reservation.tokens(),
        cost: reservation.cost(),
    };
    run.ledger().settle(reservation, worst);
    let purse = &run.shared.purse;
    let hold = purse.lost(run.id, agent, run.submit.operator);
    purse.settle(run.shared.now(), hold, worst);
    run.park.wake();
    let call = None;
    run.record(Who { agent, call }, abandoned).await.map(drop)
}

/// Records what was spent and could not be told before: at the end of a run, when nobody asks any more.
pub(crate) async fn close_books(run: &Run) -> Result<(), Failure> {
    let mut recorded = run.record_owed().await;
    loop {
        let lost = run.ledger().any_lost();
        let Some((agent, model)) = lost else { break };
        recorded = recorded.and(count_lost(run, agent, model).await);
    }
    run.shared.purse.forget(run.id);
    recorded
}

/// What a request has set aside, in the run's books and in the purse. Dropped before the request is sent, as while it
/// waits for a slot, it is given back; dropped later, as when its agent is stopped while the model thinks, it is spent.
struct Held<'a> {
    run: &'a Run,
    who: Who,
    payer: Option<AgentId>,
    model: ModelRef,
    set_aside: Option<(Reservation, Hold)>,
    sent: bool,
}

impl<'a> Held<'a> {
    async fn reserve(
        run: &'a Run,
        who: Who,
        payer: Option<AgentId>,
        patience: &Patience,
        request: &Request,
    ) -> Result<Self, Failure> {
        let output = u64::from(request.output_tokens_max);
        let tokens = request.tokens_estimate().saturating_add(output);
        let cost = run.shared.deps.provider.worst_case(request);
        let reserve = || reserve(run, payer, tokens, cost);
        let set_aside = park::or_fail(run, who, patience, reserve).await?;
        Ok(Self {
            run,
            who,
            payer,
            model: request.model.clone(),
            set_aside: Some(set_aside),
            sent: false,
        })
    }

    /// What the intent says: tokens and money.
    fn amounts(&self) -> (u64, MicroDollars) {
        let reservation = self.set_aside.as_ref().map(|(reservation, _)| reservation);
        reservation.map_or((0, MicroDollars::ZERO), |reservation| {
            (reservation.tokens(), reservation.cost())
        })
    }

    /// Counts what it cost in the run's books. The purse counts it when it is told.
    fn settle(mut self, usage: Usage) -> Spent<'a> {
        let (run, agent) = (self.run, self.who.agent);
        let hold = self.set_aside.take().map(|(reservation, hold)| {
            run.ledger().settle(reservation, usage);
            run.park.wake();
            hold
        });
        Spent {
            run,
            agent,
            hold,
            usage,
        }
    }

    /// Gives it back: it cost nothing.
    fn release(mut self) {
        self.close(None);
    }

    /// Counts all of it. Answers with what is to be recorded.
    fn abandon(&mut self) -> Kind {
        let (tokens, cost) = self.amounts();
        self.close(Some(Usage::worst(tokens, cost)));
        Kind::ModelAbandoned {
            model: self.model.clone(),
            tokens,
            cost,
        }
    }

    /// Sets as much aside once more.
    fn renew(&mut self, (tokens, cost): (u64, MicroDollars)) -> Result<(), Refused> {
        self.set_aside = Some(reserve(self.run, self.payer, tokens, cost)?);
        Ok(())
    }

    /// Holds it on for whoever goes on with the run, in this daemon or the next.
    fn leave(&mut self) {
        if let Some((reservation, hold)) = self.set_aside.take() {
            let worst = reservation.worst();
            self.run.ledger().settle(reservation, worst);
            self.run
                .shared
                .purse
                .leave(self.run.id, self.who.agent, hold);
        }
    }

    fn close(&mut self, usage: Option<Usage>) {
        let Some((reservation, hold)) = self.set_aside.take() else {
            return;
        };
        let purse = &self.run.shared.purse;
        match usage {
            Some(usage) => {
                self.run.ledger().settle(reservation, usage);
                purse.settle(self.run.shared.now(), hold, usage);
            }
            None => {
                self.run.ledger().release(reservation);
                purse.release(hold);
            }
        }
        self.run.park.wake();
    }
}

/// What a request cost, on its way into the journal. Nobody who stops waiting for that stops it.
struct Spent<'a> {
    run: &'a Run,
    agent: Option<AgentId>,
    hold: Option<Hold>,
    usage: Usage,
}

impl Spent<'_> {
    /// It could not be told: whoever goes on with the run finds the intent without an end, and counts that.
    fn untold(mut self) {
        if let Some(hold) = self.hold.take() {
            let purse = &self.run.shared.purse;
            purse.leave(self.run.id, self.agent, hold);
        }
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            let shared = &self.run.shared;
            shared.purse.settle(shared.now(), hold, self.usage);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.set_aside.is_none() {
            return;
        }
        if !self.sent {
            self.close(None);
        } else if self.run.is_suspended() {
            // Whoever goes on with the run finds the intent without an end, and counts it.
            self.leave();
        } else {
            let abandoned = self.abandon();
            self.run.owed.add(self.who, abandoned);
        }
    }
}

/// Sets the worst case aside in the run's books and in the purse: in both or in neither.
fn reserve(
    run: &Run,
    payer: Option<AgentId>,
    tokens: u64,
    cost: MicroDollars,
) -> Result<(Reservation, Hold), Refused> {
    let (now, operator) = (run.shared.now(), run.submit.operator);
    let mut ledger = run.ledger();
    let reservation = ledger.reserve(payer, tokens, cost)?;
    match run.shared.purse.hold(now, operator, tokens, cost) {
        Ok(hold) => Ok((reservation, hold)),
        Err(refused) => {
            ledger.release(reservation);
            Err(refused)
        }
    }
}

/// Events of what ended where nobody could wait for the journal. They are recorded before anything else is.
#[derive(Default)]
pub(crate) struct Owed(Mutex<Vec<(Who, Kind)>>);

impl Owed {
    pub(crate) fn add(&self, who: Who, kind: Kind) {
        self.all().push((who, kind));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<(Who, Kind)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes them, to be recorded.
    pub(crate) fn take(&self) -> Vec<(Who, Kind)> {
        std::mem::take(&mut *self.all())
    }

    /// Owes them still: they could not be recorded.
    pub(crate) fn put_back(&self, owed: Vec<(Who, Kind)>) {
        self.all().splice(0..0, owed);
    }
}

/// What came of asking.
enum Asked {
    /// All there is: a reply, or why there is none.
    Whole(Result<Reply, Failure>),
    /// An answer that may have to be paid for broke off, and nothing is left to ask for another.
    Spent,
}

/// Records the intent, asks, and records what came.
///
/// # Errors
/// `Journal`.
async fn exchange(
    run: &Run,
    who: Who,
    request: &Request,
    mut held: Held<'_>,
) -> Result<Asked, Failure> {
    let body = serde_json::to_vec(request).map_err(|error| unwritten(&error))?;
    let digest = run.store(body).await?;
    record_intent(run, who, &mut held, &digest).await?;
    let asked = run.shared.now();
    let (retries, words) = mpsc::channel(1);
    let pieces = Pieces {
        retries,
        began: AtomicBool::new(false),
    };
    let Some(answer) = complete(request, &pieces, words, &mut held, &digest).await? else {
        return Ok(Asked::Spent);
    };
    Ok(Asked::Whole(match answer {
        Ok(reply) => {
            record_reply(run, who, request, &reply, asked, held).await?;
            Ok(reply)
        }
        Err(ProviderError { failure, billed }) => {
            let billed = billed || pieces.began.load(Ordering::Relaxed);
            record_failed(run, who, &failure, held, billed).await?;
            Err(*failure)
        }
    }))
}

/// Records what is about to be asked, and with how much set aside.
async fn record_intent(
    run: &Run,
    who: Who,
    held: &mut Held<'_>,
    digest: &str,
) -> Result<(), Failure> {
    let (tokens_reserved, cost_reserved) = held.amounts();
    let requested = Kind::ModelRequested {
        model: held.model.clone(),
        tokens_reserved,
        cost_reserved,
        request: digest.to_owned(),
    };
    // Money is spent outside: that it may have been must survive whatever comes next.
    let sure = if cost_reserved == MicroDollars::ZERO {
        Durability::Ordered
    } else {
        Durability::Durable
    };
    held.sent = true;
    let recorded = run.record_all(who, vec![requested], sure).await;
    // Nothing is sent of which there is no record.
    held.sent = recorded.is_ok();
    recorded.map(drop)
}

fn unwritten(error: &serde_json::Error) -> Failure {
    Failure::Journal {
        message: error.to_string(),
    }
}

async fn record_reply(
    run: &Run,
    who: Who,
    request: &Request,
    reply: &Reply,
    asked: Timestamp,
    held: Held<'_>,
) -> Result<(), Failure> {
    let body = serde_json::to_vec(reply).map_err(|error| unwritten(&error))?;
    let digest = run.store(body).await?;
    let replied = Kind::ModelReplied {
        model: request.model.clone(),
        stop: reply.stop,
        elapsed_ms: run.shared.now().since(asked).millis(),
        reply: digest,
        preview: text::preview(&reply.text(), limits::PREVIEW_BYTES_MAX),
    };
    let spent = Kind::UsageReported {
        model: request.model.clone(),
        usage: reply.usage,
    };
    let counted = held.settle(reply.usage);
    let recorded = run.record_all(who, vec![replied, spent], Durability::Ordered);
    let recorded = recorded.await;
    if recorded.is_err() {
        counted.untold();
    }
    recorded.map(drop)
}

/// Records that no answer came, with what that may have cost.
async fn record_failed(
    run: &Run,
    who: Who,
    failure: &Failure,
    mut held: Held<'_>,
    billed: bool,
) -> Result<(), Failure> {
    let mut kinds = Vec::with_capacity(2);
    // A planner that refuses the goal has answered; the run's end says so.
    if !matches!(failure, Failure::GoalRefused { .. }) {
        kinds.push(Kind::ModelFailed {
            failure: failure.clone(),
        });
    }
    if billed {
        kinds.push(held.abandon());
    } else {
        held.release();
    }
    record_spent(run, who, kinds).await
}

/// Records events that end with what counts as spent. If that cannot be told now, it is owed: it is counted already.
async fn record_spent(run: &Run, who: Who, kinds: Vec<Kind>) -> Result<(), Failure> {
    let spent = kinds.last().cloned();
    let recorded = run.record_all(who, kinds, Durability::Ordered).await;
    if let (Err(_), Some(abandoned @ Kind::ModelAbandoned { .. })) = (&recorded, spent) {
        run.owed.add(who, abandoned);
    }
    recorded.map(drop)
}

/// Asks the provider, recording and paying for its attempts as they are made. None if an attempt failed that may have
/// to be paid for, and the next does not fit into what is left.
///
/// # Errors
/// The outer one is the journal's, the inner one the provider's.
async fn complete(
    request: &Request,
    pieces: &Pieces,
    mut words: mpsc::Receiver<Word>,
    held: &mut Held<'_>,
    digest: &str,
) -> Result<Option<Result<Reply, ProviderError>>, Failure> {
    let answer = held.run.shared.deps.provider.complete(request, pieces);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            biased;
            Some(Word { retry, go_on }) = words.recv() => {
                if !pay_again(held, retry, digest).await? {
                    return Ok(None);
                }
                // Nobody waits for it only if the request has just been dropped.
                let _ = go_on.send(());
            }
            reply = &mut answer => return Ok(Some(reply)),
        }
    }
}

/// Records that an attempt failed. If it may have to be paid for, all that was set aside counts as spent, and as much is
/// set aside for the next. Answers whether that may be made.
async fn pay_again(held: &mut Held<'_>, retry: Retry, digest: &str) -> Result<bool, Failure> {
    let (run, who) = (held.run, held.who);
    let retried = Kind::ModelRetried {
        model: held.model.clone(),
        attempt: retry.attempt,
        wait_ms: retry.wait_ms,
        reason: retry.reason,
    };
    if !retry.billed {
        run.record(who, retried).await?;
        return Ok(true);
    }
    let amounts = held.amounts();
    let abandoned = held.abandon();
    record_spent(run, who, vec![retried, abandoned]).await?;
    if held.renew(amounts).is_err() {
        return Ok(false);
    }
    record_intent(run, who, held, digest).await?;
    Ok(true)
}

/// A provider's word that an attempt failed. It waits to be told to go on.
struct Word {
    retry: Retry,
    go_on: oneshot::Sender<()>,
}

/// Passes on the attempts at an answer, and keeps whether one has begun; its words arrive whole with the reply.
struct Pieces {
    retries: mpsc::Sender<Word>,
    began: AtomicBool,
}

#[async_trait]
impl DeltaSink for Pieces {
    fn delta(&self, _: Delta) {
        self.began.store(true, Ordering::Relaxed);
    }

    async fn again(&self, retry: Retry) {
        let began = self.began.swap(false, Ordering::Relaxed);
        let retry = Retry {
            billed: retry.billed || began,
            ..retry
        };
        let (go_on, told) = oneshot::channel();
        // Who listens drops this request before it stops listening.
        let _ = self.retries.send(Word { retry, go_on }).await;
        let _ = told.await;
    }
}
