//! A world for the whole runtime: a model with a brain the test writes, tools that do what their names say, a tree in
//! memory, a journal that can be asked and broken. After every run the laws of its journal are checked.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses the part of the world it needs"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod journal;
mod laws;
mod tools;

pub(crate) use aaos_core::{
    event::{
        Event, Kind, Mode, ModeSource, Outcome, RunState, RunView, Seq, StopReason, SubtaskState,
    },
    failure::{Failure, LimitKind, ProviderFault},
    id::{AgentId, GrantId, RunId},
    model::{
        Arguments, Block, Message, ModelRef, Purpose, Reply, Request, Stop, ToolCall, ToolResult,
    },
    money::MicroDollars,
    proof::Layer,
    time::Span,
    value::Value,
};
pub(crate) use aaos_ports::{Authority, Durability, GoalError, Goals, ProviderError, Submit};
pub(crate) use aaos_testkit::{
    files::{MemoryTree, Node},
    http::{Page, Pages},
    provider::{USAGE, calls, fault, reply, says},
};
pub(crate) use journal::WorldJournal;
pub(crate) use serde_json::json;
pub(crate) use tools::Acts;

use aaos_core::budget::Budget;
use aaos_ports::{
    Backend, Catalog, DeltaSink, LaunchError, LaunchSpec, Provider, Retry, RoleProblem, Worker,
};
use aaos_runtime::{Config, Deps, Models, Runtime};
use aaos_testkit::{
    backend::FakeBackend,
    catalog::FakeCatalog,
    clock::{FakeClock, FakeIds},
    provider::FakeProvider,
    secrets::FakeSecrets,
};
use async_trait::async_trait;
use futures::StreamExt;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// Longer than anything in these tests; the clock is paused, so it costs nothing.
const LONG: Duration = Duration::from_secs(100 * 24 * 3_600);

type Brain = Box<dyn Fn(&Request, usize) -> Result<Reply, ProviderError> + Send + Sync>;
type Delay = Box<dyn Fn(&Request) -> Duration + Send + Sync>;

/// A model that thinks as long as a test says, and complains of its server as often.
pub(crate) struct SlowModel {
    inner: FakeProvider,
    delay: Delay,
    retries: u32,
    billed: bool,
}

#[async_trait]
impl Provider for SlowModel {
    async fn complete(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError> {
        for attempt in 1..=self.retries {
            let retry = Retry {
                attempt,
                wait_ms: 10,
                reason: "overloaded".to_owned(),
                billed: self.billed,
            };
            pieces.again(retry).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let delay = (self.delay)(request);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.inner.complete(request, pieces).await
    }

    async fn probe(&self, model: &ModelRef) -> Result<(), ProviderError> {
        self.inner.probe(model).await
    }

    fn worst_case(&self, request: &Request) -> MicroDollars {
        self.inner.worst_case(request)
    }

    fn window(&self, model: &ModelRef) -> Option<u64> {
        self.inner.window(model)
    }

    fn label(&self, model: &ModelRef) -> String {
        self.inner.label(model)
    }
}

/// A backend whose launches take as long as a test says.
struct SlowBackend {
    inner: Arc<FakeBackend>,
    delay: Duration,
}

#[async_trait]
impl Backend for SlowBackend {
    fn name(&self) -> aaos_core::event::BackendName {
        self.inner.name()
    }

    fn surface(&self) -> aaos_core::tool::Placement {
        self.inner.surface()
    }

    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.inner.launch(spec).await
    }
}

/// What a test sets before its world begins.
pub(crate) struct Builder {
    brain: Brain,
    delay: Delay,
    retries: u32,
    billed: bool,
    roles: Vec<serde_json::Value>,
    problems: Vec<RoleProblem>,
    grants: Vec<String>,
    budget: Budget,
    workers: usize,
    slots: usize,
    pages: Pages,
    secrets: FakeSecrets,
    refusal: Option<LaunchError>,
    missing: Vec<Layer>,
    launch_delay: Duration,
    journal: WorldJournal,
    mode: Option<Mode>,
    tree: MemoryTree,
    acts: Acts,
    bell: Option<Arc<dyn aaos_ports::Bell>>,
    more: Vec<Arc<dyn aaos_ports::AnyTool>>,
    later: Span,
    configure: Box<dyn FnOnce(&mut Config) + Send>,
    ask: Box<dyn FnOnce(&mut Submit) + Send>,
}

/// Everything outside the runtime, and the runtime.
pub(crate) struct World {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) journal: WorldJournal,
    pub(crate) model: Arc<SlowModel>,
    pub(crate) tree: MemoryTree,
    pub(crate) acts: Acts,
    pub(crate) backend: Arc<FakeBackend>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) pages: Arc<Pages>,
    template: Submit,
}

