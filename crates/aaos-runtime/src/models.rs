//! Which model serves which class.

use aaos_core::model::{ModelClass, ModelRef};

/// A model for every class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Models {
    /// Turns goals into plans.
    pub planner: ModelRef,
    /// Carries out most subtasks.
    pub worker: ModelRef,
    /// Where a worker's model failed.
    pub reasoner: ModelRef,
}

impl Models {
    /// The same model for every class.
    #[must_use]
    pub fn all(model: &ModelRef) -> Self {
        Self {
            planner: model.clone(),
            worker: model.clone(),
            reasoner: model.clone(),
        }
    }

    /// The model of a class.
    #[must_use]
    pub const fn of(&self, class: ModelClass) -> &ModelRef {
        match class {
            ModelClass::Planner => &self.planner,
            ModelClass::Worker => &self.worker,
            ModelClass::Reasoner => &self.reasoner,
        }
    }
}
