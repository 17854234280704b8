//! The configuration as people see it: every value with its origin, keys as `…`; and its fingerprint.

use super::{Config, Origin, Setting};
use aaos_core::{model::ModelClass, money::MicroDollars, time::Span};
use serde::{Deserialize, Serialize};
use std::{fmt::Display, path::PathBuf};

/// One line of `agentd config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The key, as in the file.
    pub(crate) key: String,
    /// The value; `…` for a key.
    pub(crate) value: String,
    /// Where it came from.
    pub(crate) origin: String,
}

/// Digits of a fingerprint: 64 bits tell settings apart and give no key away.
const FINGERPRINT_DIGITS: usize = 16;

impl Config {
    /// Every value.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut lines = Lines(Vec::new());
        let paths = &self.paths;
        lines.path("config", &paths.config);
        lines.path("state_dir", &paths.state);
        lines.path("socket", &paths.socket);
        self.show_search(&mut lines);
        self.effective(&mut lines);
        lines.0
    }

    /// Where the daemon found programs when it started. Not part of what tells daemons apart: the variable differs from
    /// one shell to the next, and a daemon that has runs in hand is not to be replaced for that.
    fn show_search(&self, lines: &mut Lines) {
        let toolchain = &self.confinement.toolchain;
        lines.paths("search_path", &toolchain.path);
        lines.path("cargo_home", &toolchain.cargo_home);
        lines.path("rustup_home", &toolchain.rustup_home);
    }

    /// What a daemon would do differently under other settings, places left out.
    fn effective(&self, lines: &mut Lines) {
        lines.path("roles_dir", &self.paths.roles);
        lines.text("backend", &self.backend);
        self.show_confinement(lines);
        self.show_models(lines);
        for (name, profile) in &self.profiles {
            let (value, origin) = (&profile.value, &profile.origin);
            lines.list(&format!("profiles.{name}.grants"), &value.grants, origin);
            if !value.deny.is_empty() {
                lines.list(&format!("profiles.{name}.deny"), &value.deny, origin);
            }
        }
        self.show_budget(lines);
        self.show_shares(lines);
        self.show_policy(lines);
        lines.text("daemon.idle_exit_s", &self.idle_exit_s);
        lines.text("daemon.slots", &self.slots);
        lines.text("daemon.workers_max", &self.workers_max);
        lines.text("sinks.stdout", &self.sinks.stdout);
        lines.text("sinks.journald", &self.sinks.journald);
        lines.path("sinks.file", &self.sinks.file);
        if let Some(prices) = &self.prices {
            let digest = blake3::hash(prices.value.as_bytes()).to_hex();
            lines.setting("prices", &format!("blake3 {digest}"), &prices.origin);
        }
    }

    fn show_confinement(&self, lines: &mut Lines) {
        let confinement = &self.confinement;
        let required = confinement.require.value.iter().map(|layer| layer.name());
        let origin = &confinement.require.origin;
        lines.list("confinement.require", required, origin);
        lines.path("confinement.worker", &confinement.worker);
        lines.path("confinement.egress", &confinement.egress);
        lines.text("confinement.pool", &confinement.pool);
        lines.text("confinement.drill", &confinement.drill);
        lines.paths("confinement.toolchain", &confinement.toolchain.extra);
        for (name, secret) in &self.secrets {
            lines.text(&format!("secrets.{name}"), secret);
        }
    }

    fn show_models(&self, lines: &mut Lines) {
        for (name, provider) in &self.providers {
            let key = |key: &str| format!("providers.{name}.{key}");
            lines.text(&key("kind"), &provider.kind);
            lines.text(&key("base_url"), &provider.base_url);
            lines.text(&key("model"), &provider.model);
            lines.path(&key("file"), &provider.file);
            lines.seconds(&key("patience"), &provider.patience);
            lines.text(&key("key"), &provider.key);
        }
        for class in ModelClass::ALL {
            let key = format!("models.{}", class.as_str());
            match (self.models.get(&class), &self.provider_first) {
                (Some(model), _) => lines.text(&key, model),
                (None, Some(first)) => {
                    lines.setting(&key, &format!("{}/(its model)", first.value), &first.origin)
                }
                (None, None) => lines.setting(&key, "none (rules)", &Origin::Default),
            }
        }
    }

    fn show_budget(&self, lines: &mut Lines) {
        let budget = &self.budgets.run;
        let values = [
            ("tokens", budget.tokens.to_string()),
            ("cost", usd(budget.cost)),
            ("wall_clock", seconds(budget.wall_clock)),
            ("calls", budget.calls.to_string()),
            ("agents", budget.agents.to_string()),
            ("depth", budget.depth.to_string()),
            ("fan_out", budget.fan_out.to_string()),
        ];
        for (key, value) in values {
            let origin = self.budgets.origins.get(key).unwrap_or(&Origin::Default);
            lines.setting(&format!("budget.{key}"), &value, origin);
        }
    }

    /// Limits beside a run's own.
    fn show_shares(&self, lines: &mut Lines) {
        let budgets = &self.budgets;
        lines.text("budget.at_limit", &budgets.at_limit);
        for (role, limits) in &budgets.roles {
            let (value, whole) = (&limits.value, |number: u64| number.to_string());
            let values = [
                ("tokens", value.tokens, whole(value.tokens)),
                ("calls", value.calls, whole(value.calls)),
                ("agents", value.agents, whole(value.agents)),
                ("cost", value.cost.0, usd(value.cost)),
            ];
            for (key, _, said) in values.iter().filter(|(_, value, _)| *value < u64::MAX) {
                let key = format!("budget.roles.{role}.{key}");
                lines.setting(&key, said, &limits.origin);
            }
        }
        for (name, day) in [("operator", &budgets.operator), ("day", &budgets.day)] {
            lines.text(&format!("budget.{name}.tokens"), &day.tokens);
            let cost = |cost: &MicroDollars| usd(*cost);
            lines.each(&format!("budget.{name}.cost"), &day.cost, cost);
        }
    }

    fn show_policy(&self, lines: &mut Lines) {
        let policy = &self.policy;
        let (ask, notify, keyed) = (&policy.ask, &policy.notify, &policy.keyed);
        lines.list("approvals.ask", &ask.value, &ask.origin);
        lines.seconds("approvals.expire", &policy.expire);
        lines.list("approvals.notify", &notify.value, &notify.origin);
        lines.list("effects.keyed", &keyed.value, &keyed.origin);
        lines.text("retention.days", &policy.retention_days);
        lines.text("audit.sign_every_events", &policy.sign_every_events);
        lines.text("audit.sign_every_s", &policy.sign_every_s);
    }

    /// A digest of everything that changes what a daemon does, keys and the program itself included: two daemons
    /// with the same fingerprint behave the same.
    pub(crate) fn fingerprint(&self) -> String {
        let mut lines = Lines(Vec::new());
        self.effective(&mut lines);
        let mut digest = blake3::Hasher::new_derive_key("aaos agentd configuration fingerprint");
        let mut add = |text: &str| {
            digest.update(&(text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        };
        add(env!("CARGO_PKG_VERSION"));
        add(&self.programs);
        for line in &lines.0 {
            add(&line.key);
            add(&line.value);
        }
        for key in self
            .providers
            .values()
            .filter_map(|provider| provider.key.as_ref())
        {
            add(key.value.expose());
        }
        for secret in self.secrets.values() {
            add(secret.value.expose());
        }
        let hex = digest.finalize().to_hex();
        hex.chars().take(FINGERPRINT_DIGITS).collect()
    }
}

/// Money as it is written in the file.
fn usd(cost: MicroDollars) -> String {
    format!("{}usd", cost.to_string().trim_start_matches('$'))
}

/// A length of time as it is written in the file.
fn seconds(span: Span) -> String {
    format!("{}s", span.millis() / 1_000)
}

/// A setting that always has a value is shown as one that may have none is: each value there is, once.
impl<T> IntoIterator for &Setting<T> {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

struct Lines(Vec<Entry>);

impl Lines {
    fn setting(&mut self, key: &str, value: &str, origin: &Origin) {
        self.0.push(Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            origin: origin.to_string(),
        });
    }

    /// A value in these words; nothing for one that is not set.
    fn each<'a, T: 'a>(
        &mut self,
        key: &str,
        settings: impl IntoIterator<Item = &'a Setting<T>>,
        said: impl Fn(&T) -> String,
    ) {
        for setting in settings {
            self.setting(key, &said(&setting.value), &setting.origin);
        }
    }

    fn text<'a, T: Display + 'a>(
        &mut self,
        key: &str,
        settings: impl IntoIterator<Item = &'a Setting<T>>,
    ) {
        self.each(key, settings, T::to_string);
    }

    fn path<'a>(&mut self, key: &str, paths: impl IntoIterator<Item = &'a Setting<PathBuf>>) {
        self.each(key, paths, |path| path.display().to_string());
    }

    fn seconds<'a>(&mut self, key: &str, spans: impl IntoIterator<Item = &'a Setting<Span>>) {
        self.each(key, spans, |span| seconds(*span));
    }

    fn paths(&mut self, key: &str, paths: &Setting<Vec<PathBuf>>) {
        let shown = paths.value.iter().map(|path| path.display());
        self.list(key, shown, &paths.origin);
    }

    fn list(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>, origin: &Origin) {
        let quoted = values
            .into_iter()
            .map(|value| format!("{:?}", value.to_string()));
        let list = quoted.collect::<Vec<_>>().join(", ");
        self.setting(key, &format!("[{list}]"), origin);
    }
}
