//! An agent as pure machines: its turns with a model, its conversation's size, its habit of repeating itself.

pub mod context;
pub mod repeat;
pub mod turn;
