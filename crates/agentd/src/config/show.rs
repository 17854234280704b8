//! The configuration as people see it: every value with its origin, keys as `…`; and its fingerprint.

use super::{Config, Origin, Setting};
use aaos_core::model::ModelClass;
use serde::{Deserialize, Serialize};

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
        lines.setting(
            "config",
            &paths.config.value.display().to_string(),
            &paths.config.origin,
        );
        lines.setting(
            "state_dir",
            &paths.state.value.display().to_string(),
            &paths.state.origin,
        );
        lines.setting(
            "socket",
            &paths.socket.value.display().to_string(),
            &paths.socket.origin,
        );
        self.show_search(&mut lines);
        self.effective(&mut lines);
        lines.0
    }

    /// Where the daemon found programs when it started. Not part of what tells daemons apart: the variable differs from
    /// one shell to the next, and a daemon that has runs in hand is not to be replaced for that.
    fn show_search(&self, lines: &mut Lines) {
        let toolchain = &self.confinement.toolchain;
        lines.paths("search_path", &toolchain.path);
        let homes = [
            ("cargo_home", &toolchain.cargo_home),
            ("rustup_home", &toolchain.rustup_home),
        ];
        for (key, home) in homes {
            if let Some(home) = home {
                lines.path(key, home);
            }
        }
    }

    /// What a daemon would do differently under other settings, places left out.
    fn effective(&self, lines: &mut Lines) {
        if let Some(roles) = &self.paths.roles {
            lines.setting(
                "roles_dir",
                &roles.value.display().to_string(),
                &roles.origin,
            );
        }
        lines.text("backend", &self.backend);
        self.show_confinement(lines);
        self.show_models(lines);
        for (name, profile) in &self.profiles {
            let list = |grants: &[String]| {
                grants
                    .iter()
                    .map(|grant| format!("{grant:?}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            lines.setting(
                &format!("profiles.{name}.grants"),
                &format!("[{}]", list(&profile.value.grants)),
                &profile.origin,
            );
            if !profile.value.deny.is_empty() {
                lines.setting(
                    &format!("profiles.{name}.deny"),
                    &format!("[{}]", list(&profile.value.deny)),
                    &profile.origin,
                );
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
        if let Some(file) = &self.sinks.file {
            lines.setting(
                "sinks.file",
                &file.value.display().to_string(),
                &file.origin,
            );
        }
        if let Some(prices) = &self.prices {
            lines.setting(
                "prices",
                &format!("blake3 {}", blake3::hash(prices.value.as_bytes()).to_hex()),
                &prices.origin,
            );
        }
    }

    fn show_confinement(&self, lines: &mut Lines) {
        let confinement = &self.confinement;
        let names = confinement
            .require
            .value
            .iter()
            .map(|layer| format!("{:?}", layer.name()));
        let names = names.collect::<Vec<_>>().join(", ");
        lines.setting(
            "confinement.require",
            &format!("[{names}]"),
            &confinement.require.origin,
        );
        lines.path("confinement.worker", &confinement.worker);
        lines.path("confinement.egress", &confinement.egress);
        lines.text("confinement.pool", &confinement.pool);
        if let Some(drill) = &confinement.drill {
            lines.text("confinement.drill", drill);
        }
        lines.paths("confinement.toolchain", &confinement.toolchain.extra);
        for (name, secret) in &self.secrets {
            lines.text(&format!("secrets.{name}"), secret);
        }
    }

    fn show_models(&self, lines: &mut Lines) {
        for (name, provider) in &self.providers {
            lines.text(&format!("providers.{name}.kind"), &provider.kind);
            for (key, setting) in [("base_url", &provider.base_url), ("model", &provider.model)] {
                if let Some(setting) = setting {
                    lines.text(&format!("providers.{name}.{key}"), setting);
                }
            }
            if let Some(file) = &provider.file {
                lines.setting(
                    &format!("providers.{name}.file"),
                    &file.value.display().to_string(),
                    &file.origin,
                );
            }
            if let Some(patience) = &provider.patience {
                let seconds = patience.value.millis() / 1_000;
                lines.setting(
                    &format!("providers.{name}.patience"),
                    &format!("{seconds}s"),
                    &patience.origin,
                );
            }
            if let Some(key) = &provider.key {
                lines.text(&format!("providers.{name}.key"), key);
            }
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
            (
                "wall_clock",
                format!("{}s", budget.wall_clock.millis() / 1_000),
            ),
            ("calls", budget.calls.to_string()),
            ("agents", budget.agents.to_string()),
            ("depth", budget.depth.to_string()),
            ("fan_out", budget.fan_out.to_string()),
        ];
        for (key, value) in values {
            lines.setting(
                &format!("budget.{key}"),
                &value,
                self.budgets.origins.get(key).unwrap_or(&Origin::Default),
            );
        }
    }

    /// Limits beside a run's own.
    fn show_shares(&self, lines: &mut Lines) {
        let budgets = &self.budgets;
        lines.text("budget.at_limit", &budgets.at_limit);
        for (role, limits) in &budgets.roles {
            let values = [
                ("tokens", limits.value.tokens),
                ("calls", limits.value.calls),
                ("agents", limits.value.agents),
            ];
            for (key, value) in values.into_iter().filter(|(_, value)| *value < u64::MAX) {
                let key = format!("budget.roles.{role}.{key}");
                lines.setting(&key, &value.to_string(), &limits.origin);
            }
            if limits.value.cost.0 < u64::MAX {
                let key = format!("budget.roles.{role}.cost");
                lines.setting(&key, &usd(limits.value.cost), &limits.origin);
            }
        }
        for (name, day) in [("operator", &budgets.operator), ("day", &budgets.day)] {
            if let Some(tokens) = &day.tokens {
                lines.text(&format!("budget.{name}.tokens"), tokens);
            }
            if let Some(cost) = &day.cost {
                lines.setting(
                    &format!("budget.{name}.cost"),
                    &usd(cost.value),
                    &cost.origin,
                );
            }
        }
    }

    fn show_policy(&self, lines: &mut Lines) {
        let policy = &self.policy;
        lines.list("approvals.ask", &policy.ask);
        let expire = format!("{}s", policy.expire.value.millis() / 1_000);
        lines.setting("approvals.expire", &expire, &policy.expire.origin);
        lines.list("approvals.notify", &policy.notify);
        lines.list("effects.keyed", &policy.keyed);
        if let Some(days) = &policy.retention_days {
            lines.text("retention.days", days);
        }
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
fn usd(cost: aaos_core::money::MicroDollars) -> String {
    format!("{}usd", cost.to_string().trim_start_matches('$'))
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

    fn path(&mut self, key: &str, path: &Setting<std::path::PathBuf>) {
        self.setting(key, &path.value.display().to_string(), &path.origin);
    }

    fn paths(&mut self, key: &str, paths: &Setting<Vec<std::path::PathBuf>>) {
        let list = paths
            .value
            .iter()
            .map(|path| format!("{:?}", path.display().to_string()));
        let list = list.collect::<Vec<_>>().join(", ");
        self.setting(key, &format!("[{list}]"), &paths.origin);
    }

    fn list<T: std::fmt::Display>(&mut self, key: &str, setting: &Setting<Vec<T>>) {
        let texts = setting
            .value
            .iter()
            .map(|value| format!("{:?}", value.to_string()));
        let texts = texts.collect::<Vec<_>>().join(", ");
        self.setting(key, &format!("[{texts}]"), &setting.origin);
    }

    fn text<T: std::fmt::Display>(&mut self, key: &str, setting: &Setting<T>) {
        self.setting(key, &setting.value.to_string(), &setting.origin);
    }
}
