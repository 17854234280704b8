//! A run whose agents start agents below agents, whose acts are final, and which asks its operator: killed anywhere, often,
//! it ends as if it had not been, and each act happens exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::{
    approval::{Answer, Settlement},
    capability::Need,
    event::WaitsFor,
    tool::{Effect, Power, Recovery, ToolSpec},
};
use aaos_ports::{
    AnyTool, Decisions, Happened, Pending, Powers, Question, ToolError, ToolOutput, power::Child,
};
use async_trait::async_trait;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};
use world::*;

const OPERATOR: u32 = 1000;

/// Words that were written for good, in order.
#[derive(Clone, Default)]
struct Stone(Arc<Mutex<Vec<String>>>);

impl Stone {
    fn words(&self) -> Vec<String> {
        let mut words = self.0.lock().unwrap().clone();
        words.sort();
        words
    }

    fn has(&self, word: &str) -> bool {
        self.0.lock().unwrap().iter().any(|known| known == word)
    }
}

/// Writes a word for good, in the middle of the time it takes.
struct Carve {
    spec: ToolSpec,
    stone: Stone,
}

fn carve(name: &str, recovery: Recovery, stone: &Stone) -> Arc<dyn AnyTool> {
    let spec = ToolSpec {
        name: name.parse().unwrap(),
        summary: "Writes a word for good.".to_owned(),
        input_schema: json!({ "type": "object" }),
        powers: vec![Power::Files],
        effect: Effect::Irreversible,
        recovery,
        deadline: Span::from_secs(600),
    };
    let stone = stone.clone();
    Arc::new(Carve { spec, stone })
}

#[async_trait]
impl AnyTool for Carve {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn needs(&self, _: &Json) -> Result<Vec<Need>, ToolError> {
        Ok(Vec::new())
    }

    async fn call(&self, input: Json, _: &Powers) -> Result<ToolOutput, ToolError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let word = input["word"].as_str().unwrap().to_owned();
        self.stone.0.lock().unwrap().push(word);
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(ToolOutput {
            json: json!("carved"),
        })
    }

    async fn consider(
        &self,
        question: Question,
        input: Json,
        _: &Powers,
    ) -> Result<ToolOutput, ToolError> {
        let json = match question {
            Question::Evidence => json!("seen"),
            Question::Happened { .. } => {
                let happened = if self.stone.has(input["word"].as_str().unwrap()) {
                    let output = json!("carved");
                    Happened::Yes { output }
                } else {
                    Happened::No
                };
                serde_json::to_value(happened).unwrap()
            }
            Question::Preview => Json::Null,
        };
        Ok(ToolOutput { json })
    }
}

/// Starts several agents at once.
struct Crew(ToolSpec);

fn crew() -> Arc<dyn AnyTool> {
    Arc::new(Crew(ToolSpec {
        name: "crew".parse().unwrap(),
        summary: "Starts agents.".to_owned(),
        input_schema: json!({ "type": "object" }),
        powers: vec![Power::Spawn],
        effect: Effect::Irreversible,
        recovery: Recovery::GoesOn,
        deadline: Span::from_secs(600),
    }))
}

#[async_trait]
impl AnyTool for Crew {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn needs(&self, input: &Json) -> Result<Vec<Need>, ToolError> {
        let tasks = input["tasks"].as_array().unwrap();
        let role = || Need::Spawn("generalist".parse().unwrap());
        Ok(tasks.iter().map(|_| role()).collect())
    }

    async fn call(&self, input: Json, powers: &Powers) -> Result<ToolOutput, ToolError> {
        let spawn = powers.spawn()?;
        let children = input["tasks"].as_array().unwrap().iter().map(|task| {
            spawn.spawn(Child {
                role: "generalist".parse().unwrap(),
                task: task.as_str().unwrap().to_owned(),
                params: BTreeMap::new(),
            })
        });
        let told = futures::future::join_all(children).await;
        let told = told.into_iter().map(|one| match one {
            Ok(value) => serde_json::to_value(value).unwrap(),
            Err(error) => json!(error.to_string()),
        });
        Ok(ToolOutput {
            json: told.collect(),
        })
    }
}

/// Three subtasks side by side: a crew of two, one of which starts another; two acts in order; one that is signed.
fn great_work(stone: &Stone) -> Builder {
    let subtasks = plan(&[
        act("crew"),
        act("pair"),
        act("signed"),
        talk("last", &["crew", "pair", "signed"]),
    ]);
    world(move |request, _| {
        Ok(answer(request, &subtasks, &|name, request| {
            let carved = |tool: &str, word: &str| (tool.to_owned(), json!({ "word": word }));
            let start = |tasks: &[&str]| ("crew".to_owned(), json!({ "tasks": tasks }));
            let (tool, input) = match (name, request.messages.len() / 2) {
                ("crew", 0) => start(&["left", "right"]),
                ("left", 0) => carved("look", "l1"),
                ("left", 1) => start(&["below"]),
                ("below", 0) => carved("trust", "b1"),
                ("right", 0) => carved("trust", "r1"),
                ("right", 1) => carved("look", "r2"),
                ("pair", 0) => carved("look", "p1"),
                ("pair", 1) => carved("trust", "p2"),
                ("signed", 0) => carved("sign", "s1"),
                ("signed", 1) => carved("sign", "s2"),
                (name, _) => return says(&format!("{name} is done")),
            };
            calls(&[(tool.as_str(), input)])
        }))
    })
    .tool(carve("look", Recovery::Looks, stone))
    .tool(carve("trust", Recovery::ByEffect, stone))
    .tool(carve("sign", Recovery::ByEffect, stone))
    .tool(crew())
    .ask(|submit| submit.approve = vec!["tool: sign".parse().unwrap()])
}

