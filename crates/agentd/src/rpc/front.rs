//! What every method has in hand: the runtime's front door, and what the daemon says of itself.

use super::{Fault, FaultKind, wire::Piece};
use crate::{
    authority::{self, Names},
    config::{AtLimit, Config, Installation, PROFILE_DEFAULT},
    limits::{CANDIDATES_MAX, RUNS_LISTED_MAX},
};
use aaos_core::{
    approval::{RULES_MAX, Rule},
    budget::Budget,
    capability::{Capability, Resource, parse, parse_in},
    event::{Event, Kind, RunView, Seq},
    id::{RoleName, RunId},
    model::{ModelClass, ModelRef},
    role::Role,
    time::Timestamp,
    tool::ToolSpec,
};
use aaos_ports::{
    Authority, Catalog, Clock, Decisions, Digest, GoalError, Goals, History, Journal as _,
    LiveGrant, Provider, Submit, WatchItem,
};
use aaos_store::Store;
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
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

    fn role_budgets(&self) -> BTreeMap<RoleName, Budget> {
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
                let shown = aaos_core::text::preview(text, 120);
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

    fn envelope(
        &self,
        caller: &Caller,
        profile: &str,
        params: &super::wire::SubmitParams,
    ) -> Result<Vec<Capability>, Fault> {
        let known = self.config.profiles.get(profile).ok_or_else(|| {
            let names: Vec<&str> = self.config.profiles.keys().map(String::as_str).collect();
            let shown = aaos_core::text::preview(profile, 64);
            Fault::new(
                FaultKind::Refused,
                format!("there is no profile `{shown}`"),
                format!("There are: {}", names.join(", ")),
            )
        })?;
        if !Path::new(&params.base).is_absolute() {
            return Err(Fault::new(
                FaultKind::Refused,
                "the base directory is not an absolute path",
                "Give one with --base",
            ));
        }
        let of_profile = |lines: &[String]| {
            lines
                .iter()
                .map(|line| read_grant(line, Some(&params.base)))
                .collect::<Result<Vec<_>, _>>()
        };
        let of_flags = |lines: &[String]| {
            lines
                .iter()
                .map(|line| read_grant(line, None))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut grants = of_profile(&known.value.grants)?;
        let added = of_flags(&params.grants)?;
        self.check_secrets(caller, &added)?;
        grants.extend(added);
        let mut deny = of_profile(&known.value.deny)?;
        deny.extend(of_flags(&params.deny)?);
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
        let known = |name: &str| name == "rules" || self.config.providers.contains_key(name);
        match named {
            Some(model) if known(&model.provider) => Ok(()),
            _ => {
                let names: Vec<&str> = self
                    .config
                    .providers
                    .keys()
                    .map(String::as_str)
                    .chain(["rules"])
                    .collect();
                let problem = format!(
                    "`{}` is not `provider/model` of a configured provider",
                    aaos_core::text::preview(text, 64)
                );
                let next_step = format!(
                    "Providers here: {}. `agentd configure` adds one",
                    names.join(", ")
                );
                Err(Fault::new(FaultKind::Refused, problem, next_step))
            }
        }
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
                Err(aaos_ports::GoalError::Unknown(run).into())
            };
        }
        let beginning = format!(
            "run-{}",
            text.strip_prefix("run-")
                .unwrap_or(text)
                .to_ascii_lowercase()
        );
        let runs = self.goals.view(None, RUNS_LISTED_MAX).await?;
        let fits = |view: &&RunView| {
            !text.is_empty()
                && view.run.to_string().starts_with(&beginning)
                && self.may_see(caller, view)
        };
        let mut matching = runs.iter().filter(fits);
        let shown = aaos_core::text::preview(text, 64);
        match (matching.next(), matching.next()) {
            (Some(one), None) => self.view(one.run).await,
            (None, _) => {
                let problem = format!("no run has an id that begins with `{shown}`");
                Err(Fault::new(
                    FaultKind::Unknown,
                    problem,
                    "`agentd list` shows the runs there are",
                ))
            }
            (Some(first), Some(second)) => {
                let several = [first, second]
                    .into_iter()
                    .chain(matching)
                    .take(CANDIDATES_MAX);
                let line = |view: &RunView| {
                    format!("{}  {}", view.run, aaos_core::text::preview(&view.goal, 60))
                };
                let candidates = several.map(line).collect();
                let problem = format!("several runs have an id that begins with `{shown}`");
                Err(Fault {
                    candidates,
                    ..Fault::new(FaultKind::Unknown, problem, "Give more of it")
                })
            }
        }
    }

    /// One run in full.
    pub(crate) async fn view(&self, run: RunId) -> Result<RunView, Fault> {
        let mut views = self.goals.view(Some(run), 1).await?;
        views
            .pop()
            .ok_or_else(|| aaos_ports::GoalError::Unknown(run).into())
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
    pub(crate) async fn rules_of(&self, view: &RunView) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Terms {
            submit: Submit,
            roles: Vec<Role>,
        }
        let digest = Digest(view.terms.clone());
        let terms = match self.store.get(&digest).await {
            Ok(body) => serde_json::from_slice::<Terms>(&body).ok(),
            Err(_) => None,
        };
        terms.map_or_else(Vec::new, |terms| {
            rules_in_force(&terms.submit.approve, &terms.roles)
        })
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

fn read_grant(line: &str, base: Option<&str>) -> Result<Capability, Fault> {
    let read = match base {
        Some(base) => parse_in(line, base),
        None => parse(line),
    };
    read.map_err(|error| {
        let problem = format!("`{}` is not a grant: {error}", aaos_core::text::preview(line, 120));
        Fault::new(FaultKind::Refused, problem, "Write it as `file_read: /data/**` or `http: GET example.com`; `agentd docs capabilities` has all forms")
    })
}

/// Who owns what is at a path, without following a link at its end.
fn owner_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path)
        .ok()
        .map(|about| about.uid())
}