/// A run that is over, and what its journal says of it.
pub(crate) struct Told {
    pub(crate) id: RunId,
    pub(crate) events: Vec<Event>,
    pub(crate) outcome: Outcome,
}

/// Whether a model was asked, for [`World::until`].
pub(crate) fn requested(kind: &Kind) -> Option<()> {
    matches!(kind, Kind::ModelRequested { .. }).then_some(())
}

/// A world whose model says this.
pub(crate) fn world(
    brain: impl Fn(&Request, usize) -> Result<Reply, ProviderError> + Send + Sync + 'static,
) -> Builder {
    let grants = [
        "tool: *",
        "file_read: /home/op/**",
        "file_write: /home/op/**",
        "spawn: *",
        "http: GET *",
    ];
    Builder {
        brain: Box::new(brain),
        delay: Box::new(|_| Duration::ZERO),
        retries: 0,
        billed: false,
        roles: roles(),
        problems: Vec::new(),
        grants: grants.map(str::to_owned).to_vec(),
        budget: Budget::default(),
        workers: 8,
        slots: 16,
        pages: Pages::default(),
        secrets: FakeSecrets::default(),
        refusal: None,
        missing: Vec::new(),
        launch_delay: Duration::ZERO,
        journal: WorldJournal::default(),
        mode: Some(Mode::Plan),
        tree: MemoryTree::default(),
        acts: Acts::default(),
        bell: None,
        more: Vec::new(),
        later: Span::ZERO,
        configure: Box::new(|_| {}),
        ask: Box::new(|_| {}),
    }
}

