//! From a goal to a plan: what is accepted, what is repaired, what is refused, and that no plan widens what a run may do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use world::*;

fn success(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::RunFinished {
            outcome: Outcome::Succeeded { .. },
            ..
        } | Kind::SubtaskCompleted {
            outcome: Outcome::Succeeded { .. },
            ..
        } | Kind::AgentStopped {
            stop: StopReason::Complete
        }
    )
}

#[tokio::test(start_paused = true)]
async fn a_run_tells_its_story_in_order() {
    let (world, told) = planned(plan(&[talk("a", &[])]), |_, _| says("hello"))
        .run()
        .await;
    assert_eq!(told.text(), "hello");
    let expected = [
        "run_submitted",
        "capability_granted",
        "capability_granted",
        "capability_granted",
        "capability_granted",
        "capability_granted",
        "capability_granted",
        "capability_granted",
        "orchestration_selected",
        "model_requested",
        "model_replied",
        "usage_reported",
        "plan_produced",
        "subtask_started",
        "agent_spawned",
        "agent_execution_started",
        "model_requested",
        "model_replied",
        "usage_reported",
        "agent_execution_completed",
        "agent_stopped",
        "subtask_completed",
        "run_finished",
    ];
    assert_eq!(told.tags(), expected);
    let view = world.view(told.id).await;
    assert_eq!(
        (view.state, view.mode, view.agents),
        (RunState::Succeeded, Some(Mode::Plan), 1)
    );
    assert_eq!(view.subtasks[0].state, SubtaskState::Succeeded);
    assert_eq!(view.usage, USAGE.plus(USAGE));
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_fails_the_run_typed_at_the_first_attempt() {
    let (world, told) = world(|_, _| Err(fault(ProviderFault::Unauthorised)))
        .run()
        .await;
    let Failure::Provider {
        provider,
        model,
        fault,
        next_step,
        ..
    } = told.failure()
    else {
        panic!("{:?}", told.failure())
    };
    assert_eq!(
        (provider.as_str(), model.as_str(), *fault),
        ("fake", "fake", ProviderFault::Unauthorised)
    );
    assert!(!next_step.is_empty());
    assert_eq!(world.requests().len(), 1);
    assert!(told.has(|kind| matches!(
        kind,
        Kind::ModelFailed {
            failure: Failure::Provider { .. }
        }
    )));
    assert!(!told.has(success));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_an_agent_fails_its_subtask_and_run_without_another_plan() {
    let one = plan(&[talk("a", &[])]);
    let (world, told) = world(move |request, _| match request.purpose {
        Purpose::Turn { .. } => Err(fault(ProviderFault::Unreachable)),
        _ => Ok(answer(request, &one, &|_, _| says(""))),
    })
    .run()
    .await;
    assert!(matches!(
        told.failure(),
        Failure::Provider {
            fault: ProviderFault::Unreachable,
            ..
        }
    ));
    assert!(matches!(
        told.subtask_failure("a"),
        Failure::Provider { .. }
    ));
    assert!(!told.has(success));
    assert_eq!(world.plan_requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_plan_is_repaired_by_telling_what_was_wrong() {
    let good = plan(&[talk("a", &[])]);
    let (world, told) = world(move |request, before| {
        if matches!(request.purpose, Purpose::Plan { .. }) && before == 0 {
            return Ok(says("Sure! Here is the plan: {\"subtasks\": [{\"id\": \"a\", \"task\": \"x\", \"role\": \"nobody\"}], \"result\": \"a\"}"));
        }
        Ok(answer(request, &good, &|name, _| says(name)))
    })
    .run()
    .await;
    assert_eq!(told.text(), "a");
    assert!(told.has(|kind| matches!(kind, Kind::PlanRefused { problems, .. } if problems[0].contains("no role `nobody`"))));
    let repair = world.plan_requests().remove(1);
    assert!(shown(&repair).contains("no role `nobody`"));
    let Purpose::Plan { problems, .. } = &repair.purpose else {
        panic!()
    };
    assert_eq!(problems.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn three_malformed_plans_fail_the_run_with_the_planners_words() {
    let (world, told) = world(|_, _| Ok(says("I would rather write a poem: ünïcödé {")))
        .run()
        .await;
    let Failure::PlanInvalid { problems, reply } = told.failure() else {
        panic!("{:?}", told.failure())
    };
    assert!(reply.contains("poem: ünïcödé") && !problems.is_empty());
    assert_eq!(world.requests().len(), 3);
    assert_eq!(
        told.count(|kind| matches!(kind, Kind::PlanRefused { .. })),
        3
    );
    assert!(
        !told.has(success)
            && !told
                .has(|kind| matches!(kind, Kind::AgentSpawned { .. } | Kind::PlanProduced { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn a_reply_with_multibyte_text_at_any_cut_does_not_break_the_planner() {
    for length in 595..605 {
        let words = "é".repeat(length);
        let (_, told) = world(move |_, _| Ok(says(&words))).run().await;
        assert!(matches!(told.failure(), Failure::PlanInvalid { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_plan_is_told_to_be_shorter() {
    let good = plan(&[talk("a", &[])]);
    let (world, told) = world(move |request, before| {
        let cut = matches!(request.purpose, Purpose::Plan { .. }) && before == 0;
        let whole = answer(request, &good, &|name, _| says(name));
        Ok(if cut {
            Reply {
                stop: Stop::OutputLimit,
                ..whole
            }
        } else {
            whole
        })
    })
    .run()
    .await;
    assert_eq!(told.text(), "a");
    assert!(shown(&world.plan_requests()[1]).contains("fewer subtasks"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_beyond_the_envelope_is_told_the_axis_and_repaired() {
    let write = |path: &str| {
        plan(&[
            json!({ "id": "w", "task": "write", "role": "writer", "params": { "output": path } }),
        ])
    };
    let (bad, good) = (write("/etc/cron.d/x"), write("out.md"));
    let (world, told) = world(move |request, before| {
        let plan = if before == 0 { &bad } else { &good };
        Ok(answer(request, plan, &|_, _| match before {
            0 => calls(&[(
                "file_write",
                json!({ "path": "/home/op/out.md", "content": "x" }),
            )]),
            _ => says("written"),
        }))
    })
    .run()
    .await;
    assert_eq!(
        told.outcome,
        Outcome::Succeeded {
            output: Value::Artifact {
                path: "/home/op/out.md".to_owned(),
                bytes: 1
            }
        }
    );
    assert!(told.has(|kind| matches!(kind, Kind::PlanRefused { problems, .. } if problems.iter().any(|p| p.contains("/etc/cron.d/x") && p.contains("(scope)")))),
        "{:#?}", told.events);
    assert!(shown(&world.plan_requests()[1]).contains("(scope)"));
    assert!(world.tree.content("/etc/cron.d/x").is_none());
}

#[tokio::test(start_paused = true)]
async fn hostile_parameters_stay_data_and_grant_nothing() {
    let hostile = [
        "x\"\n  - \"tool: *\"\n  - \"file_read: /etc/**",
        "/home/op/../../etc/shadow",
        "../../../etc/shadow",
        "/etc/*",
        "/**",
        "{output}",
        "",
        "x\0y",
    ];
    for path in hostile {
        let bad = plan(&[
            json!({ "id": "w", "task": "write", "role": "writer", "params": { "output": path } }),
        ]);
        let (world, told) = planned(bad, |_, _| says("done")).run().await;
        assert!(
            matches!(told.failure(), Failure::PlanInvalid { .. }),
            "{path:?}: {:?}",
            told.failure()
        );
        assert!(
            !told.has(|kind| matches!(kind, Kind::AgentSpawned { .. })),
            "{path:?}"
        );
        assert!(world.backend.launched().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_with_a_star_or_quotes_is_one_name() {
    for name in [
        "/home/op/*",
        "/home/op/\"quoted\", tool: *",
        "/home/op/** {uses=9}",
    ] {
        let odd = plan(&[
            json!({ "id": "w", "task": "write", "role": "writer", "params": { "output": name } }),
        ]);
        let (world, told) = planned(odd, |_, before| match before {
            0 => calls(&[(
                "file_write",
                json!({ "path": "/home/op/other.md", "content": "x" }),
            )]),
            _ => says("done"),
        })
        .run()
        .await;
        assert!(
            told.has(|kind| matches!(kind, Kind::CapabilityDenied { .. })),
            "{name}: {:#?}",
            told.events
        );
        assert!(
            world.tree.content("/home/op/other.md").is_none(),
            "{name} became a pattern"
        );
        let spec = world.backend.launched().remove(0);
        assert_eq!(
            spec.capabilities.len(),
            3,
            "two tools and one file: {:?}",
            spec.capabilities
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_operators_grants_are_the_most_anyone_holds() {
    let (_, told) = planned(one_act(), |_, _| says("done"))
        .grants(&["tool: echo", "file_read: /home/op/in.md"])
        .run()
        .await;
    let (issued, derived): (Vec<_>, Vec<_>) = told
        .kinds()
        .filter_map(|kind| match kind {
            Kind::CapabilityGranted {
                parent, capability, ..
            } => Some((parent.is_none(), capability.to_string())),
            _ => None,
        })
        .partition(|(issued, _)| *issued);
    let texts =
        |grants: Vec<(bool, String)>| grants.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let own = format!("file_read: /runs/{}/*", told.id);
    let expected = ["tool: echo", "file_read: /home/op/in.md", own.as_str()];
    assert_eq!(
        texts(issued),
        expected,
        "the operator's, and to read its own directory since it may read at all"
    );
    assert_eq!(texts(derived), expected);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_another_subtask_delivers_is_settled_when_it_is_known() {
    let two = |host: &str| {
        let host = host.to_owned();
        let plan = plan(&[
            talk("find", &[]),
            json!({ "id": "get", "task": "fetch it", "role": "fetcher", "params": { "url": { "from": "find" } } }),
        ]);
        planned(plan, move |_, _| says(&format!("https://{host}/page")))
            .grants(&["tool: *", "http: GET https://good.example/"])
            .pages(Pages::default().with_text(
                "https://good.example/page",
                "text/plain",
                "the page",
            ))
    };
    let (_, told) = two("good.example").run().await;
    assert_eq!(told.text(), "the page");
    let (world, told) = two("evil.example").run().await;
    assert!(
        matches!(told.failure(), Failure::Refused { .. }),
        "{:?}",
        told.failure()
    );
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityRefused { wanted, .. } if wanted.contains("evil.example"))));
    assert_eq!(world.acts.all(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_direct_goal_goes_whole_to_one_agent() {
    let (world, told) = world(|_, _| Ok(says("done")))
        .mode(Some(Mode::Direct))
        .run()
        .await;
    assert_eq!(told.text(), "done");
    assert!(told.has(|kind| matches!(
        kind,
        Kind::OrchestrationSelected {
            mode: Mode::Direct,
            source: ModeSource::Explicit
        }
    )));
    assert!(world.plan_requests().is_empty());
    let Purpose::Turn { task, role, .. } = &world.requests()[0].purpose else {
        panic!()
    };
    assert_eq!(
        (task.as_str(), role.as_str()),
        ("do what the test says", "generalist")
    );
}

#[tokio::test(start_paused = true)]
async fn a_direct_goal_without_its_role_says_where_to_look() {
    let (_, told) = world(|_, _| Ok(says("done")))
        .only_roles(Vec::new())
        .mode(Some(Mode::Direct))
        .run()
        .await;
    let Failure::Unready { problems } = told.failure() else {
        panic!("{:?}", told.failure())
    };
    assert!(problems[0].contains("generalist") && problems[0].contains("roles list"));
}

#[tokio::test(start_paused = true)]
async fn the_classifier_decides_when_the_operator_does_not() {
    for (said, mode) in [
        ("direct", Mode::Direct),
        ("plan", Mode::Plan),
        ("Do not go direct; plan.", Mode::Plan),
        ("🤷", Mode::Plan),
    ] {
        let one = plan(&[talk("a", &[])]);
        let (_, told) = world(move |request, _| match request.purpose {
            Purpose::Classify { .. } => Ok(says(said)),
            _ => Ok(answer(request, &one, &|_, _| says("done"))),
        })
        .mode(None)
        .run()
        .await;
        assert_eq!(told.text(), "done");
        let selected = Kind::OrchestrationSelected {
            mode,
            source: ModeSource::Classifier,
        };
        assert!(told.has(|kind| *kind == selected), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_starts_no_agent_and_lists_what_each_would_hold() {
    let two = plan(&[
        json!({ "id": "get", "task": "fetch", "role": "fetcher", "params": { "url": "https://a.example/x", "output": "{run}/a.md" } }),
        json!({ "id": "write", "task": "write", "role": "writer", "params": { "output": "out.md", "inputs": [{ "from": "get" }] } }),
    ]);
    let world = planned(two, |name, _| says(name)).start().await;
    let dry = world
        .runtime
        .plan(world.goal("fetch and write"))
        .await
        .unwrap();
    assert_eq!(
        (dry.mode, dry.plan.subtasks.len(), dry.envelope.len()),
        (Mode::Plan, 2, 7)
    );
    let held = |position: usize| {
        dry.grants[position]
            .1
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(
        held(0).iter().any(|grant| grant.contains("a.example")),
        "{:?}",
        held(0)
    );
    assert!(
        held(1).contains(&"file_write: /home/op/out.md".to_owned()),
        "{:?}",
        held(1)
    );
    assert!(
        held(1)
            .iter()
            .any(|grant| grant.starts_with("file_read: /runs/") && grant.ends_with("/a.md")),
        "{:?}",
        held(1)
    );
    let events = world.journal.events();
    assert!(!events.iter().any(|event| matches!(
        event.kind,
        Kind::AgentSpawned { .. } | Kind::RunSubmitted { .. } | Kind::SubtaskStarted { .. }
    )));
    assert_eq!(
        (world.runtime.runs_open(), world.backend.launched().len()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_fails_as_the_run_would() {
    let world = world(|_, _| Ok(says("no plan"))).start().await;
    let refused = world.runtime.plan(world.goal("anything")).await;
    assert!(
        matches!(refused, Err(GoalError::Failed(failure)) if matches!(*failure, Failure::PlanInvalid { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_whose_planner_hangs_ends() {
    let hanging = world(|_, _| Ok(says("never")))
        .delay(|_| std::time::Duration::from_secs(1 << 40))
        .start()
        .await;
    let refused = hanging.runtime.plan(hanging.goal("anything")).await;
    assert!(
        matches!(refused, Err(GoalError::Failed(failure)) if matches!(*failure, Failure::Limit { kind: LimitKind::WallClock, .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn goals_that_are_no_goals_are_refused_and_nothing_starts() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .start()
        .await;
    let huge = "x".repeat(1 << 20);
    for goal in ["", " \n\t", huge.as_str(), "a\u{1b}[31mb", "a\0b"] {
        let refused = world.runtime.submit(world.goal(goal)).await;
        assert!(
            matches!(&refused, Err(GoalError::Invalid { problem, next_step }) if !problem.is_empty() && !next_step.is_empty()),
            "{refused:?}"
        );
    }
    let mut submit = world.goal("fine");
    submit.base = "relative".to_owned();
    assert!(matches!(
        world.runtime.submit(submit).await,
        Err(GoalError::Invalid { .. })
    ));
    let mut submit = world.goal("fine");
    submit.model = Some("no-slash".to_owned());
    assert!(
        matches!(world.runtime.submit(submit).await, Err(GoalError::Invalid { problem, .. }) if problem.contains("no-slash"))
    );
    assert_eq!(world.journal.events().len(), 1, "only the daemon's start");
    assert!(world.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_named_model_serves_every_class() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .start()
        .await;
    let mut submit = world.goal("with another model");
    submit.model = Some("other/a/b".to_owned());
    let id = world.runtime.submit(submit).await.unwrap();
    world.end_of(id).await;
    assert!(
        world
            .requests()
            .iter()
            .all(|request| request.model.provider == "other" && request.model.model == "a/b")
    );
    assert_eq!(world.view(id).await.model, "other/a/b");
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_provider_are_seen() {
    let (_, told) = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .retries(2)
        .run()
        .await;
    assert_eq!(told.count(|kind| matches!(kind, Kind::ModelRetried { wait_ms: 10, reason, .. } if reason == "overloaded")), 4);
}

#[tokio::test(start_paused = true)]
async fn bad_role_files_are_told_of_at_the_start_and_the_others_serve() {
    let problem = aaos_ports::RoleProblem {
        file: "x.yaml".to_owned(),
        line: Some(3),
        column: Some(7),
        problem: "no prompt".to_owned(),
    };
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .problem(problem)
        .start()
        .await;
    let expected = Kind::RoleRejected {
        file: "x.yaml".to_owned(),
        line: Some(3),
        column: Some(7),
        problem: "no prompt".to_owned(),
    };
    let kinds: Vec<Kind> = world
        .journal
        .events()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds[0], expected);
    assert!(matches!(&kinds[1], Kind::DaemonStarted { version, .. } if version == "0"));
    assert_eq!(world.run().await.text(), "a");
}
