//! How the findings are printed: as tables for people, as one object of JSON.

use super::{Report, trial::Trial};
use crate::cli::{
    CliError, Desk,
    words::{self, Paint},
};
use aaos_core::proof::Layer;
use aaos_sandbox::machine::{self, State};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How a layer stands in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stand {
    /// It was entered, and nothing got past it.
    Stands,
    /// It was not entered.
    Missing,
    /// It was entered, and a canary got past it.
    Passed,
    /// No worker came far enough to tell.
    Unknown,
}

impl Stand {
    fn of(trial: &Trial, layer: Layer) -> Self {
        let Some(proof) = &trial.proof else {
            let blamed = trial.refused.as_ref().and_then(|refused| refused.layer);
            return if blamed == Some(layer) {
                Self::Missing
            } else {
                Self::Unknown
            };
        };
        if !proof.layers.contains(&layer) {
            Self::Missing
        } else if proof.missing(&BTreeSet::from([layer])).is_empty() {
            Self::Stands
        } else {
            Self::Passed
        }
    }

    fn word(self, paint: Paint) -> String {
        match self {
            Self::Stands => paint.good("stands"),
            Self::Missing => paint.bad("missing"),
            Self::Passed => paint.bad("passed"),
            Self::Unknown => paint.dim("not seen"),
        }
    }
}

