//! What every method has in hand: the runtime's front door, and what the daemon says of itself.

use super::{Fault, FaultKind, beginning::Beginning, fault::RUNS_THERE_ARE, wire::Piece};
use crate::{
    authority::{self, Names},
    config::{AtLimit, Config, Installation, PROFILE_DEFAULT},
    limits::RUNS_LISTED_MAX,
};
use aaos_core::{
    approval::{RULES_MAX, Rule},
    budget::Budget,
    capability::{Capability, Resource, parse, parse_in},
    event::{Event, Kind, RunView, Seq},
    id::{RoleName, RunId},
    model::{ModelClass, ModelRef},
    role::Role,
    text::preview,
    time::Timestamp,
    tool::ToolSpec,
};
use aaos_ports::{
    Authority, Catalog, Clock, Decisions, GoalError, Goals, History, LiveGrant, Provider, RunTerms,
    Submit, WatchItem,
};
use aaos_store::Store;
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Everything the methods need.
pub(crate) struct Front {
    /// Goals and runs.
    pub(crate) goals: Arc<dyn Goals>,
    /// What open runs may still do, and taking it back.
    pub(crate) authority: Arc<dyn Authority>,
    /// What waits for the operator, and the operator's word on it.
    pub(crate) decisions: Arc<dyn Decisions>,
    /// What is made of the record.
    pub(crate) history: Arc<dyn History>,
    /// Where bodies are, whether there is room for more, and what erases them.
    pub(crate) store: Arc<Store>,
    /// How many runs have not ended.
    pub(crate) runs_open: Box<dyn Fn() -> usize + Send + Sync>,
    /// Roles.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// Every tool.
    pub(crate) tools: Vec<ToolSpec>,
    /// Models.
    pub(crate) provider: Arc<dyn Provider>,
    /// Which model serves which class.
    pub(crate) models: Vec<(ModelClass, ModelRef)>,
    /// What people are told of the models.
    pub(crate) model_label: String,
    /// How agents' tools run.
    pub(crate) backend: String,
    /// What confines them, in words.
    pub(crate) confinement: &'static str,
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// When the daemon was ready.
    pub(crate) ready: Timestamp,
    /// The user number the daemon runs as.
    pub(crate) uid: u32,
    /// What goes on.
    pub(crate) activity: Activity,
    /// Takes the order to stop.
    pub(crate) stop: StopOrder,
}

/// What goes on at the front door.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    open: AtomicUsize,
    ever: AtomicUsize,
}

impl Activity {
    /// A connection was opened; it counts until the guard is dropped.
    pub(crate) fn enter(front: &Arc<Front>) -> Inside {
        front.activity.open.fetch_add(1, Ordering::Relaxed);
        front.activity.ever.fetch_add(1, Ordering::Relaxed);
        Inside(Arc::clone(front))
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections since the start.
    pub(crate) fn connections_ever(&self) -> usize {
        self.ever.load(Ordering::Relaxed)
    }
}

/// An open connection.
pub(crate) struct Inside(Arc<Front>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.activity.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The order to stop: given once, seen by all.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopOrder(CancellationToken);

impl StopOrder {
    /// Gives it.
    pub(crate) fn give(&self) {
        self.0.cancel();
    }

    /// Whether it was given.
    pub(crate) fn given(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for it.
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Who calls, and how to reach them while the call is answered.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The peer's user number.
    pub(crate) uid: u32,
    /// Takes notifications.
    pub(crate) notifier: Notifier,
    /// Cancelled when the peer is gone.
    pub(crate) gone: CancellationToken,
}

impl Caller {
    /// What this comes to, unless the caller goes away before: nobody is left to be told then.
    pub(super) async fn unless_gone<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            done = work => Ok(done),
            () = self.gone.cancelled() => Err(Fault::internal("the caller is gone")),
        }
    }
}

/// Sends notifications of one call.
#[derive(Clone)]
pub(crate) struct Notifier {
    /// The call's id, as the peer gave it.
    pub(crate) id: Value,
    /// Lines to be written.
    pub(crate) outbox: mpsc::Sender<String>,
}

impl Notifier {
    /// Sends a piece of a run; waits while the peer reads slowly. False if the peer is gone.
    pub(crate) async fn piece(&self, piece: &Piece) -> bool {
        let line = json!({ "jsonrpc": "2.0", "method": "run.event", "params": { "watch": self.id, "piece": piece } });
        self.outbox.send(line.to_string()).await.is_ok()
    }
}

/// Events at the beginning of a run among which its envelope is recorded.
const OPENING_EVENTS_MAX: usize = authority::GRANTS_MAX + 16;
/// Bytes of a goal that tell a run among candidates.
const GOAL_BYTES: usize = 60;

impl Front {
    /// Names of all there is, so that a denied one can be taken out of `*`.
    fn names(&self) -> Names {
        Names {
            tools: self
                .tools
                .iter()
                .map(|tool| tool.name.to_string())
                .collect(),
            roles: self
                .catalog
                .roles()
                .iter()
                .map(|role| role.name.to_string())
                .collect(),
        }
    }

