//! The laws of capabilities, held against generated ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use aaos_core::{
    approval::Rule,
    capability::{
        ArgScope, Capability, CapabilityTemplate, Charge, ExecScope, FileRight, HostScope,
        HttpScope, Limits, MemoryRight, NamePattern, NameScope, Need, PathScope, Rate, Refusal,
        Rendered, Resource, Schemes, Table, parse, parse_in,
    },
    confine::{Confinement, confinement},
    id::{AgentId, GrantId},
    money::MicroDollars,
    time::{Span, Timestamp},
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::select,
};
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

/// Few names, so that generated scopes and needs meet often; some of them hostile.
fn name() -> impl Strategy<Value = String> {
    let plain = select(vec!["a", "b", "ab", "mcp.a", "mcp.b"]).prop_map(str::to_owned);
    let odd = select(vec![
        "*", "**", "a*", "{a}", "\\", "\"", "a\nb", " ", "a ", "{uses=1}", "é", "..a", "~", "in",
        "[", ",", "=", "\u{85}",
    ])
    .prop_map(str::to_owned);
    prop_oneof![6 => plain, 1 => odd, 1 => "[a-z*{}\\\\ ,\"]{1,4}"]
}

fn file_name() -> impl Strategy<Value = String> {
    name().prop_filter("a file name", |name| {
        name != "." && name != ".." && !name.contains(['/', '\0'])
    })
}

fn path() -> impl Strategy<Value = String> {
    vec(file_name(), 0..4).prop_map(|names| format!("/{}", names.join("/")))
}

/// Patterns as text, wildcards included.
fn pattern() -> impl Strategy<Value = PathScope> {
    let component = prop_oneof![4 => select(vec!["a", "b", "ab"]), 2 => Just("*"), 1 => Just("**"), 2 => select(vec!["a*", "*b", "a*b", "*a*"])];
    vec(component, 0..5).prop_map(|parts| format!("/{}", parts.join("/")).parse().unwrap())
}

fn path_scope() -> impl Strategy<Value = PathScope> {
    prop_oneof![
        1 => path().prop_map(|path| PathScope::exact(&path).unwrap()),
        1 => path().prop_map(|path| PathScope::tree(&path).unwrap()),
        3 => pattern(),
    ]
}

fn name_pattern() -> impl Strategy<Value = NamePattern> {
    prop_oneof![
        name().prop_map(NamePattern::Exact),
        prop_oneof![Just(String::new()), name()].prop_map(NamePattern::Prefix)
    ]
}

fn name_scope() -> impl Strategy<Value = NameScope> {
    vec(name_pattern(), 1..3).prop_map(NameScope::list)
}

fn host_text() -> impl Strategy<Value = &'static str> {
    select(vec![
        "example.com",
        "api.example.com",
        "a.b.example.com",
        "evilexample.com",
        "localhost",
        "x.localhost",
        "127.0.0.1",
        "10.0.0.1",
        "8.8.8.8",
        "[::1]",
        "[2606:4700::1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
    ])
}

fn host() -> impl Strategy<Value = HostScope> {
    prop_oneof![
        Just(HostScope::Public),
        host_text().prop_filter_map("a host that can be granted", |host| HostScope::exact(host)
            .ok()),
        select(vec!["example.com", "b.example.com", "com", "localhost"])
            .prop_map(|domain| HostScope::beneath(domain).unwrap()),
    ]
}

fn methods() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set(
        select(vec!["GET", "HEAD", "POST", "CONNECT"]).prop_map(str::to_owned),
        1..3,
    )
}

fn http() -> impl Strategy<Value = HttpScope> {
    let schemes = select(vec![Schemes::Http, Schemes::Https, Schemes::Both]);
    let port = option::of(select(vec![80, 443, 8080]));
    let prefix = vec(
        select(vec!["a", "b", "%20", "%2A"]).prop_map(str::to_owned),
        0..3,
    );
    let secrets = btree_set(
        select(vec!["a", "token_2", "using"]).prop_map(str::to_owned),
        0..3,
    );
    (schemes, host(), port, methods(), prefix, secrets).prop_map(
        |(schemes, host, port, methods, path_prefix, secrets)| {
            let scope = HttpScope {
                schemes,
                host,
                port,
                methods,
                path_prefix,
                secrets: BTreeSet::new(),
            };
            // No text names secrets where they would not be kept.
            let secrets = if scope.keeps_secrets() {
                secrets
            } else {
                BTreeSet::new()
            };
            HttpScope { secrets, ..scope }
        },
    )
}

fn arguments() -> impl Strategy<Value = Vec<String>> {
    vec(name(), 0..3)
}

fn exec() -> impl Strategy<Value = ExecScope> {
    let beginnings = btree_set(vec(name(), 1..3), 0..3);
    let args = prop_oneof![Just(ArgScope::Any), beginnings.prop_map(ArgScope::OneOf)];
    (name(), args, path_scope()).prop_map(|(program, args, workspace)| ExecScope {
        program,
        args,
        workspace,
    })
}

fn file_right() -> impl Strategy<Value = FileRight> {
    select(vec![FileRight::Read, FileRight::Write])
}

fn memory_right() -> impl Strategy<Value = MemoryRight> {
    select(vec![MemoryRight::Read, MemoryRight::Write])
}

fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        3 => (file_right(), path_scope()).prop_map(|(right, scope)| Resource::Files { right, scope }),
        3 => http().prop_map(Resource::Http),
        2 => exec().prop_map(Resource::Exec),
        1 => name_scope().prop_map(Resource::Tool),
        1 => name_scope().prop_map(Resource::Spawn),
        1 => name_scope().prop_map(Resource::Message),
        1 => (memory_right(), name_scope()).prop_map(|(right, scope)| Resource::Memory { right, scope }),
        1 => (select(vec!["a", "b.c"]), btree_map(name(), name(), 0..3))
            .prop_map(|(name, params)| Resource::Custom { name: name.to_owned(), params }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let rate = (
        1..4_u32,
        select(vec![1_u64, 999, 1_000_000, 1_500_000, 3_000_000]),
    )
        .prop_map(|(count, per)| Rate {
            count,
            per: Span::from_micros(per),
        });
    let moment = prop_oneof![
        0..4_000_000_u64,
        Just(u64::MAX),
        Just(1_900_000_000_123_456)
    ]
    .prop_map(Timestamp::from_micros);
    let amount = || prop_oneof![0..4_u64, Just(1 << 20), Just(u64::MAX), any::<u64>()];
    (
        option::of(amount()),
        option::of(rate),
        option::of(moment),
        option::of(amount()),
        option::of(amount().prop_map(MicroDollars)),
    )
        .prop_map(|(uses, rate, expires, bytes, money)| Limits {
            uses,
            rate,
            expires,
            bytes,
            money,
        })
}

fn capability() -> impl Strategy<Value = Capability> {
    let limits = prop_oneof![Just(Limits::NONE), limits()];
    (resource(), limits).prop_map(|(resource, limits)| Capability { resource, limits })
}

fn url() -> impl Strategy<Value = url::Url> {
    let path = select(vec![
        "",
        "a",
        "a/b",
        "a/../b",
        "%20/x",
        "*/a",
        "a/%2e%2e/b",
        "a%2Fb",
    ]);
    (
        select(vec!["http", "https"]),
        host_text(),
        option::of(select(vec![80_u16, 443, 8080])),
        path,
    )
        .prop_map(|(scheme, host, port, path)| {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            url::Url::parse(&format!("{scheme}://{host}{port}/{path}")).unwrap()
        })
}

fn need() -> impl Strategy<Value = Need> {
    prop_oneof![
        3 => (file_right(), path()).prop_map(|(right, path)| Need::File { right, path }),
        2 => (file_right(), path()).prop_map(|(right, path)| Need::FileTree { right, path }),
        3 => (select(vec!["GET", "HEAD", "POST", "CONNECT"]), url()).prop_map(|(method, url)| Need::Http { method: method.to_owned(), url }),
        2 => (name(), arguments(), path()).prop_map(|(program, args, workspace)| Need::Exec { program, args, workspace }),
        1 => select(vec!["a", "b", "mcp.a"]).prop_map(|name| Need::Tool(name.parse().unwrap())),
        1 => select(vec!["a", "b", "mcp.a"]).prop_map(|name| Need::Spawn(name.parse().unwrap())),
        1 => name().prop_map(Need::Message),
        1 => (memory_right(), name()).prop_map(|(right, scope)| Need::Memory { right, scope }),
    ]
}

