//! One agent's worker as the runtime holds it: the session that takes its calls, and those that end.
//!
//! A worker that was lost is replaced at the next call, a few times; one whose mounts reach beyond what is left of the
//! agent's grants is replaced as well, and ends after its last call. Refuses: calls after the agent is done with it.

use super::{
    House,
    calls::End,
    desk::AgentFiles,
    limits::{MOVES_MAX, REPLACEMENTS_MAX},
    session::{Prepared, Session},
    start::start,
};
use crate::stop::Stop;
use aaos_core::{capability::Capability, confine::confinement, tool::Power};
use aaos_ports::{
    Files, LaunchError, LaunchSpec, PowerError, ToolError, ToolOutput, Worker, WorkerCall,
    power::EntryKind,
};
use async_trait::async_trait;
use std::{
    future::ready,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::Semaphore;

/// One agent's worker.
pub(super) struct NamespacedWorker {
    house: Arc<House>,
    spec: LaunchSpec,
    files: AgentFiles,
    held: Mutex<Vec<Capability>>,
    sessions: Mutex<Sessions>,
    /// The turn to put another session in place.
    changing: Semaphore,
    replaced: AtomicU32,
    stopped: Stop,
}

struct Sessions {
    current: Arc<Session>,
    /// Those that take no more calls and have some in flight.
    retired: Vec<Arc<Session>>,
}

impl NamespacedWorker {
    pub(super) fn new(
        house: Arc<House>,
        spec: LaunchSpec,
        files: AgentFiles,
        session: Arc<Session>,
    ) -> Self {
        Self {
            house,
            held: Mutex::new(spec.capabilities.clone()),
            spec,
            files,
            sessions: Mutex::new(Sessions {
                current: session,
                retired: Vec::new(),
            }),
            changing: Semaphore::new(1),
            replaced: AtomicU32::new(0),
            stopped: Stop::default(),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Vec<Capability>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Session> {
        Arc::clone(&self.sessions().current)
    }

    /// The session that takes calls, another one if the last takes none.
    async fn session(&self) -> Result<Arc<Session>, String> {
        let current = self.current();
        if self.serves(&current) {
            return Ok(current);
        }
        let _turn = self
            .changing
            .acquire()
            .await
            .map_err(|closed| closed.to_string())?;
        let current = self.current();
        if self.serves(&current) {
            return Ok(current);
        }
        if self.stopped.is_stopped() {
            return Err(End::Stopped.words());
        }
        self.prepare_replacement(&current).await?;
        let files = ready(Ok(Arc::clone(&self.files)));
        let held = self.held().clone();
        let started = tokio::select! {
            biased;
            () = self.stopped.stopped() => return Err(End::Stopped.words()),
            started = start(&self.house, &self.spec, held, files) => started,
        };
        let (session, _) = started.map_err(|error: LaunchError| error.to_string())?;
        self.sessions().current = Arc::clone(&session);
        Ok(session)
    }

    /// Whether a session takes calls and nothing of it is broken that another would mend.
    fn serves(&self, session: &Session) -> bool {
        let mendable =
            session.is_cut_off() && self.replaced.load(Ordering::Relaxed) < REPLACEMENTS_MAX;
        session.is_open() && !mendable
    }

    /// Sees to it that another may take a session's place, and that all that is to be told of it has been.
    async fn prepare_replacement(&self, last: &Arc<Session>) -> Result<(), String> {
        let lost = match last.ended() {
            Some(End::Lost(reason)) => Some(reason),
            None if last.is_open() => {
                self.retire(last);
                Some("the egress broker was lost".to_owned())
            }
            _ => None,
        };
        if let Some(reason) = lost {
            let replaced = self.replaced.fetch_add(1, Ordering::Relaxed);
            if replaced >= REPLACEMENTS_MAX {
                return Err(format!(
                    "it was replaced {REPLACEMENTS_MAX} times and is not started again; the last time: {reason}"
                ));
            }
        }
        if last.ended().is_some() {
            last.over().await;
        }
        Ok(())
    }

    /// Lets a session end after its last call.
    fn retire(&self, session: &Arc<Session>) {
        session.retire();
        let mut sessions = self.sessions();
        sessions.retired.retain(|session| session.ended().is_none());
        sessions.retired.push(Arc::clone(session));
    }

    fn all(&self) -> Vec<Arc<Session>> {
        let sessions = self.sessions();
        let retired = sessions.retired.iter().cloned();
        retired.chain([Arc::clone(&sessions.current)]).collect()
    }
}

impl Drop for NamespacedWorker {
    fn drop(&mut self) {
        for session in self.all() {
            session.end(End::Stopped);
        }
    }
}

#[async_trait]
impl Worker for NamespacedWorker {
    async fn call(&self, call: WorkerCall) -> Result<ToolOutput, ToolError> {
        let Some(tool) = self.house.tools.get(&call.tool) else {
            return Err(ToolError::Unknown(call.tool.to_string()));
        };
        let call = Prepared {
            identity: call.call,
            act: Arc::new(call.act),
            programs: tool.spec().powers.contains(&Power::Exec),
            tool: Arc::clone(tool),
            name: call.tool,
            input: Arc::new(call.input),
            gate: call.gate,
            deadline: call.deadline,
        };
        for _ in 0..MOVES_MAX {
            if self.stopped.is_stopped() {
                return Err(call.lost(End::Stopped.words()));
            }
            let session = self.session().await;
            let session = session.map_err(|reason| call.untaken(reason))?;
            // Otherwise nothing of the call happened, and there is another.
            if let Ok(outcome) = session.call(&call).await {
                return outcome;
            }
            if session.is_cut_off() && self.serves(&session) {
                return Err(call.untaken(format!(
                    "its way out was lost, and it was replaced {REPLACEMENTS_MAX} times already"
                )));
            }
        }
        Err(call.untaken("it ended again and again before the call began".to_owned()))
    }

    async fn inspect(&self, path: &str) -> Result<Option<u64>, ToolError> {
        let lost = |reason: String| ToolError::WorkerLost {
            tool: "inspect".to_owned(),
            reason,
        };
        if self.stopped.is_stopped() {
            return Err(lost(End::Stopped.words()));
        }
        let files = self
            .files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let path = path.to_owned();
        let seen = tokio::task::spawn_blocking(move || files.stat(&path)).await;
        match seen.map_err(|error| lost(error.to_string()))? {
            Ok(entry) => Ok((entry.kind == EntryKind::File).then_some(entry.size)),
            Err(PowerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn narrow(&self, left: Vec<Capability>) {
        {
            // What the daemon does for it is cut first, whatever the worker says.
            let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
            *files = files.holding(&left);
        }
        self.held().clone_from(&left);
        let Ok(_turn) = self.changing.acquire().await else {
            return;
        };
        let allowed = confinement(&left);
        for session in self.all() {
            if session.ended().is_none() {
                session.narrow(left.clone()).await;
            }
        }
        let current = self.current();
        if current.is_open() && current.confinement != allowed {
            // What it has mounted cannot be taken out of it; the next call goes to one that never had it.
            self.retire(&current);
        }
    }

    async fn stop(&self) {
        self.stopped.stop();
        for session in self.all() {
            session.end(End::Stopped);
        }
        // Whoever was just starting another has given up, or put it in place.
        let _turn = self.changing.acquire().await;
        let all = self.all();
        for session in &all {
            session.end(End::Stopped);
        }
        for session in &all {
            session.harmless().await;
        }
    }
}