const WORDS: [&str; 8] = ["b1", "l1", "p1", "p2", "r1", "r2", "s1", "s2"];

/// Answers everything that waits, truthfully, until the run is over.
async fn operate(world: &World, stone: &Stone, id: RunId) {
    loop {
        match world.runtime.pending(Some(id)).await {
            Ok(pending) => {
                for one in pending {
                    answer_one(world, stone, id, one).await;
                }
            }
            // It is being put together again.
            Err(GoalError::Unavailable { .. }) => {}
            Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

async fn answer_one(world: &World, stone: &Stone, id: RunId, one: Pending) {
    let call = one.waiting.call;
    // Somebody who has just answered, or an act that has just ended, may be before this.
    let _ = match &one.waiting.what {
        WaitsFor::Approval { .. } => {
            let yes = Answer::Approve { always: None };
            world.runtime.answer(id, call, yes, OPERATOR).await
        }
        WaitsFor::Doubt { args_preview, .. } => {
            let input: Json = serde_json::from_str(args_preview).unwrap();
            let settlement = if stone.has(input["word"].as_str().unwrap()) {
                Settlement::Done
            } else {
                Settlement::Repeat
            };
            world.runtime.settle(id, call, settlement, OPERATOR).await
        }
    };
}

fn life<T>(of: impl Future<Output = T>) -> T {
    let daemon = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    daemon.block_on(of)
}

/// One daemon's life: until the journal has this many events, or the run is over.
fn live(journal: &WorldJournal, stone: &Stone, run: Option<RunId>, until: usize) -> RunId {
    life(async {
        journal.freeze_after(until);
        let living = async {
            let world = great_work(stone).journal(journal.clone()).start().await;
            let id = match run {
                Some(run) => run,
                None => world.submit().await,
            };
            let over = world.until(id, |kind| {
                matches!(kind, Kind::RunFinished { .. }).then_some(())
            });
            tokio::select! {
                () = operate(&world, stone, id) => {}
                () = over => {}
            }
            id
        };
        let killed = tokio::select! {
            biased;
            id = living => Some(id),
            () = journal.frozen() => None,
        };
        killed.or(run).unwrap_or_else(|| {
            let first = journal.events().into_iter();
            let mut runs = first.filter_map(|event| event.subject.run);
            runs.next().unwrap()
        })
    })
}

/// The last daemon's life.
fn ends(journal: &WorldJournal, stone: &Stone, id: RunId) -> Told {
    journal.thaw();
    life(async {
        let world = great_work(stone).journal(journal.clone()).start().await;
        let (told, ()) = tokio::join!(world.end_of(id), operate(&world, stone, id));
        told
    })
}

fn check(told: &Told, stone: &Stone, kills: &[usize]) {
    assert_eq!(told.text(), "last is done", "{kills:?}");
    assert_eq!(stone.words(), WORDS, "{kills:?}: {:#?}", told.tags());
    let finished = |kind: &Kind| matches!(kind, Kind::ToolResult { tool, success: true, .. } if tool != "crew");
    assert_eq!(told.count(finished), WORDS.len(), "{kills:?}");
    let begun = told.count(|kind| matches!(kind, Kind::AgentSpawned { .. }));
    let ended = told.count(|kind| {
        matches!(
            kind,
            Kind::AgentStopped {
                stop: StopReason::Complete
            }
        )
    });
    assert_eq!((begun, ended), (7, 7), "{kills:?}");
}

#[test]
fn wherever_a_run_is_killed_each_of_its_final_acts_happens_once() {
    let (journal, stone) = (WorldJournal::default(), Stone::default());
    let calm = live(&journal, &stone, None, usize::MAX);
    let told = ends(&journal, &stone, calm);
    check(&told, &stone, &[]);
    for events in (2..told.events.len()).step_by(2) {
        let (journal, stone) = (WorldJournal::default(), Stone::default());
        let id = live(&journal, &stone, None, events);
        journal.thaw();
        let told = ends(&journal, &stone, id);
        check(&told, &stone, &[events]);
    }
}

#[test]
fn however_often_a_run_is_killed_each_of_its_final_acts_happens_once() {
    for seed in 0..20_usize {
        let (journal, stone) = (WorldJournal::default(), Stone::default());
        let mut kills = vec![2 + seed * 7 % 120];
        let id = live(&journal, &stone, None, kills[0]);
        for step in 1..12 {
            journal.thaw();
            let next = journal.events().len() + 3 + (seed * 31 + step * 17) % 23;
            kills.push(next);
            live(&journal, &stone, Some(id), next);
        }
        let told = ends(&journal, &stone, id);
        check(&told, &stone, &kills);
    }
}

#[test]
fn whatever_the_journal_does_not_take_for_a_while_each_final_act_happens_once() {
    let (journal, stone) = (WorldJournal::default(), Stone::default());
    let calm = live(&journal, &stone, None, usize::MAX);
    let told = ends(&journal, &stone, calm);
    let mut tags = told.tags();
    tags.sort();
    tags.dedup();
    // Without the first there is no run.
    tags.retain(|tag| tag != "run_submitted");
    for (tag, seconds) in tags.iter().flat_map(|tag| [(tag, 0), (tag, 100)]) {
        let (journal, stone) = (WorldJournal::default(), Stone::default());
        let told = life(async {
            let world = great_work(&stone).journal(journal.clone()).start().await;
            if seconds == 0 {
                journal.break_at(tag, false);
            } else {
                journal.refuse(Some(tag));
            }
            let id = world.submit().await;
            let mending = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                journal.refuse(None);
            };
            let (told, (), ()) =
                tokio::join!(world.end_of(id), operate(&world, &stone, id), mending);
            told
        });
        assert_eq!(told.text(), "last is done", "{tag} {seconds}");
        assert_eq!(stone.words(), WORDS, "{tag} {seconds}: {:#?}", told.tags());
    }
}

#[test]
fn whenever_the_daemon_is_told_to_go_each_final_act_happens_once() {
    for events in (20..130).step_by(5) {
        let (journal, stone) = (WorldJournal::default(), Stone::default());
        let id = life(async {
            let world = great_work(&stone).journal(journal.clone()).start().await;
            let id = world.submit().await;
            let mut seen = 0;
            let reached = world.until(id, |kind| {
                seen += 1;
                let over = matches!(kind, Kind::RunFinished { .. });
                (seen == events || over).then_some(())
            });
            tokio::select! {
                () = reached => {}
                () = operate(&world, &stone, id) => {}
            }
            // Less than an act takes, now and then.
            let grace = Span::from_secs(events as u64 % 4);
            world.runtime.drain(grace, "SIGTERM").await;
            id
        });
        let told = ends(&journal, &stone, id);
        check(&told, &stone, &[events]);
    }
}

/// Acts that were begun, and of which nobody knows how they ended or what is to become of them.
fn out_of_sight(told: &Told) -> Vec<String> {
    let view = RunView::fold(&told.events).unwrap();
    let known = |event: &Event| {
        let of_call = |other: &&Event| other.subject.call == event.subject.call;
        let mut later = told.events.iter().filter(of_call);
        let unsettled = view.unsettled.iter();
        let mut unsettled = unsettled.map(|waiting| Some(waiting.call));
        later.any(|other| {
            matches!(
                other.kind,
                Kind::ToolResult { .. } | Kind::EffectSettled { .. }
            )
        }) || unsettled.any(|call| call == event.subject.call)
    };
    let acts = told.events.iter().filter_map(|event| match &event.kind {
        Kind::ToolInvoked {
            tool, args_preview, ..
        } if tool != "crew" && !known(event) => Some(args_preview.clone()),
        _ => None,
    });
    acts.collect()
}

#[test]
fn wherever_a_run_is_stopped_and_killed_meanwhile_no_final_act_is_out_of_sight() {
    let mut in_doubt = 0;
    for events in (20..120).step_by(4) {
        for more in [0, 1, 4, 9, 500] {
            let (journal, stone) = (WorldJournal::default(), Stone::default());
            let id = live(&journal, &stone, None, events);
            journal.thaw();
            life(async {
                let world = great_work(&stone).journal(journal.clone()).start().await;
                let resumed = |kind: &Kind| matches!(kind, Kind::RunResumed { .. }).then_some(());
                world.until(id, resumed).await;
                tokio::time::sleep(Duration::from_millis(events as u64 * 37 % 4_100)).await;
                let stopping = world.runtime.stop(id, OPERATOR).await;
                journal.freeze_after(journal.events().len() + more);
                let over = world.until(id, |kind| {
                    matches!(kind, Kind::RunFinished { .. }).then_some(())
                });
                tokio::select! {
                    () = over => {}
                    () = journal.frozen() => {}
                }
                assert!(stopping.is_ok());
            });
            let told = ends(&journal, &stone, id);
            assert_eq!(told.failure(), &Failure::Stopped, "{events} {more}");
            let words = stone.words();
            let mut once = words.clone();
            once.dedup();
            assert_eq!(words, once, "{events} {more}");
            let lost = out_of_sight(&told);
            assert_eq!(
                lost,
                Vec::<String>::new(),
                "{events} {more}: {:#?}",
                told.events
            );
            in_doubt += RunView::fold(&told.events).unwrap().unsettled.len();
        }
    }
    assert!(in_doubt > 20, "{in_doubt}");
}