/// A capability that allows this need and little else.
fn fitting(need: &Need) -> Option<Capability> {
    need.as_resource().ok().map(Capability::of)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn covering_is_reflexive(one in capability()) {
        prop_assert!(one.covers(&one));
    }

    #[test]
    fn covering_is_transitive(one in capability(), two in capability(), three in capability()) {
        prop_assert!(!(one.covers(&two) && two.covers(&three)) || one.covers(&three));
    }

    #[test]
    fn path_covering_is_transitive(one in pattern(), two in pattern(), three in pattern()) {
        prop_assert!(!(one.covers(&two) && two.covers(&three)) || one.covers(&three), "{one} {two} {three}");
    }

    #[test]
    fn limits_covering_is_transitive(one in limits(), two in limits(), three in limits()) {
        prop_assert!(!(one.covers(&two) && two.covers(&three)) || one.covers(&three));
    }

    #[test]
    fn two_that_cover_each_other_allow_the_same(one in capability(), two in capability(), act in need()) {
        if one.covers(&two) && two.covers(&one) {
            prop_assert_eq!(one.allows(&act), two.allows(&act));
        }
    }

    #[test]
    fn an_excess_is_named_exactly_when_one_does_not_cover_the_other(one in capability(), two in capability()) {
        prop_assert_eq!(one.covers(&two), one.excess(&two).is_none());
        prop_assert_eq!(one.resource.covers(&two.resource), Capability::of(one.resource.clone()).excess(&Capability::of(two.resource)).is_none());
    }

    #[test]
    fn attenuation_never_amplifies(parent in capability(), wanted in capability(), other in capability(), act in need()) {
        if let Ok(child) = parent.attenuate(wanted) {
            prop_assert!(parent.covers(&child));
            prop_assert!(!child.covers(&other) || parent.covers(&other));
            prop_assert!(!child.allows(&act) || parent.allows(&act));
        }
    }

    #[test]
    fn what_covers_allows_all_the_covered_allows(held in capability(), act in need()) {
        let Some(exact) = fitting(&act) else { return Ok(()) };
        if held.resource.covers(&exact.resource) {
            // The host of a need no grant reaches is compared like any other, and allowed by none.
            prop_assert!(!exact.allows(&act) || held.allows(&act), "{held} {act}");
        }
        if held.allows(&act) && !matches!(act, Need::Http { .. }) {
            prop_assert!(held.resource.covers(&exact.resource), "{held} {act}");
        }
    }

    #[test]
    fn a_rule_asks_about_every_act_that_what_it_names_allows(held in capability(), act in need()) {
        let rule = Rule::Capability(Box::new(held.clone()));
        prop_assert!(!held.allows(&act) || rule.applies_to(&act), "{held} {act}");
    }

    #[test]
    fn a_scope_meets_every_directory_above_what_it_matches(scope in path_scope(), sample in path()) {
        let mut above = sample.as_str();
        while scope.matches(&sample) {
            prop_assert!(scope.meets(above), "{scope} {above}");
            match above.rsplit_once('/') {
                Some((shorter, _)) if !shorter.is_empty() => above = shorter,
                _ => break,
            }
        }
    }

    #[test]
    fn a_path_scope_covers_only_what_it_matches(held in path_scope(), wanted in path_scope(), sample in path()) {
        if held.covers(&wanted) {
            prop_assert!(!wanted.matches(&sample) || held.matches(&sample), "{held} {wanted} {sample}");
        }
    }

    #[test]
    fn coverage_is_complete_for_literals_and_trees(held in path(), wanted in path()) {
        let (tree, exact) = (PathScope::tree(&held).unwrap(), PathScope::exact(&wanted).unwrap());
        prop_assert_eq!(tree.covers(&exact), tree.matches(&wanted));
        prop_assert_eq!(tree.covers(&PathScope::tree(&wanted).unwrap()), tree.matches(&wanted));
        prop_assert_eq!(PathScope::exact(&held).unwrap().covers(&exact), exact.matches(&held));
    }

    #[test]
    fn the_grammar_reads_what_it_writes(one in capability()) {
        let text = one.to_string();
        prop_assert_eq!(parse(&text).map_err(|error| format!("{text}: {error}")), Ok(one.clone()));
        prop_assert_eq!(serde_json::from_str::<Capability>(&serde_json::to_string(&one).unwrap()).unwrap(), one.clone());
        let template = text.parse::<CapabilityTemplate>().unwrap();
        prop_assert_eq!(&template.to_string().parse::<CapabilityTemplate>().unwrap(), &template);
        prop_assert_eq!(template.render(&|_| None, "/run").unwrap(), vec![Rendered::Capability(one)]);
    }

    #[test]
    fn no_text_makes_the_grammar_panic(text in "\\PC{0,40}", kind in select(vec!["file_read: ", "http: GET ", "exec: ", "tool: ", "custom.a: ", "network: ", ""])) {
        let line = format!("{kind}{text}");
        for result in [parse(&line), parse_in(&line, "/base")] {
            match result {
                Ok(capability) => prop_assert_eq!(parse(&capability.to_string()).unwrap(), capability),
                Err(error) => prop_assert!(error.at <= line.len()),
            }
        }
        let _ = line.parse::<CapabilityTemplate>();
    }

    #[test]
    fn a_template_value_is_never_read_as_grammar(value in name(), more in path(), text in "\\PC{1,12}") {
        for value in [value, text] {
            let params = |_: &str| Some(vec![value.clone()]);
            if let Ok(rendered) = "tool: [{it}, b]".parse::<CapabilityTemplate>().unwrap().render(&params, "/run") {
                let scope = NameScope::list([NamePattern::Exact(value.clone()), NamePattern::Exact("b".to_owned())]);
                prop_assert_eq!(rendered, vec![Rendered::Capability(Capability::of(Resource::Tool(scope)))]);
            }
            let full = format!("{more}/{value}");
            let params = |_: &str| Some(vec![full.clone()]);
            if let Ok(rendered) = "file_write: {out}/**".parse::<CapabilityTemplate>().unwrap().render(&params, "/run") {
                let tree = Resource::Files { right: FileRight::Write, scope: PathScope::tree(&full).unwrap() };
                prop_assert_eq!(rendered, vec![Rendered::Capability(Capability::of(tree))]);
            }
            let params = |_: &str| Some(vec![value.clone()]);
            if let Ok(rendered) = "file_write: {run}/{out}".parse::<CapabilityTemplate>().unwrap().render(&params, "/run") {
                let [Rendered::Capability(Capability { resource: Resource::Files { scope, .. }, .. })] = rendered.as_slice() else {
                    return Err(TestCaseError::fail("one capability"));
                };
                prop_assert!(scope.is_literal() && PathScope::tree("/run").unwrap().covers(scope));
            }
        }
    }

    #[test]
    fn a_confinement_permits_only_what_some_capability_covers(held in vec(capability(), 0..6), act in need()) {
        let confinement = confinement(&held);
        let covered = |resource: Resource| held.iter().any(|held| held.resource.covers(&resource));
        for (right, scopes) in [(FileRight::Read, &confinement.read), (FileRight::Write, &confinement.write)] {
            let within = scopes.iter().all(|scope| covered(Resource::Files { right, scope: scope.clone() }));
            prop_assert!(within);
        }
        prop_assert!(confinement.exec.iter().all(|scope| covered(Resource::Exec(scope.clone()))));
        prop_assert!(confinement.http.iter().all(|scope| covered(Resource::Http(scope.clone()))));
        prop_assert!(!confinement.permits(&act) || held.iter().any(|held| held.allows(&act)));
        let seen_by_the_kernel = matches!(act, Need::File { .. } | Need::FileTree { .. } | Need::Http { .. } | Need::Exec { .. });
        prop_assert!(!seen_by_the_kernel || confinement.permits(&act) || !held.iter().any(|held| held.allows(&act)));
        let text = serde_json::to_string(&confinement).unwrap();
        prop_assert_eq!(serde_json::from_str::<Confinement>(&text).unwrap(), confinement);
    }
}