    /// Turns a goal's terms into what the runtime takes.
    pub(crate) fn submission(
        &self,
        caller: &Caller,
        params: super::wire::SubmitParams,
    ) -> Result<Submit, Fault> {
        let profile = params
            .profile
            .clone()
            .unwrap_or_else(|| PROFILE_DEFAULT.to_owned());
        let grants = self.envelope(caller, &profile, &params)?;
        if let Some(model) = &params.model {
            self.check_model(model)?;
        }
        let approve = self.rules(&params.ask)?;
        let mut budget = self.config.budgets.run;
        params
            .budget
            .iter()
            .for_each(|amount| amount.apply(&mut budget));
        Ok(Submit {
            goal: params.goal,
            base: params.base,
            operator: caller.uid,
            profile,
            grants,
            budget,
            role_budgets: self.role_budgets(),
            park: params.park || self.config.budgets.at_limit.value == AtLimit::Park,
            approve,
            mode: params.orchestration.map(Into::into),
            model: params.model,
        })
    }

    pub(super) fn role_budgets(&self) -> BTreeMap<RoleName, Budget> {
        let roles = self.config.budgets.roles.iter();
        roles
            .map(|(role, limits)| (role.clone(), limits.value))
            .collect()
    }

    /// Acts that wait for approval: what the configuration says, then what was asked for with the goal.
    pub(super) fn rules(&self, asked: &[String]) -> Result<Vec<Rule>, Fault> {
        let mut rules = self.config.policy.ask.value.clone();
        for text in asked {
            let rule = text.parse().map_err(|error| {
                let shown = preview(text, 120);
                let problem = format!("`{shown}` is not a rule: {error}");
                Fault::new(FaultKind::Refused, problem, "Correct --ask")
            })?;
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        if rules.len() > RULES_MAX {
            let problem = format!("there are more than {RULES_MAX} rules for approval");
            let next_step = "Write wider rules instead of many";
            return Err(Fault::new(FaultKind::Refused, problem, next_step));
        }
        Ok(rules)
    }

    /// Refuses new work where it could not be recorded to its end.
    pub(super) fn check_room(&self) -> Result<(), Fault> {
        self.store.headroom().map_err(|error| {
            let (problem, next_step) = crate::report::storage_parts(&error);
            let problem = format!("the daemon takes no goals: {problem}");
            Fault::new(FaultKind::Unavailable, problem, next_step)
        })
    }

    pub(super) fn envelope(
        &self,
        caller: &Caller,
        profile: &str,
        params: &super::wire::SubmitParams,
    ) -> Result<Vec<Capability>, Fault> {
        let known = self.config.profiles.get(profile).ok_or_else(|| {
            let names: Vec<&str> = self.config.profiles.keys().map(String::as_str).collect();
            Fault::no_such(FaultKind::Refused, "profile", profile, &names)
        })?;
        if !Path::new(&params.base).is_absolute() {
            return Err(Fault::new(
                FaultKind::Refused,
                "the base directory is not an absolute path",
                "Give one with --base",
            ));
        }
        // A profile's paths start from the base directory; those that came with the goal are absolute.
        let of_profile = |lines| read_grants(lines, Some(&params.base));
        let mut grants = of_profile(&known.value.grants)?;
        let added = read_grants(&params.grants, None)?;
        self.check_secrets(caller, &added)?;
        grants.extend(added);
        let mut deny = of_profile(&known.value.deny)?;
        deny.extend(read_grants(&params.deny, None)?);
        let held = authority::envelope(grants, &deny, &self.names())?;
        if self.config.paths.installation == Installation::System {
            held.iter()
                .try_for_each(|grant| authority::check_owner(grant, caller.uid, owner_of))?;
        }
        Ok(held)
    }

    /// Refuses grants that use a secret there is not, and grants of an operator that would send a secret of the machine's
    /// where they like: in the system-wide daemon only profiles, which its administrator writes, say where secrets go.
    fn check_secrets(&self, caller: &Caller, grants: &[Capability]) -> Result<(), Fault> {
        let named = grants.iter().flat_map(|grant| match &grant.resource {
            Resource::Http(scope) => scope.secrets.iter().collect(),
            _ => Vec::new(),
        });
        let machines = self.config.paths.installation == Installation::System && caller.uid != 0;
        for name in named {
            if machines {
                return Err(Fault::new(
                    FaultKind::Refused,
                    format!(
                        "the secret `{name}` is the machine's, and only a profile of its configuration may use it"
                    ),
                    "Ask the administrator for a profile, and name it with --profile",
                ));
            }
            if !self.config.secrets.contains_key(name) {
                return Err(Fault::new(
                    FaultKind::Refused,
                    format!("there is no secret `{name}`"),
                    format!(
                        "Set it in {}, as `{name} = \"…\"` beneath [secrets]",
                        self.config.paths.credentials.display()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Refuses a model whose provider is not configured.
    pub(super) fn check_model(&self, text: &str) -> Result<(), Fault> {
        let named = crate::config::model_ref(text);
        let known = self.config.provider_names();
        if named.is_some_and(|model| known.contains(&model.provider.as_str())) {
            return Ok(());
        }
        let shown = preview(text, 64);
        let problem = format!("`{shown}` is not `provider/model` of a configured provider");
        let known = known.join(", ");
        let next_step = format!("Providers here: {known}. `agentd configure` adds one");
        Err(Fault::new(FaultKind::Refused, problem, next_step))
    }

    /// Whether a run is the caller's to look at: their own, any for root and for whom the daemon runs as.
    pub(crate) fn may_see(&self, caller: &Caller, view: &RunView) -> bool {
        self.is_theirs(caller, view.operator)
    }

    /// Whether what belongs to an operator is the caller's to look at and to decide on.
    pub(crate) fn is_theirs(&self, caller: &Caller, operator: u32) -> bool {
        let whole =
            self.config.paths.installation == Installation::PerUser && caller.uid == self.uid;
        whole || caller.uid == 0 || caller.uid == operator
    }

    /// The caller's run of this id, or the only one whose id begins so.
    pub(crate) async fn find_run(&self, caller: &Caller, text: &str) -> Result<RunView, Fault> {
        if let Ok(run) = text.parse() {
            let view = self.view(run).await?;
            return if self.may_see(caller, &view) {
                Ok(view)
            } else {
                Err(GoalError::Unknown(run).into())
            };
        }
        let runs = self.goals.view(None, RUNS_LISTED_MAX).await?;
        let beginning = Beginning {
            text,
            prefix: RunId::PREFIX,
            called: ["run", "runs"],
            next_step: RUNS_THERE_ARE,
        };
        let theirs = runs.iter().filter(|view| self.may_see(caller, view));
        let about = |view: &&RunView| (view.run.to_string(), preview(&view.goal, GOAL_BYTES));
        let run = beginning.only(theirs, about)?.run;
        self.view(run).await
    }

    /// The run that is meant, if one is.
    pub(crate) async fn find_some(
        &self,
        caller: &Caller,
        text: Option<&str>,
    ) -> Result<Option<RunId>, Fault> {
        match text {
            Some(text) => Ok(Some(self.find_run(caller, text).await?.run)),
            None => Ok(None),
        }
    }

    /// One run in full.
    pub(crate) async fn view(&self, run: RunId) -> Result<RunView, Fault> {
        let mut views = self.goals.view(Some(run), 1).await?;
        views.pop().ok_or_else(|| GoalError::Unknown(run).into())
    }

    /// What a run and its agents may still do; nothing once it has ended.
    pub(crate) async fn live(&self, run: RunId) -> Result<Vec<LiveGrant>, Fault> {
        match self.authority.grants(run).await {
            Ok(live) => Ok(live),
            Err(GoalError::Ended(_) | GoalError::Unknown(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Which acts of a run wait for approval, from the terms it is carried out under; none if they are gone.
    pub(crate) async fn rules_of(&self, run: RunId) -> Vec<String> {
        let terms = self.history.terms(run).await;
        terms.map_or_else(
            |_| Vec::new(),
            |RunTerms { submit, roles }| rules_in_force(&submit.approve, &roles),
        )
    }

    /// What the operator granted a run, read from its first events.
    pub(crate) async fn granted(&self, view: &RunView) -> Vec<Capability> {
        let mut events = self.goals.watch(view.run, Seq(0)).take(OPENING_EVENTS_MAX);
        let mut held = Vec::new();
        while let Some(Ok(item)) = events.next().await {
            let WatchItem::Event(Event {
                seq, subject, kind, ..
            }) = item
            else {
                continue;
            };
            match kind {
                Kind::CapabilityGranted {
                    parent: None,
                    capability,
                    ..
                } if subject.agent.is_none() => held.push(capability),
                Kind::OrchestrationSelected { .. } | Kind::RunFinished { .. } => break,
                _ => {}
            }
            if seq >= view.last {
                break;
            }
        }
        held
    }
}

/// Every rule by which an act of a run may have to wait, for people: the run's own, then each role's.
pub(super) fn rules_in_force(asked: &[Rule], roles: &[Role]) -> Vec<String> {
    let own = asked.iter().map(ToString::to_string);
    let of_roles = roles.iter().flat_map(|role| {
        let rules = role.approve.iter();
        rules.map(|rule| format!("{rule} (by {})", role.name))
    });
    own.chain(of_roles).collect()
}

fn read_grants(lines: &[String], base: Option<&str>) -> Result<Vec<Capability>, Fault> {
    let read = |line: &String| {
        let read = base.map_or_else(|| parse(line), |base| parse_in(line, base));
        read.map_err(|error| {
            let problem = format!("`{}` is not a grant: {error}", preview(line, 120));
            Fault::new(FaultKind::Refused, problem, "Write it as `file_read: /data/**` or `http: GET example.com`; `agentd docs capabilities` has all forms")
        })
    };
    lines.iter().map(read).collect()
}

/// Who owns what is at a path, without following a link at its end.
fn owner_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .ok()
        .map(|about| about.uid())
}
