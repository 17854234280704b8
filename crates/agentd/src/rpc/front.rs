//! What every method has in hand: the runtime's front door, and what the daemon says of itself.

use super::{Fault, FaultKind, beginning::Beginning, fault::RUNS_THERE_ARE, wire::Piece};
use crate::{
    authority::{self, Names},
    config::{AtLimit, Config, Installation, PROFILE_DEFAULT, amount::Amount},
    limits::{RUNS_KNOWN_MAX, RUNS_LISTED_MAX},
    retention::Forget,
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
    Authority, Catalog, Clock, Decisions, GoalError, Goals, History, LiveGrant, Provider, Submit,
    WatchItem,
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
    /// Shows runs no more whose content was erased.
    pub(crate) forget: Forget,
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
    /// Whether somebody bills for a model whose price is not known.
    pub(crate) unpriced: Box<dyn Fn(&ModelRef) -> bool + Send + Sync>,
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
        let grants = self.envelope(caller, &profile, &params.base, &params.grants, &params.deny)?;
        if let Some(model) = &params.model {
            self.check_model(model)?;
        }
        let approve = self.rules(&params.ask)?;
        self.check_role_budgets()?;
        if self.limits_money(&params.budget) {
            let classes: Vec<_> = self.models.iter().map(|(_, model)| model.clone()).collect();
            self.check_prices(params.model.as_deref(), &classes, &self.catalog.roles())?;
        }
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
        let configured = &self.config.policy.ask;
        let mut rules = configured.value.clone();
        let correct = format!("Correct `ask` beneath [approvals] ({})", configured.origin);
        rules
            .iter()
            .try_for_each(|rule| self.check_rule(rule, &correct))?;
        for text in asked {
            let rule: Rule = text.parse().map_err(|error| {
                let shown = preview(text, 120);
                let problem = format!("`{shown}` is not a rule: {error}");
                Fault::new(FaultKind::Refused, problem, "Correct --ask")
            })?;
            self.check_rule(&rule, "Correct --ask")?;
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

    /// Refuses a rule that says more than it holds, or asks about no tool there is: whoever wrote it relies on it.
    fn check_rule(&self, rule: &Rule, next_step: &str) -> Result<(), Fault> {
        let refused = |problem, next_step| Err(Fault::new(FaultKind::Refused, problem, next_step));
        if let Some(problem) = rule.problem() {
            return refused(
                format!("`{rule}` is not a rule: {problem}"),
                next_step.to_owned(),
            );
        }
        let names = self.tools.iter().map(|tool| &tool.name);
        let Some(missing) = rule.missing_tool(names.clone()) else {
            return Ok(());
        };
        let known: Vec<&str> = names.map(|name| name.as_str()).collect();
        refused(
            format!("`{rule}`: there is no tool `{missing}` to ask about"),
            format!("{next_step}; there are: {}", known.join(", ")),
        )
    }

    /// Whether there is a limit on money, asked for or configured.
    pub(super) fn limits_money(&self, asked: &[Amount]) -> bool {
        let money = |amount: &Amount| matches!(amount, Amount::CostMicroDollars(_));
        asked.iter().any(money) || self.config.budgets.limit_money()
    }

    /// Refuses models that could pass a limit on money unseen, since nobody knows what they cost: the one that is named
    /// for everything, else those of the classes and those that roles name.
    pub(super) fn check_prices(
        &self,
        named: Option<&str>,
        classes: &[ModelRef],
        roles: &[Role],
    ) -> Result<(), Fault> {
        let everywhere = |model: ModelRef| (model, String::new());
        let by_role = |role: &Role| {
            let model = ModelRef::parse(role.model.as_deref()?)?;
            Some((model, format!(", which the role `{}` names,", role.name)))
        };
        let used: Vec<_> = match named.and_then(ModelRef::parse) {
            Some(model) => vec![everywhere(model)],
            None => {
                let classes = classes.iter().cloned().map(everywhere);
                classes.chain(roles.iter().filter_map(by_role)).collect()
            }
        };
        let Some((unpriced, whose)) = used.into_iter().find(|(model, _)| (self.unpriced)(model))
        else {
            return Ok(());
        };
        let file = self.config.paths.config.value.with_file_name("prices.toml");
        Err(Fault::new(
            FaultKind::Refused,
            format!(
                "there is a limit on money, and the price of `{}`{whose} is not known, so it would not hold",
                preview(&unpriced.to_string(), 120)
            ),
            format!(
                "Write the price into {}, or limit tokens instead, as --budget 200ktokens",
                file.display()
            ),
        ))
    }

    /// Refuses new work while a role's limits are configured that no role has.
    fn check_role_budgets(&self) -> Result<(), Fault> {
        let mut roles = self.config.budgets.roles.iter();
        let Some((missing, limits)) = roles.find(|(role, _)| self.catalog.role(role).is_none())
        else {
            return Ok(());
        };
        Err(Fault::new(
            FaultKind::Refused,
            format!("[budget.roles.{missing}] limits nothing: there is no role `{missing}`"),
            format!(
                "Correct its name ({}); `agentd roles list` shows those there are",
                limits.origin
            ),
        ))
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
        base: &str,
        grants: &[String],
        deny: &[String],
    ) -> Result<Vec<Capability>, Fault> {
        let known = self.config.profiles.get(profile).ok_or_else(|| {
            let names: Vec<&str> = self.config.profiles.keys().map(String::as_str).collect();
            Fault::no_such(FaultKind::Refused, "profile", profile, &names)
        })?;
        if !Path::new(base).is_absolute() {
            return Err(Fault::new(
                FaultKind::Refused,
                "the base directory is not an absolute path",
                "Give one with --base",
            ));
        }
        // A profile's paths start from the base directory; those that came with the goal are absolute.
        let of_profile = |lines| read_grants(lines, Some(base));
        let mut granted = of_profile(&known.value.grants)?;
        let added = read_grants(grants, None)?;
        self.check_secrets(caller, &added)?;
        granted.extend(added);
        let mut denied = of_profile(&known.value.deny)?;
        denied.extend(read_grants(deny, None)?);
        let held = authority::envelope(granted, &denied, &self.names())?;
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
        let named = ModelRef::parse(text);
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
        self.sees_all(caller) || caller.uid == operator
    }

    /// Whether the caller looks after what everybody does here.
    pub(super) fn sees_all(&self, caller: &Caller) -> bool {
        let own = self.config.paths.installation == Installation::PerUser && caller.uid == self.uid;
        own || caller.uid == 0
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
        let theirs = self.runs_of(caller, RUNS_LISTED_MAX).await?;
        let beginning = Beginning {
            text,
            prefix: RunId::PREFIX,
            called: ["run", "runs"],
            next_step: RUNS_THERE_ARE,
        };
        let about = |view: &RunView| (view.run.to_string(), preview(&view.goal, GOAL_BYTES));
        let run = beginning.only(theirs, about)?.run;
        self.view(run).await
    }

    /// A line for each run that is the caller's to look at: those that are not over, then the newest of the others. What
    /// others do pushes none of them out.
    pub(crate) async fn runs_of(
        &self,
        caller: &Caller,
        most: usize,
    ) -> Result<Vec<RunView>, Fault> {
        let looked = if self.sees_all(caller) {
            most
        } else {
            RUNS_KNOWN_MAX
        };
        let mut runs = self.goals.view(None, looked).await?;
        runs.retain(|view| self.may_see(caller, view));
        runs.truncate(most);
        Ok(runs)
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

    /// Every rule by which an act of a run may have to wait, for people: the run's own, then each role's. One of a role's
    /// that asks about no tool there is says so.
    pub(super) fn rules_in_force(&self, asked: &[Rule], roles: &[Role]) -> Vec<String> {
        let own = asked.iter().map(ToString::to_string);
        let names = || self.tools.iter().map(|tool| &tool.name);
        let of_roles = roles.iter().flat_map(|role| {
            role.approve.iter().map(move |rule| {
                let missing = rule.missing_tool(names());
                let missing = missing.map_or("", |_| "; there is no such tool");
                format!("{rule} (by {}{missing})", role.name)
            })
        });
        own.chain(of_roles).collect()
    }

    /// Which acts of a run wait for approval, from the terms it is carried out under; none if they are gone.
    pub(crate) async fn rules_of(&self, run: RunId) -> Vec<String> {
        let terms = self.history.terms(run).await;
        terms.map_or_else(
            |_| Vec::new(),
            |terms| self.rules_in_force(&terms.submit.approve, &terms.roles),
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