fn grant(number: u64) -> GrantId {
    GrantId::from_drawn(number)
}

fn agent(number: u64) -> AgentId {
    AgentId::from_drawn(number)
}

fn tool(text: &str) -> Capability {
    parse(text).unwrap()
}

fn call() -> Need {
    Need::Tool("echo".parse().unwrap())
}

/// A tree of grants of one tool: grant `n` is held by agent `n` and made from a lower one.
fn tree(root: &str, parents: &[usize], limits: &[Option<u64>]) -> Table {
    let mut table = Table::new();
    table.issue(grant(0), agent(0), tool(root)).unwrap();
    for (position, parent) in parents.iter().enumerate() {
        let (id, parent) = (position as u64 + 1, (parent % (position + 1)) as u64);
        let uses = limits.get(position).copied().flatten();
        let wanted = Capability {
            limits: Limits {
                uses,
                ..Limits::NONE
            },
            ..tool("tool: echo")
        };
        // An excess of uses is refused; then the grant is made without asking for any of its own.
        let made = table.derive(grant(parent), grant(id), agent(id), wanted, NOW);
        if made.is_err() {
            table
                .derive(grant(parent), grant(id), agent(id), tool("tool: echo"), NOW)
                .unwrap();
        }
    }
    table
}

/// Whether `grant` comes from `above`, by the numbers the tree was made with.
fn comes_from(table: &Table, id: u64, above: u64) -> bool {
    std::iter::successors(Some(grant(id)), |id| table.parent(*id)).any(|id| id == grant(above))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn revocation_reaches_every_descendant_and_nothing_else(parents in vec(0..30_usize, 1..30), chosen in 0..30_usize) {
        let mut table = tree("tool: *", &parents, &[]);
        let chosen = (chosen % (parents.len() + 1)) as u64;
        let descendants: Vec<bool> = (0..=parents.len() as u64).map(|id| comes_from(&table, id, chosen)).collect();
        let ended: BTreeSet<GrantId> = table.revoke(grant(chosen)).into_iter().map(|(id, _)| id).collect();
        for (id, below) in (0_u64..).zip(descendants) {
            prop_assert_eq!(ended.contains(&grant(id)), below);
            prop_assert_eq!(table.live(grant(id), NOW), !below);
            prop_assert_eq!(table.authorize(agent(id), &call(), &Charge::USE, NOW).is_ok(), !below);
            prop_assert_eq!(table.held(agent(id), NOW).is_empty(), below);
        }
    }

    #[test]
    fn forgetting_a_holder_ends_what_came_from_it(parents in vec(0..30_usize, 1..30), chosen in 0..30_usize) {
        let mut table = tree("tool: *", &parents, &[]);
        let chosen = (chosen % (parents.len() + 1)) as u64;
        let descendants: Vec<bool> = (0..=parents.len() as u64).map(|id| comes_from(&table, id, chosen)).collect();
        table.forget(agent(chosen));
        prop_assert_eq!(table.len(), parents.len());
        for (id, below) in (0_u64..).zip(descendants) {
            prop_assert_eq!(table.live(grant(id), NOW), !below);
        }
    }

    #[test]
    fn uses_never_multiply_however_grants_are_passed_on(
        total in 0..6_u64,
        parents in vec(0..12_usize, 0..12),
        limits in vec(option::of(0..4_u64), 12),
        callers in vec(0..13_u64, 0..60),
    ) {
        let mut table = Table::new();
        table.issue(grant(0), agent(0), Capability { limits: Limits { uses: Some(total), ..Limits::NONE }, ..tool("tool: *") }).unwrap();
        let mut spent = 0;
        let mut made = 0;
        for caller in callers {
            // Passing on goes on between the uses, from whatever can still be passed on.
            if let Some(parent) = parents.get(made as usize) {
                let uses = limits.get(made as usize).copied().flatten();
                let wanted = Capability { limits: Limits { uses, ..Limits::NONE }, ..tool("tool: echo") };
                made += 1;
                let _ = table.derive(grant(*parent as u64 % made), grant(made), agent(made), wanted, NOW);
            }
            if table.authorize(agent(caller), &call(), &Charge::USE, NOW).is_ok() {
                spent += 1;
            }
        }
        prop_assert!(spent <= total);
        let mut rest = 0;
        while table.authorize(agent(0), &call(), &Charge::USE, NOW).is_ok() {
            rest += 1;
        }
        prop_assert_eq!(rest, total - spent, "what nobody used is left to the first holder");
    }

    #[test]
    fn bytes_and_money_never_multiply(parents in vec(0..8_usize, 0..8), acts in vec((0..9_u64, 0..40_u64), 0..40)) {
        let mut table = tree("tool: * {bytes=100, money=0.000100usd}", &parents, &[]);
        let mut moved = 0;
        for (caller, amount) in acts {
            let charge = Charge { bytes: amount, money: MicroDollars(amount) };
            if table.authorize(agent(caller), &call(), &charge, NOW).is_ok() {
                moved += amount;
            }
        }
        prop_assert!(moved <= 100);
        let rest = 100 - moved;
        let mut takes = |bytes| table.authorize(agent(0), &call(), &Charge { bytes, ..Charge::USE }, NOW).is_ok();
        prop_assert!(!takes(rest + 1));
        prop_assert_eq!(takes(rest), rest > 0, "what nobody moved is left to the first holder");
    }

    #[test]
    fn what_has_expired_authorises_nothing(parents in vec(0..8_usize, 0..8), caller in 0..9_u64, late in 0..100_u64) {
        let mut table = tree("tool: * {until=2000000}", &parents, &[]);
        let now = Timestamp::from_micros(2_000_000 + late);
        prop_assert!(table.authorize(agent(caller), &call(), &Charge::USE, now).is_err());
        prop_assert!(!table.live(grant(caller), now));
        prop_assert!(table.held(agent(caller), now).is_empty());
        prop_assert_eq!(table.derive(grant(0), grant(99), agent(99), tool("tool: echo"), now), Err(Refusal::Expired));
    }

    #[test]
    fn no_stretch_of_time_holds_more_uses_than_the_rate(parents in vec(0..4_usize, 0..4), acts in vec((0..5_u64, 0..500_u64), 0..80)) {
        let mut table = tree("tool: * {rate=3/1ms}", &parents, &[]);
        let mut now = 0;
        let mut allowed = Vec::new();
        for (caller, later) in acts {
            now += later;
            let moment = Timestamp::from_micros(now);
            match table.authorize(agent(caller), &call(), &Charge::USE, moment) {
                Ok(_) => allowed.push(now),
                Err(Refusal::RateExceeded { retry_after, .. }) => prop_assert!(retry_after <= Span::from_millis(1) && retry_after > Span::ZERO),
                Err(_) => {}
            }
        }
        prop_assert!(allowed.windows(4).all(|uses| uses[3] - uses[0] >= 1_000));
    }

    #[test]
    fn a_refused_act_charges_nothing_and_a_check_never_does(held in capability(), act in need()) {
        let mut table = Table::new();
        table.issue(grant(0), agent(0), held.clone()).unwrap();
        let before = format!("{table:?}");
        let checked = table.check(agent(0), &act, NOW);
        prop_assert_eq!(&format!("{table:?}"), &before);
        let charged = table.authorize(agent(0), &act, &Charge::USE, NOW);
        prop_assert_eq!(&checked, &charged);
        prop_assert!(charged.is_err() || held.allows(&act));
        if charged.is_err() {
            prop_assert_eq!(format!("{table:?}"), before);
        }
    }
}