/// A world that plans this, and whose agents say what `turn` says of their subtask (or child's task) and turn.
pub(crate) fn planned(
    plan: serde_json::Value,
    turn: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> Builder {
    world(move |request, before| Ok(answer(request, &plan, &|name, _| turn(name, before))))
}

/// The answer of a model that always plans the same.
pub(crate) fn answer(
    request: &Request,
    plan: &serde_json::Value,
    turn: &dyn Fn(&str, &Request) -> Reply,
) -> Reply {
    match &request.purpose {
        Purpose::Classify { .. } => says("plan"),
        Purpose::Plan { .. } => says(&plan.to_string()),
        Purpose::Summarise => says("what went before, in short"),
        Purpose::Turn {
            subtask: Some(subtask),
            ..
        } => turn(subtask.as_str(), request),
        Purpose::Turn {
            subtask: None,
            task,
            ..
        } => turn(task, request),
    }
}

/// A plan of these subtasks, the last of which is the result.
pub(crate) fn plan(subtasks: &[serde_json::Value]) -> serde_json::Value {
    let last = subtasks
        .last()
        .and_then(|subtask| subtask.get("id"))
        .cloned()
        .unwrap_or_default();
    json!({ "subtasks": subtasks, "result": last })
}

/// A subtask of the role `talker`, which only answers.
pub(crate) fn talk(id: &str, needs: &[&str]) -> serde_json::Value {
    json!({ "id": id, "task": format!("say {id}"), "role": "talker", "depends_on": needs })
}

/// A subtask of a role that holds all tools.
pub(crate) fn act(id: &str) -> serde_json::Value {
    json!({ "id": id, "task": format!("do {id}"), "role": "generalist" })
}

/// A plan of one subtask that holds all tools.
pub(crate) fn one_act() -> serde_json::Value {
    plan(&[act("a")])
}

fn roles() -> Vec<serde_json::Value> {
    let hands = json!([
        "inherit: tool",
        "inherit: file_read",
        "inherit: file_write",
        "inherit: spawn",
        "inherit: http"
    ]);
    let mut roles = vec![
        json!({ "name": "talker", "summary": "Answers.", "prompt": "Answer.",
            "parameters": { "about": { "type": "inputs" }, "word": { "type": "string" } } }),
        json!({ "name": "generalist", "summary": "Does anything.", "prompt": "Do it.", "capabilities": hands,
            "limits": { "turns_max": 40, "nudges_max": 1, "output_tokens_max": 100 } }),
        json!({ "name": "lister", "summary": "Answers in JSON.", "prompt": "Answer.", "output": "json", "limits": { "nudges_max": 1 } }),
        json!({ "name": "climber", "summary": "Answers.", "prompt": "Answer.",
            "ladder": ["reasoner"], "escalate_on": ["max_tokens", "replan_retry"] }),
    ];
    roles.push(json!({ "name": "writer", "summary": "Writes a file.", "prompt": "Write.", "output": { "file": "output" },
        "parameters": { "output": { "type": "path", "required": true }, "inputs": { "type": "inputs" } },
        "capabilities": ["tool: file_read", "tool: file_write", "file_write: {output}"], "limits": { "nudges_max": 1 } }));
    roles.push(json!({ "name": "fetcher", "summary": "Fetches a page.", "prompt": "Fetch.", "scaffold": "fetch",
        "output": { "file": "output" },
        "parameters": { "url": { "type": "url", "required": true }, "output": { "type": "path" } },
        "capabilities": ["tool: web_fetch", "tool: file_write", "http: GET {url}", "file_write: {output}"] }));
    roles
}

impl Builder {
    pub(crate) fn delay(
        mut self,
        delay: impl Fn(&Request) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.delay = Box::new(delay);
        self
    }

    pub(crate) fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Attempts at each answer that break off and may have to be paid for.
    pub(crate) fn broken_off(mut self, retries: u32) -> Self {
        (self.retries, self.billed) = (retries, true);
        self
    }

    pub(crate) fn role(mut self, role: serde_json::Value) -> Self {
        self.roles
            .retain(|known| known.get("name") != role.get("name"));
        self.roles.push(role);
        self
    }

    pub(crate) fn only_roles(mut self, roles: Vec<serde_json::Value>) -> Self {
        self.roles = roles;
        self
    }

    pub(crate) fn problem(mut self, problem: RoleProblem) -> Self {
        self.problems.push(problem);
        self
    }

    pub(crate) fn grants(mut self, grants: &[&str]) -> Self {
        self.grants = grants.iter().map(|grant| (*grant).to_owned()).collect();
        self
    }

    pub(crate) fn budget(mut self, change: impl FnOnce(&mut Budget)) -> Self {
        change(&mut self.budget);
        self
    }

    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    pub(crate) fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    pub(crate) fn pages(mut self, pages: Pages) -> Self {
        self.pages = pages;
        self
    }

    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets = self.secrets.with(name, value);
        self
    }

    pub(crate) fn missing_layers(mut self, layers: &[Layer]) -> Self {
        self.missing = layers.to_vec();
        self
    }

    pub(crate) fn refusing_launches(
        mut self,
        layer: Option<Layer>,
        missing: &str,
        next_step: &str,
    ) -> Self {
        self.refusal = Some(LaunchError {
            layer,
            missing: missing.to_owned(),
            next_step: next_step.to_owned(),
        });
        self
    }

    pub(crate) fn slow_launches(mut self, delay: Duration) -> Self {
        self.launch_delay = delay;
        self
    }

    pub(crate) fn journal(mut self, journal: WorldJournal) -> Self {
        self.journal = journal;
        self
    }

    pub(crate) fn mode(mut self, mode: Option<Mode>) -> Self {
        self.mode = mode;
        self
    }

    /// Whose tools act on this tree, and are listed there: those of an earlier daemon, for one that comes after it.
    pub(crate) fn amid(mut self, tree: &MemoryTree, acts: &Acts) -> Self {
        (self.tree, self.acts) = (tree.clone(), acts.clone());
        self
    }

    pub(crate) fn bell(mut self, bell: Arc<dyn aaos_ports::Bell>) -> Self {
        self.bell = Some(bell);
        self
    }

    /// Whose clock begins so much later.
    pub(crate) fn later(mut self, span: Span) -> Self {
        self.later = span;
        self
    }

    /// A tool beside those of this world.
    pub(crate) fn tool(mut self, tool: Arc<dyn aaos_ports::AnyTool>) -> Self {
        self.more.push(tool);
        self
    }

    /// Changes the runtime's settings.
    pub(crate) fn configure(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.configure = Box::new(change);
        self
    }

    /// Changes what is submitted beside the goal.
    pub(crate) fn ask(mut self, change: impl FnOnce(&mut Submit) + Send + 'static) -> Self {
        self.ask = Box::new(change);
        self
    }

    /// Starts the runtime.
    pub(crate) async fn start(self) -> World {
        let (acts, tree, clock) = (self.acts, self.tree, Arc::new(FakeClock::default()));
        tree.put("/home/op", Node::Directory);
        tree.put("/runs", Node::Directory);
        let model = Arc::new(SlowModel {
            inner: FakeProvider::new(self.brain),
            delay: self.delay,
            retries: self.retries,
            billed: self.billed,
        });
        clock.advance(self.later);
        let mut tools = tools::all(&acts);
        tools.extend(self.more);
        let pages = Arc::new(self.pages);
        let http: Arc<dyn aaos_ports::Http> = pages.clone();
        let mut backend =
            FakeBackend::new(tools.clone(), tree.clone(), http).missing(&self.missing);
        if let Some(refusal) = self.refusal {
            backend = backend.refusing(refusal);
        }
        let backend = Arc::new(backend);
        let catalog = self.problems.into_iter().fold(
            FakeCatalog::new(self.roles).unwrap(),
            FakeCatalog::with_problem,
        );
        for role in catalog.roles() {
            assert_eq!(role.problems(), Vec::<String>::new(), "{}", role.name);
        }
        // Ids of a second daemon on the same journal differ from those of the first.
        let ids = FakeIds::default();
        for _ in 0..self.journal.events().len() * 8 {
            aaos_ports::Ids::draw(&ids);
        }
        let named = |model: &str| ModelRef {
            provider: "fake".to_owned(),
            model: model.to_owned(),
        };
        let mut config = Config {
            runs_dir: "/runs".to_owned(),
            slots: NonZeroUsize::new(self.slots).unwrap(),
            workers_max: NonZeroUsize::new(self.workers).unwrap(),
            runs_of_one_max: aaos_runtime::RUNS_OPEN_MAX,
            version: "0".to_owned(),
            prices: "none".to_owned(),
            budget_operator_day: Default::default(),
            budget_day: Default::default(),
            approval_expires: Span::from_secs(3_600),
            effects_keyed: Vec::new(),
        };
        (self.configure)(&mut config);
        let deps = Deps {
            journal: Arc::new(self.journal.clone()),
            provider: model.clone(),
            models: Models {
                planner: named("quick"),
                worker: named("quick"),
                reasoner: named("deep"),
            },
            catalog: Arc::new(catalog),
            backend: Arc::new(SlowBackend {
                inner: Arc::clone(&backend),
                delay: self.launch_delay,
            }),
            tools,
            secrets: Arc::new(self.secrets),
            clock: clock.clone(),
            ids: Arc::new(ids),
            bell: self.bell,
            config,
        };
        let mut template = Submit {
            goal: String::new(),
            base: "/home/op".to_owned(),
            operator: 1000,
            profile: "default".to_owned(),
            grants: self
                .grants
                .iter()
                .map(|grant| grant.parse().unwrap())
                .collect(),
            budget: self.budget,
            role_budgets: Default::default(),
            park: false,
            approve: Vec::new(),
            mode: self.mode,
            model: None,
        };
        (self.ask)(&mut template);
        let runtime = Runtime::start(deps).await.expect("the runtime starts");
        World {
            runtime,
            journal: self.journal,
            model,
            tree,
            acts,
            backend,
            clock,
            pages,
            template,
        }
    }

    /// Starts the runtime and carries out one goal.
    pub(crate) async fn run(self) -> (World, Told) {
        let world = self.start().await;
        let told = world.run().await;
        (world, told)
    }
}