impl Report<'_> {
    /// Prints everything but the verdict.
    pub(super) fn show(&self, desk: &Desk) -> Result<(), CliError> {
        if desk.json() {
            return desk.say_json(&self.json());
        }
        self.setting(desk)?;
        self.machine(desk)?;
        self.layers(desk)?;
        self.canaries(desk)?;
        self.end(desk)
    }

    /// What is configured, and for whom this was tried.
    fn setting(&self, desk: &Desk) -> Result<(), CliError> {
        let paint = desk.paint();
        let uid = rustix::process::geteuid();
        let whom = if uid.is_root() {
            "root".to_owned()
        } else {
            format!("user number {}", uid.as_raw())
        };
        desk.say(format!(
            "backend  {} for {whom}",
            words::painted_backend(&self.config.backend.value, paint)
        ))?;
        for lowered in self.config.confinement.lowered() {
            desk.say(format!("         {}", paint.warn(&lowered)))?;
        }
        desk.say("")
    }

    fn machine(&self, desk: &Desk) -> Result<(), CliError> {
        let paint = desk.paint();
        let row = |finding: &machine::Finding| {
            let state = match finding.state {
                State::Good => paint.good("ok"),
                State::Weak => paint.warn("weak"),
                State::Bad => paint.bad("bad"),
            };
            [
                words::clean(&finding.what),
                state,
                words::one_line(&finding.found, 160),
            ]
        };
        desk.say_table(["MACHINE", "STATE", "FOUND"], self.findings.iter().map(row))?;
        for finding in &self.findings {
            if let Some(next_step) = &finding.next_step {
                desk.say(format!("  {}: {}", finding.what, words::clean(next_step)))?;
            }
        }
        desk.say("")
    }

    fn layers(&self, desk: &Desk) -> Result<(), CliError> {
        let paint = desk.paint();
        let required = |layer| self.config.confinement.require.value.contains(&layer);
        let row = |layer: Layer| {
            let seen = |trial: &Trial| Stand::of(trial, layer).word(paint);
            let mut row = vec![layer.name().to_owned()];
            row.push(
                if required(layer) {
                    "required"
                } else {
                    "wanted"
                }
                .to_owned(),
            );
            row.extend(self.profiled().map(seen));
            row
        };
        let head = ["LAYER", "", "PLAIN", "EXEC"];
        let rows = Layer::ALL.map(row).map(|row| {
            let mut cells = row.into_iter();
            head.map(|_| cells.next().unwrap_or_default())
        });
        desk.say_table(head, rows)?;
        for layer in Layer::ALL {
            let stands = self
                .profiled()
                .all(|trial| Stand::of(trial, layer) == Stand::Stands);
            if !stands && self.profiled().any(|trial| trial.proof.is_some()) {
                desk.say(format!("  {layer}: {}", self.why(layer)))?;
            }
        }
        desk.say("")
    }

    /// Why a layer is missing or passed, and the fix.
    fn why(&self, layer: Layer) -> String {
        let drilled = self.config.confinement.drill.as_ref();
        if drilled.is_some_and(|drill| drill.value == layer) {
            return "left out, as the drill asks".to_owned();
        }
        let blamed = self.trials.iter().find_map(|trial| {
            let refused = trial.refused.as_ref()?;
            (refused.layer == Some(layer))
                .then(|| format!("{}. {}", refused.missing, refused.next_step))
        });
        let passed = self.profiled().find_map(|trial| {
            let canaries = &trial.proof.as_ref()?.canaries;
            let canary = canaries
                .iter()
                .find(|one| one.layer == layer && !one.stopped)?;
            Some(format!(
                "`{}` was not stopped: {}",
                canary.tried, canary.found
            ))
        });
        let text = passed
            .or(blamed)
            .unwrap_or_else(|| machine::remedy(layer).to_owned());
        words::clean(&text)
    }

    fn canaries(&self, desk: &Desk) -> Result<(), CliError> {
        let paint = desk.paint();
        let rows = self.profiled().flat_map(|trial| {
            let canaries = trial.proof.iter().flat_map(|proof| &proof.canaries);
            canaries.map(|canary| {
                let result = if canary.stopped {
                    paint.good("stopped")
                } else {
                    paint.bad("GOT THROUGH")
                };
                [
                    trial.name.to_owned(),
                    words::one_line(&canary.tried, 80),
                    canary.layer.to_string(),
                    result,
                    words::one_line(&canary.found, 60),
                ]
            })
        });
        let rows: Vec<[String; 5]> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        desk.say_table(["PROFILE", "TRIED", "LAYER", "RESULT", "FOUND"], rows)?;
        desk.say("")
    }

    fn end(&self, desk: &Desk) -> Result<(), CliError> {
        let paint = desk.paint();
        self.trials.iter().try_for_each(|trial| {
            let end = match (&trial.refused, trial.elapsed_us) {
                (Some(refused), _) => {
                    let why = refused
                        .layer
                        .map_or_else(|| words::clean(&refused.missing), |layer| layer.to_string());
                    paint.bad(&format!("refused: {why}"))
                }
                (None, Some(elapsed)) => paint.good(&format!(
                    "starts, in {}.{} ms",
                    elapsed / 1_000,
                    elapsed % 1_000 / 100
                )),
                (None, None) => paint.good("starts"),
            };
            desk.say(format!("{:<7} {end}", trial.name))
        })
    }

    /// The trials that are about a profile.
    fn profiled(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.name != "egress")
    }

    fn json(&self) -> Value {
        let confinement = &self.config.confinement;
        json!({
            "ok": self.refusal().is_none(),
            "backend": self.config.backend.value,
            "uid": rustix::process::geteuid().as_raw(),
            "required": confinement.require.value,
            "lowered": confinement.lowered(),
            "drill": confinement.drill.as_ref().map(|drill| drill.value),
            "machine": self.findings,
            "trials": self.trials.iter().map(|trial| self.trial_json(trial)).collect::<Vec<_>>(),
        })
    }

    fn trial_json(&self, trial: &Trial) -> Value {
        let required = &self.config.confinement.require.value;
        let layer = |layer: Layer| {
            let stand = Stand::of(trial, layer);
            let why = (stand != Stand::Stands).then(|| self.why(layer));
            json!({ "layer": layer, "required": required.contains(&layer), "state": stand, "why": why })
        };
        let refused = trial.refused.as_ref().map(|refused| {
            json!({ "layer": refused.layer, "missing": refused.missing, "next_step": refused.next_step })
        });
        json!({
            "name": trial.name,
            "ok": trial.refused.is_none(),
            "refused": refused,
            "elapsed_us": trial.elapsed_us,
            "landlock_abi": trial.proof.as_ref().map(|proof| proof.landlock_abi),
            "layers": Layer::ALL.map(layer),
            "canaries": trial.proof.as_ref().map(|proof| &proof.canaries),
        })
    }
}