#[test]
fn a_grant_made_from_another_reaches_no_further() {
    let mut table = Table::new();
    table
        .issue(grant(1), agent(1), tool("file_read: /data/*"))
        .unwrap();
    let beyond = table
        .derive(grant(1), grant(2), agent(2), tool("file_read: /etc/*"), NOW)
        .unwrap_err();
    assert_eq!(beyond.axis(), "scope");
    assert!(
        beyond.to_string().contains("/data/*") && beyond.to_string().contains("/etc/*"),
        "{beyond}"
    );
    assert_eq!(table.len(), 1);
}

#[test]
fn an_exhausted_grant_is_not_passed_on() {
    let mut table = Table::new();
    table
        .issue(grant(1), agent(1), tool("tool: echo {uses=1}"))
        .unwrap();
    assert_eq!(
        table.authorize(agent(1), &call(), &Charge::USE, NOW),
        Ok(grant(1))
    );
    let spent = Refusal::UsesExhausted { limit: 1 };
    assert_eq!(
        table.authorize(agent(1), &call(), &Charge::USE, NOW),
        Err(spent.clone())
    );
    assert_eq!(
        table.derive(grant(1), grant(2), agent(2), tool("tool: echo"), NOW),
        Err(spent.clone())
    );
    assert_eq!(
        table.find_parent(agent(1), &tool("tool: echo"), NOW),
        Err(spent)
    );
}

#[test]
fn a_taken_id_leaves_the_grant_that_has_it_alone() {
    let mut table = Table::new();
    table.issue(grant(1), agent(1), tool("tool: echo")).unwrap();
    assert_eq!(
        table.issue(grant(1), agent(2), tool("tool: *")),
        Err(Refusal::GrantTaken)
    );
    assert_eq!(
        table.derive(grant(1), grant(1), agent(2), tool("tool: echo"), NOW),
        Err(Refusal::GrantTaken)
    );
    assert_eq!(
        (table.held(agent(1), NOW), table.held(agent(2), NOW)),
        (vec![(grant(1), tool("tool: echo"))], vec![])
    );
}