impl World {
    /// What a submission of this goal looks like here.
    pub(crate) fn goal(&self, goal: &str) -> Submit {
        Submit {
            goal: goal.to_owned(),
            ..self.template.clone()
        }
    }

    pub(crate) async fn submit(&self) -> RunId {
        self.runtime
            .submit(self.goal("do what the test says"))
            .await
            .expect("the goal is accepted")
    }

    /// Submits a goal and waits for its end.
    pub(crate) async fn run(&self) -> Told {
        let id = self.submit().await;
        self.end_of(id).await
    }

    /// Waits for the end of a run, and checks the laws of its journal.
    pub(crate) async fn end_of(&self, id: RunId) -> Told {
        let outcome = self.until(id, |kind| match kind {
            Kind::RunFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        });
        let outcome = outcome.await;
        while self.runtime.runs_open() > 0
            && self
                .runtime
                .view(None, 9)
                .await
                .unwrap()
                .iter()
                .any(|view| view.run == id && !view.state.is_final())
        {
            tokio::task::yield_now().await;
        }
        let events = self.events(id);
        laws::check(&events, &self.journal);
        let told = Told {
            id,
            events,
            outcome,
        };
        let view = self.view(id).await;
        assert_eq!(
            Some(&view),
            RunView::fold(&told.events).as_ref(),
            "the view is a fold of the journal"
        );
        match aaos_ports::History::replay(&*self.runtime, id).await {
            Ok(replayed) => assert_eq!(
                replayed.divergence, None,
                "carried out again, it is the same"
            ),
            Err(error) => assert!(matches!(error, GoalError::Invalid { .. }), "{error}"),
        }
        told
    }

