//! The model ladder: which class of model tries a failed subtask next. Knows nothing of models' names.

use crate::{
    model::ModelClass,
    role::{Role, Signal},
};
use std::collections::BTreeSet;

/// In which order signals are looked at: the surest sign that the model was too weak comes first.
const ORDER: [Signal; 3] = [
    Signal::ReplanRetry,
    Signal::MaxTokens,
    Signal::ToolRepeatGuard,
];

/// The rung after `rung` and the signal that moves there; none at the ladder's end, or when nothing that happened is
/// in the role's `escalate_on`. Rung 0 is the role's own class.
#[must_use]
pub fn next_rung(role: &Role, rung: usize, signals: &BTreeSet<Signal>) -> Option<(usize, Signal)> {
    let moves = |signal: &Signal| signals.contains(signal) && role.escalate_on.contains(signal);
    let signal = ORDER.into_iter().find(moves)?;
    (rung < role.ladder.len()).then_some((rung.saturating_add(1), signal))
}

/// The class at a rung; the last one for a rung beyond the ladder's end.
#[must_use]
pub fn class_at(role: &Role, rung: usize) -> ModelClass {
    let Some(above) = rung.checked_sub(1) else {
        return role.class;
    };
    role.ladder
        .get(above)
        .or(role.ladder.last())
        .copied()
        .unwrap_or(role.class)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn role() -> Role {
        serde_json::from_value(serde_json::json!({
            "name": "analyzer", "summary": "s", "prompt": "p",
            "ladder": ["worker", "reasoner"], "escalate_on": ["max_tokens", "replan_retry"],
        }))
        .unwrap()
    }

    #[test]
    fn a_signal_the_role_listens_to_moves_one_rung() {
        let signals = [Signal::MaxTokens, Signal::ReplanRetry].into();
        assert_eq!(
            next_rung(&role(), 0, &signals),
            Some((1, Signal::ReplanRetry))
        );
        assert_eq!(
            next_rung(&role(), 1, &signals),
            Some((2, Signal::ReplanRetry))
        );
        assert_eq!(next_rung(&role(), 2, &signals), None);
        assert_eq!(next_rung(&role(), usize::MAX, &signals), None);
    }

    #[test]
    fn other_signals_move_nothing() {
        assert_eq!(
            next_rung(&role(), 0, &[Signal::ToolRepeatGuard].into()),
            None
        );
        assert_eq!(next_rung(&role(), 0, &BTreeSet::new()), None);
    }

    #[test]
    fn the_first_rung_is_the_roles_own_class_and_the_last_holds() {
        assert_eq!(class_at(&role(), 0), ModelClass::Worker);
        assert_eq!(class_at(&role(), 2), ModelClass::Reasoner);
        assert_eq!(class_at(&role(), 9), ModelClass::Reasoner);
    }
}