#[test]
fn a_refusal_names_the_nearest_grant() {
    let mut table = Table::new();
    table
        .issue(
            grant(1),
            agent(1),
            tool("http: GET https://api.example.com/v1"),
        )
        .unwrap();
    table
        .issue(grant(2), agent(1), tool("file_read: /data/*"))
        .unwrap();
    let post = Need::Http {
        method: "POST".to_owned(),
        url: "https://api.example.com/v1/x".parse().unwrap(),
    };
    assert_eq!(
        table.check(agent(1), &post, NOW).unwrap_err().axis(),
        "method"
    );
    assert_eq!(
        table
            .check(agent(1), &Need::read("/etc/shadow"), NOW)
            .unwrap_err()
            .axis(),
        "scope"
    );
    assert_eq!(
        table.check(agent(1), &call(), NOW).unwrap_err().axis(),
        "kind"
    );
    let refusal = table
        .check(agent(9), &Need::read("/etc/shadow"), NOW)
        .unwrap_err();
    assert_eq!(
        serde_json::from_str::<Refusal>(&serde_json::to_string(&refusal).unwrap()).unwrap(),
        refusal
    );
}

#[test]
fn a_child_is_given_only_secrets_its_parent_names() {
    let held = tool("http: GET https://api.example.com using [a, b]");
    let fewer = held.attenuate(tool("http: GET https://api.example.com/v1 using a"));
    assert_eq!(fewer.unwrap().secrets().collect::<Vec<_>>(), ["a"]);
    let none = held.attenuate(tool("http: GET https://api.example.com"));
    assert_eq!(none.unwrap().secrets().count(), 0);
    let other = held
        .attenuate(tool("http: GET https://api.example.com using c"))
        .unwrap_err();
    assert_eq!(other.axis(), "secrets");
    assert_eq!(
        other.to_string(),
        "what is held comes with the secrets [a,b], not with the secrets [c]"
    );
    let public = tool("http: GET *");
    assert!(!public.covers(&held) && public.resource.reaches(&held.resource));
}

#[test]
fn a_request_is_charged_to_the_grant_that_names_secrets() {
    let mut table = Table::new();
    table
        .issue(grant(1), agent(1), tool("http: GET *"))
        .unwrap();
    let naming = tool("http: GET https://api.example.com using a {uses=1}");
    table.issue(grant(2), agent(1), naming.clone()).unwrap();
    let need = Need::get("https://api.example.com/x".parse().unwrap());
    let found = table.authorize(agent(1), &need, &Charge::USE, NOW).unwrap();
    assert_eq!(table.capability(found), Some(&naming));
    assert_eq!(
        table.authorize(agent(1), &need, &Charge::USE, NOW),
        Ok(grant(1))
    );
}

#[test]
fn bytes_settled_after_the_act_stop_the_next_one() {
    let mut table = tree("tool: * {bytes=10}", &[0], &[]);
    let child = table
        .authorize(
            agent(1),
            &call(),
            &Charge {
                bytes: 4,
                ..Charge::USE
            },
            NOW,
        )
        .unwrap();
    assert_eq!(child, grant(1));
    assert_eq!(table.settle_bytes(child, 6), Ok(()));
    assert_eq!(
        table.authorize(agent(0), &call(), &Charge::USE, NOW),
        Err(Refusal::BytesExhausted { limit: 10 })
    );
    assert_eq!(
        table.settle_bytes(child, 1),
        Err(Refusal::BytesExhausted { limit: 10 })
    );
    assert_eq!(table.settle_bytes(grant(9), 1), Err(Refusal::UnknownGrant));
}

#[test]
fn grants_are_passed_on_only_so_far() {
    let mut table = Table::new();
    table.issue(grant(0), agent(0), tool("tool: *")).unwrap();
    let refused = (1..100).find_map(|id| {
        table
            .derive(grant(id - 1), grant(id), agent(id), tool("tool: *"), NOW)
            .err()
    });
    assert_eq!(refused.map(|refusal| refusal.axis()), Some("depth"));
}

