//! Asking a model: reserve, wait for a slot, record the intent, ask, settle, record what came.

use crate::{limits, record::Who, run::Run};
use aaos_core::{
    budget::{Refused, Reservation},
    event::Kind,
    failure::Failure,
    id::AgentId,
    model::{Message, ModelRef, Purpose, Reply, Request, Usage},
    text,
    time::Timestamp,
    tool::ToolSpec,
};
use aaos_ports::{Delta, DeltaSink, Durability, ProviderError};
use tokio::sync::mpsc;

/// One model request and who pays for it.
pub(crate) struct Ask {
    pub(crate) who: Who,
    /// Whose budget is drawn on; the run's own if none.
    pub(crate) payer: Option<AgentId>,
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
    /// Sends it.
    ///
    /// # Errors
    /// `Limit` if the budget does not allow the worst case, `Provider`, `GoalRefused`, `Journal`.
    pub(crate) async fn send(self, run: &Run) -> Result<Reply, Failure> {
        let (who, payer, deadline) = (self.who, self.payer, self.deadline);
        let request = self.into_request(run);
        let reserved = reserve(run, who, payer, &request).await?;
        let slot = run.shared.slots.acquire(deadline).await;
        let result = exchange(run, who, &request, reserved.tokens()).await;
        drop(slot);
        match result {
            Ok(reply) => {
                reserved.settle(reply.usage);
                Ok(reply)
            }
            Err(failure) => {
                drop(reserved);
                // A planner that refuses the goal has answered; the run's end says so.
                if !matches!(failure, Failure::GoalRefused { .. }) {
                    let failed = Kind::ModelFailed {
                        failure: failure.clone(),
                    };
                    run.record(who, failed).await?;
                }
                Err(failure)
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

/// What a request has set aside; given back when dropped, as when its agent is stopped while the model thinks.
struct Reserved<'a> {
    run: &'a Run,
    reservation: Option<Reservation>,
}

impl Reserved<'_> {
    fn tokens(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::tokens)
    }

    fn settle(mut self, usage: Usage) {
        if let Some(reservation) = self.reservation.take() {
            self.run.ledger().settle(reservation, usage);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.run.ledger().release(reservation);
        }
    }
}

async fn reserve<'a>(
    run: &'a Run,
    who: Who,
    payer: Option<AgentId>,
    request: &Request,
) -> Result<Reserved<'a>, Failure> {
    let tokens = request
        .tokens_estimate()
        .saturating_add(u64::from(request.output_tokens_max));
    let cost = run.shared.deps.provider.worst_case(request);
    let reserved = match payer {
        Some(agent) => run.ledger().reserve(agent, tokens, cost),
        None => run.ledger().reserve_for_run(tokens, cost),
    };
    match reserved {
        Ok(reservation) => Ok(Reserved {
            run,
            reservation: Some(reservation),
        }),
        Err(refused) => {
            record_refused(run, who, &refused).await?;
            Err(refused.into())
        }
    }
}

/// Records that the budget stood in the way.
pub(crate) async fn record_refused(run: &Run, who: Who, refused: &Refused) -> Result<(), Failure> {
    let kind = Kind::BudgetRefused {
        limit: refused.kind,
        allowed: refused.allowed,
        used: refused.used,
        wanted: refused.wanted,
    };
    run.record(who, kind).await.map(drop)
}

async fn exchange(
    run: &Run,
    who: Who,
    request: &Request,
    tokens_reserved: u64,
) -> Result<Reply, Failure> {
    let body = serde_json::to_vec(request).map_err(|error| Failure::Journal {
        message: error.to_string(),
    })?;
    let digest = run.store(body).await?;
    let model = request.model.clone();
    let requested = Kind::ModelRequested {
        model: model.clone(),
        tokens_reserved,
        request: digest,
    };
    run.record(who, requested).await?;
    let asked = run.shared.now();
    let reply = complete(run, who, request).await?;
    let body = serde_json::to_vec(&reply).map_err(|error| Failure::Journal {
        message: error.to_string(),
    })?;
    let digest = run.store(body).await?;
    let replied = Kind::ModelReplied {
        model: model.clone(),
        stop: reply.stop,
        elapsed_ms: run.shared.now().since(asked).millis(),
        reply: digest,
        preview: text::preview(&reply.text(), limits::PREVIEW_BYTES_MAX),
    };
    let spent = Kind::UsageReported {
        model,
        usage: reply.usage,
    };
    run.record_all(who, vec![replied, spent], Durability::Ordered)
        .await?;
    Ok(reply)
}

/// Asks the provider, recording its retries as they happen.
async fn complete(run: &Run, who: Who, request: &Request) -> Result<Reply, Failure> {
    let (notices, mut retries) = mpsc::channel(limits::RETRY_NOTICES_MAX);
    let pieces = Retries { notices };
    let answer = run.shared.deps.provider.complete(request, &pieces);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            biased;
            Some(retry) = retries.recv() => record_retry(run, who, request, retry).await?,
            reply = &mut answer => {
                while let Ok(retry) = retries.try_recv() {
                    record_retry(run, who, request, retry).await?;
                }
                return reply.map_err(|ProviderError(failure)| *failure);
            }
        }
    }
}

struct Retry {
    attempt: u32,
    wait_ms: u64,
    reason: String,
}

async fn record_retry(run: &Run, who: Who, request: &Request, retry: Retry) -> Result<(), Failure> {
    let Retry {
        attempt,
        wait_ms,
        reason,
    } = retry;
    let kind = Kind::ModelRetried {
        model: request.model.clone(),
        attempt,
        wait_ms,
        reason,
    };
    run.record(who, kind).await.map(drop)
}

/// Keeps the retries of a stream; its words arrive whole with the reply.
struct Retries {
    notices: mpsc::Sender<Retry>,
}

impl DeltaSink for Retries {
    fn delta(&self, delta: Delta) {
        if let Delta::Retrying {
            attempt,
            wait_ms,
            reason,
        } = delta
        {
            // A full queue means that nobody has had time to record; the notice is for show.
            let _ = self.notices.try_send(Retry {
                attempt,
                wait_ms,
                reason,
            });
        }
    }
}