    /// Waits until an event of the run is what `find` looks for.
    pub(crate) async fn until<T>(&self, id: RunId, mut find: impl FnMut(&Kind) -> Option<T>) -> T {
        let mut watch = self.runtime.watch(id, Seq(0));
        let found = async {
            loop {
                match watch.next().await {
                    Some(Ok(aaos_ports::WatchItem::Event(event))) => {
                        if let Some(found) = find(&event.kind) {
                            return found;
                        }
                    }
                    other => assert!(matches!(other, Some(Ok(_))), "the watch ended: {other:?}"),
                }
            }
        };
        match tokio::time::timeout(LONG, found).await {
            Ok(found) => found,
            Err(_) => panic!("it never happened: {:#?}", self.kinds(id)),
        }
    }

    /// The run's own grant, as it is written.
    pub(crate) async fn grant(&self, id: RunId, written: &str) -> GrantId {
        let live = self.runtime.grants(id).await.unwrap();
        let found = live
            .iter()
            .find(|live| live.agent.is_none() && live.capability.to_string() == written);
        found
            .unwrap_or_else(|| panic!("{written} is not granted: {live:#?}"))
            .grant
    }

    pub(crate) async fn view(&self, id: RunId) -> RunView {
        self.runtime.view(Some(id), 1).await.unwrap().remove(0)
    }

    pub(crate) fn events(&self, id: RunId) -> Vec<Event> {
        self.journal
            .events()
            .into_iter()
            .filter(|event| event.subject.run == Some(id))
            .collect()
    }

    pub(crate) fn kinds(&self, id: RunId) -> Vec<Kind> {
        self.events(id)
            .into_iter()
            .map(|event| event.kind)
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.model.inner.requests()
    }

    /// Requests for a plan, in order.
    pub(crate) fn plan_requests(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| matches!(request.purpose, Purpose::Plan { .. }));
        requests
    }
}

impl Told {
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.events.iter().map(|event| &event.kind)
    }

    pub(crate) fn has(&self, wanted: impl Fn(&Kind) -> bool) -> bool {
        self.kinds().any(wanted)
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Kind) -> bool) -> usize {
        self.kinds().filter(|kind| wanted(kind)).count()
    }

    /// Where the first such event is.
    pub(crate) fn at(&self, wanted: impl Fn(&Kind) -> bool) -> usize {
        self.kinds()
            .position(wanted)
            .unwrap_or_else(|| panic!("no such event: {:#?}", self.tags()))
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.kinds().map(aaos_testkit::journal::tag).collect()
    }

    /// The text it ended with.
    pub(crate) fn text(&self) -> &str {
        match &self.outcome {
            Outcome::Succeeded {
                output: Value::Text { text },
            } => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// Why it failed.
    pub(crate) fn failure(&self) -> &Failure {
        match &self.outcome {
            Outcome::Failed { failure } => failure,
            other => panic!("it succeeded: {other:?}"),
        }
    }

    /// The first refusal for this limit: what is allowed, used and wanted.
    pub(crate) fn refused(&self, kind: LimitKind) -> (u64, u64, u64) {
        let found = self.kinds().find_map(|event| match event {
            Kind::BudgetRefused {
                limit,
                allowed,
                used,
                wanted,
            } if *limit == kind => Some((*allowed, *used, *wanted)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("nothing was refused for {kind:?}: {:#?}", self.tags()))
    }

    pub(crate) fn started(&self, id: &str) -> usize {
        self.at(
            |kind| matches!(kind, Kind::SubtaskStarted { subtask, .. } if subtask.as_str() == id),
        )
    }

    pub(crate) fn completed(&self, id: &str) -> usize {
        self.at(
            |kind| matches!(kind, Kind::SubtaskCompleted { subtask, .. } if subtask.as_str() == id),
        )
    }

    pub(crate) fn starts(&self, id: &str) -> usize {
        self.count(
            |kind| matches!(kind, Kind::SubtaskStarted { subtask, .. } if subtask.as_str() == id),
        )
    }

    pub(crate) fn subtask_failure(&self, id: &str) -> &Failure {
        let found = self.kinds().find_map(|kind| match kind {
            Kind::SubtaskCompleted {
                subtask,
                outcome: Outcome::Failed { failure },
            } if subtask.as_str() == id => Some(failure),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{id} did not fail"))
    }
}

/// What the tools told the model in its last exchange.
pub(crate) fn last_results(request: &Request) -> Vec<ToolResult> {
    match request.messages.last() {
        Some(Message::Tools { results }) => results.clone(),
        other => panic!("no tool results: {other:?}"),
    }
}

/// Everything the model is shown in a request.
pub(crate) fn shown(request: &Request) -> String {
    format!(
        "{}\n{}",
        request.system,
        serde_json::to_string(&request.messages).unwrap()
    )
}
