//! The daemon's methods: one file each, one line in [`METHODS`].
//!
//! JSON-RPC 2.0, one object to a line. Parameters are typed and unknown ones refused. Every refusal carries what is
//! wrong and what to do, as data. Batches are refused: a connection takes many requests at once anyway.

mod approval_answer;
mod approval_list;
mod approval_show;
pub(crate) mod audit_erase;
mod beginning;
mod budget_show;
mod config_show;
mod daemon_status;
mod daemon_stop;
pub(crate) mod decided;
mod fault;
mod front;
mod model_list;
#[cfg(test)]
mod others;
pub(crate) mod recounted;
mod rehearsed;
mod role_list;
mod role_show;
mod run_fork;
mod run_list;
mod run_plan;
mod run_replay;
mod run_resume;
mod run_revoke;
mod run_settle;
mod run_status;
mod run_stop;
mod run_submit;
mod run_watch;
mod tool_list;
pub(crate) mod wire;

pub(crate) use fault::{CODES, Fault, FaultKind};
pub(crate) use front::{Activity, Caller, Front, Notifier, StopOrder};

// The methods as types, for who calls them: name, parameters and answer in one.
pub(crate) use {
    approval_answer::ApprovalAnswer, approval_list::ApprovalList, approval_show::ApprovalShow,
    audit_erase::AuditErase, budget_show::BudgetShow, config_show::ConfigShow,
    daemon_status::DaemonStatus, daemon_stop::DaemonStop, model_list::ModelList,
    role_list::RoleList, role_show::RoleShow, run_fork::RunFork, run_list::RunList,
    run_plan::RunPlan, run_replay::RunReplay, run_resume::RunResume, run_revoke::RunRevoke,
    run_settle::RunSettle, run_status::RunStatus, run_stop::RunStop, run_submit::RunSubmit,
    run_watch::RunWatch, tool_list::ToolList,
};

use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{future::Future, sync::Arc};

/// The methods, in the order of the reference.
pub(crate) const METHODS: &[Method] = &[
    Method::of::<DaemonStatus>(),
    Method::of::<DaemonStop>(),
    Method::of::<RunSubmit>(),
    Method::of::<RunPlan>(),
    Method::of::<RunList>(),
    Method::of::<RunStatus>(),
    Method::of::<RunStop>(),
    Method::of::<RunRevoke>(),
    Method::of::<RunWatch>(),
    Method::of::<RunSettle>(),
    Method::of::<RunResume>(),
    Method::of::<RunFork>(),
    Method::of::<RunReplay>(),
    Method::of::<ApprovalList>(),
    Method::of::<ApprovalShow>(),
    Method::of::<ApprovalAnswer>(),
    Method::of::<BudgetShow>(),
    Method::of::<AuditErase>(),
    Method::of::<RoleList>(),
    Method::of::<RoleShow>(),
    Method::of::<ToolList>(),
    Method::of::<ModelList>(),
    Method::of::<ConfigShow>(),
];

/// One method, as its author writes it.
pub(crate) trait Call {
    /// Its name.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const SUMMARY: &'static str;
    /// What it answers with, in one sentence.
    const ANSWER: &'static str;
    /// Its parameters.
    type Params: Serialize + DeserializeOwned + JsonSchema + Send;
    /// Its answer.
    type Answer: Serialize + DeserializeOwned;

    /// Does it.
    fn call(
        front: Arc<Front>,
        caller: Caller,
        params: Self::Params,
    ) -> impl Future<Output = Result<Self::Answer, Fault>> + Send;
}

/// An answer on its way.
type Answering = BoxFuture<'static, Result<Value, Fault>>;

/// One line of the table.
pub(crate) struct Method {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) summary: &'static str,
    /// What it answers with.
    pub(crate) answer: &'static str,
    /// The schema of its parameters.
    pub(crate) params: fn() -> Schema,
    call: fn(Arc<Front>, Caller, Value) -> Answering,
}

impl Method {
    const fn of<C: Call + 'static>() -> Self
    where
        C::Params: 'static,
    {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            answer: C::ANSWER,
            params: schema_of::<C::Params>,
            call: erased::<C>,
        }
    }

    /// Calls the method of this name.
    pub(crate) async fn dispatch(
        front: Arc<Front>,
        caller: Caller,
        name: &str,
        params: Value,
    ) -> Result<Value, Fault> {
        match METHODS.iter().find(|method| method.name == name) {
            Some(method) => (method.call)(front, caller, params).await,
            None => {
                let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
                Err(Fault::no_such(FaultKind::Method, "method", name, &names))
            }
        }
    }
}

fn schema_of<T: JsonSchema>() -> Schema {
    let inline = |settings: &mut schemars::generate::SchemaSettings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    };
    schemars::generate::SchemaSettings::draft2020_12()
        .with(inline)
        .into_generator()
        .into_root_schema_for::<T>()
}

fn erased<C: Call + 'static>(front: Arc<Front>, caller: Caller, params: Value) -> Answering
where
    C::Params: 'static,
{
    Box::pin(async move {
        // Parameters may be left out; that is the same as none.
        let params = if params.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            params
        };
        let params =
            serde_json::from_value(params).map_err(|error| Fault::params(C::NAME, &error))?;
        let answer = C::call(front, caller, params).await?;
        serde_json::to_value(answer).map_err(|error| Fault::internal(&error.to_string()))
    })
}