#[test]
fn the_map_yaml_makes_of_an_unquoted_line_means_the_same() {
    for (json, text) in [
        (r#"{"file_read": "/data/*"}"#, "file_read: /data/*"),
        (
            r#"{"spawn_child": ["fetcher", "mcp.*"]}"#,
            "spawn: [fetcher, mcp.*]",
        ),
        (r#"{"web_search": null}"#, "http: GET *"),
        (r#"{"tool": "echo {uses=3}"}"#, "tool: echo {uses=3}"),
    ] {
        assert_eq!(
            serde_json::from_str::<Capability>(json).unwrap(),
            tool(text)
        );
    }
    for bad in [
        "{}",
        r#"{"tool": "a", "spawn": "b"}"#,
        r#"{"tool": {"a": 1}}"#,
        r#"{"tool": ["a, *"]}"#,
        r#"{"name": "x"}"#,
        "3",
        "null",
    ] {
        assert!(serde_json::from_str::<Capability>(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_spelling_of_the_manifests_is_understood() {
    for (text, normal) in [
        ("web_search", "http: GET *"),
        ("network: Example.COM.", "http: GET example.com"),
        (
            "http: get, HEAD HTTPS://API.example.com:443/v1/",
            "http: GET,HEAD https://api.example.com/v1",
        ),
        ("http: GET https://*", "http: GET https://*"),
        (
            "http: GET http://127.0.0.1:8080/*",
            "http: GET http://127.0.0.1:8080",
        ),
        (
            "http: GET https://api.example.com/v1/**",
            "http: GET https://api.example.com/v1",
        ),
        (
            "http: GET bücher.example",
            "http: GET xn--bcher-kva.example",
        ),
        ("http: GET [::1]:8080", "http: GET [::1]:8080"),
        (
            "http: GET https://api.example.com/v1/  using  github_token {uses=2}",
            "http: GET https://api.example.com/v1 using github_token {uses=2}",
        ),
        (
            "http: POST https://*.example.com using [b, a,a]",
            "http: POST https://*.example.com using [a, b]",
        ),
        (
            "http: GET localhost:8080 using [a]",
            "http: GET localhost:8080 using a",
        ),
        (
            "cargo_run: /ws/*",
            "exec: cargo [bench, build, check, clippy, doc, fmt, metadata, run, test, tree] in /ws/*",
        ),
        ("git_commit: /ws", "exec: git [add, commit, log] in /ws"),
        (
            "exec: cargo [test --workspace, check] in /ws",
            "exec: cargo [check, test --workspace] in /ws",
        ),
        ("spawn_child: [b, a]", "spawn: [a, b]"),
        ("message_send: *", "message: *"),
        ("file_read: //data/./x//", "file_read: /data/x"),
        ("file_read: /data/**", "file_read: /data/*"),
        (
            "custom.deploy: stage=test, to=\"a b\"",
            "custom.deploy: stage=test, to=\"a b\"",
        ),
        ("custom.deploy", "custom.deploy"),
        (
            "tool: echo {uses=3, rate=10/1m, until=1970-01-01T00:00:02Z, bytes=1MiB, money=0.50usd}",
            "tool: echo {uses=3, rate=10/60s, until=1970-01-01T00:00:02Z, bytes=1MiB, money=0.50usd}",
        ),
    ] {
        assert_eq!(
            parse(text).map(|one| one.to_string()),
            Ok(normal.to_owned())
        );
    }
}

#[test]
fn what_is_not_a_grant_is_an_error_where_it_stops_being_one() {
    for (text, at) in [
        ("", 0),
        ("file_raed: /data", 0),
        ("file_read", 9),
        ("file_read: ", 11),
        ("file_read: data", 11),
        ("file_read: ~/x", 11),
        ("file_read: /a/../b", 14),
        ("file_read: /a/b**", 14),
        ("file_read: /{workspace}", 12),
        ("file_read: /a {uses=x}", 15),
        ("tool: a b", 8),
        ("tool: a\nfile_read: /", 7),
        ("tool: [a", 8),
        ("tool: a {uses=1} x", 17),
        ("tool: a {uses=1, uses=2}", 17),
        ("http: GET https://u@h/", 19),
        ("http: GET ftp://h/", 10),
        ("http: GET https://h/?q", 20),
        ("http: https://h", 11),
        ("http: GET 169.254.169.254", 10),
        ("http: GET h:0", 10),
        ("http: GET https://h with a", 20),
        ("http: GET https://h using", 25),
        ("http: GET https://h using A", 26),
        ("http: GET https://h using 1a", 26),
        ("http: GET https://h using [a b]", 29),
        ("http: GET https://h using a, b", 27),
        ("http: GET https://h using [a,b,c,d,e,f,g,h,i]", 43),
        ("http: GET h using a", 12),
        ("http: GET https://* using a", 20),
        ("network: https://h using a", 19),
        ("web_search using a", 0),
        ("exec: cargo /ws", 12),
        ("inherit: file_read", 0),
        ("custom.: a=b", 0),
        ("custom.x: a", 10),
        ("tool: a {rate=0/1s}", 9),
        ("file_read: /a\u{1}", 13),
        ("file_read: /a\\q", 13),
        ("network: a, b", 0),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
    }
    assert!(parse(&format!("file_read: /{}", "a/".repeat(40_000))).is_err());
}

#[test]
fn relative_paths_are_taken_from_the_directory_given() {
    for (text, normal) in [
        ("file_read: ./x", "file_read: /base/x"),
        ("file_read: x/*", "file_read: /base/x/*"),
        ("file_write: .", "file_write: /base"),
        ("file_read: ../y", "file_read: /y"),
        ("file_read: *", "file_read: /base/*"),
        ("file_read: /abs", "file_read: /abs"),
        ("exec: make in .", "exec: make in /base"),
    ] {
        assert_eq!(
            parse_in(text, "/base").map(|one| one.to_string()),
            Ok(normal.to_owned())
        );
    }
    assert!(
        parse_in("file_read: ../../x", "/base").is_err()
            && parse_in("file_read: ~/x", "/base").is_err()
    );
    assert_eq!(
        parse_in("file_read: x", "/od*d").unwrap(),
        parse("file_read: /od\\*d/x").unwrap()
    );
}

fn render(
    template: &str,
    values: &[&str],
) -> Result<Vec<String>, aaos_core::capability::TemplateError> {
    let params = |name: &str| {
        (name != "unset").then(|| values.iter().map(|value| (*value).to_owned()).collect())
    };
    let rendered = template
        .parse::<CapabilityTemplate>()
        .unwrap()
        .render(&params, "/runs/7")?;
    Ok(rendered
        .into_iter()
        .map(|one| {
            if let Rendered::Capability(one) = one {
                one.to_string()
            } else {
                "inherited".to_owned()
            }
        })
        .collect())
}

#[test]
fn templates_put_values_in_typed_places() {
    for (template, values, normal) in [
        (
            "file_read: {inputs.*}",
            vec!["/a", "/b*"],
            vec!["file_read: /a", "file_read: /b\\*"],
        ),
        ("file_read: {inputs.*}", vec![], vec![]),
        (
            "file_write: {run}/out/{name}.md",
            vec!["re*port"],
            vec!["file_write: /runs/7/out/re\\*port.md"],
        ),
        (
            "file_write: {workspace}/* {uses=2}",
            vec!["/ws"],
            vec!["file_write: /ws/* {uses=2}"],
        ),
        (
            "http: GET {url}",
            vec!["https://Example.com/a?b#c"],
            vec!["http: GET https://example.com"],
        ),
        (
            "network: {url}",
            vec!["http://127.0.0.1:9/x"],
            vec!["http: GET http://127.0.0.1:9"],
        ),
        (
            "network: a.example, b.example",
            vec![],
            vec!["http: GET a.example", "http: GET b.example"],
        ),
        (
            "spawn: {roles.*}",
            vec!["a", "b, *"],
            vec!["spawn: [a, \"b, *\"]"],
        ),
        (
            "cargo_run: {workspace}",
            vec!["/ws"],
            vec![
                "exec: cargo [bench, build, check, clippy, doc, fmt, metadata, run, test, tree] in /ws",
            ],
        ),
        ("inherit: file_read", vec![], vec!["inherited"]),
    ] {
        assert_eq!(
            render(template, &values),
            Ok(normal.into_iter().map(str::to_owned).collect()),
            "{template}"
        );
        let read = template.parse::<CapabilityTemplate>().unwrap();
        assert_eq!(
            read.to_string().parse::<CapabilityTemplate>().unwrap(),
            read
        );
    }
    assert_eq!(
        "file_write: {run}/{a}/x-{b}"
            .parse::<CapabilityTemplate>()
            .unwrap()
            .params(),
        ["a", "b"]
    );
}

#[test]
fn a_value_that_does_not_fit_its_place_is_refused() {
    for (template, value) in [
        ("file_write: {out}", "relative"),
        ("file_write: {out}", "/a/../b"),
        ("file_write: {out}", ""),
        ("file_write: {out}", "/a\0"),
        ("file_write: {run}/{out}", "/etc/passwd"),
        ("file_write: {run}/{out}", "../x"),
        ("file_write: {run}/{out}", ""),
        ("file_write: {run}/x{out}", "/../y"),
        ("file_write: {run}/.{out}", "."),
        ("http: GET {url}", "file:///etc/passwd"),
        ("http: GET {url}", "https://u:p@h/"),
        ("http: GET {url}", "http://169.254.169.254/"),
        ("http: GET {url}", "*"),
        ("tool: {name}", ""),
    ] {
        assert!(render(template, &[value]).is_err(), "{template} {value}");
    }
    let unset = render("file_read: {unset}", &[]).unwrap_err();
    assert_eq!(
        unset,
        aaos_core::capability::TemplateError::Unset {
            param: "unset".to_owned()
        }
    );
    assert!(render("file_read: {one}", &["/a", "/b"]).is_err());
    for bad in [
        "file_read: {a",
        "file_read: {a.*}/{b.*}",
        "file_read: {run.*}",
        "file_read: x{a}",
        "inherit: everything",
        "http: GET http://{host}/",
        "http: GET {url} using a",
    ] {
        assert!(bad.parse::<CapabilityTemplate>().is_err(), "{bad}");
    }
}

#[test]
fn a_refusal_names_the_nearest_grant_wherever_it_stands() {
    let near_to_far = [
        "http: GET http://api.example.com/v2",
        "http: POST http://api.example.com/v1",
        "http: GET http://api.example.com:8080/v1",
        "http: GET http://example.com/v1",
        "http: GET https://api.example.com/v1",
        "file_read: /v1/**",
    ];
    let axes = ["path_prefix", "method", "port", "host", "scheme", "kind"];
    let need = Need::Http {
        method: "GET".to_owned(),
        url: "http://api.example.com/v1/x".parse().unwrap(),
    };
    for (first, axis) in axes.iter().enumerate() {
        let nearest_first = near_to_far.iter().skip(first);
        let nearest_last = nearest_first.clone().rev();
        let orders: [Vec<&&str>; 2] = [nearest_first.collect(), nearest_last.collect()];
        for order in orders {
            let mut table = Table::new();
            for (number, text) in order.iter().enumerate() {
                let id = GrantId::from_drawn(number as u64);
                table.issue(id, agent(1), tool(text)).unwrap();
            }
            let refusal = table.check(agent(1), &need, NOW).unwrap_err();
            assert_eq!(refusal.axis(), *axis, "{order:?}");
        }
    }
}
