//! Tools that do what their names say, to a tree in memory and to a list of acts.

use aaos_core::{
    capability::{FileRight, Need},
    plan::Param,
    time::Span,
    tool::{Effect, Power, Recovery, ToolSpec},
};
use aaos_ports::{
    AnyTool, Powers, ToolError, ToolOutput,
    power::{Child, HttpRequest, WriteMode},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What was really done, in order.
#[derive(Clone, Default)]
pub(crate) struct Acts(Arc<Mutex<Vec<String>>>);

impl Acts {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn push(&self, act: impl Into<String>) {
        self.0.lock().unwrap().push(act.into());
    }
}

type Needs = fn(&Value) -> Vec<Need>;
type Deed = fn(Acts, Value, Powers) -> BoxFuture<'static, Result<Value, ToolError>>;

struct WorldTool {
    spec: ToolSpec,
    needs: Needs,
    deed: Deed,
    acts: Acts,
}

#[async_trait]
impl AnyTool for WorldTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn needs(&self, input: &Value) -> Result<Vec<Need>, ToolError> {
        Ok((self.needs)(input))
    }

    async fn call(&self, input: Value, powers: &Powers) -> Result<ToolOutput, ToolError> {
        let json = (self.deed)(self.acts.clone(), input, powers.clone()).await?;
        Ok(ToolOutput { json })
    }
}

fn word(input: &Value, key: &str) -> String {
    input[key].as_str().unwrap_or_default().to_owned()
}

fn secs(input: &Value) -> Duration {
    Duration::from_secs(input["secs"].as_u64().unwrap_or(0))
}

fn nothing(_: &Value) -> Vec<Need> {
    Vec::new()
}

fn strict(properties: Value) -> Value {
    let required: Vec<&String> = properties
        .as_object()
        .map(|all| all.keys().collect())
        .unwrap_or_default();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Every tool of this world.
pub(crate) fn all(acts: &Acts) -> Vec<Arc<dyn AnyTool>> {
    let tool = |name: &str,
                properties: Value,
                powers: &[Power],
                effect: Effect,
                needs: Needs,
                deed: Deed| {
        let hasty = name == "wait_little";
        let spec = ToolSpec {
            name: name.parse().unwrap(),
            summary: format!("The tool {name}."),
            input_schema: properties,
            powers: powers.to_vec(),
            effect,
            recovery: if name == "spawn_agent" {
                Recovery::GoesOn
            } else {
                Recovery::ByEffect
            },
            deadline: if hasty {
                Span::from_secs(7)
            } else {
                aaos_ports::tool::DEADLINE
            },
        };
        Arc::new(WorldTool {
            spec,
            needs,
            deed,
            acts: acts.clone(),
        }) as Arc<dyn AnyTool>
    };
    let text = || json!({ "type": "string" });
    let time = || strict(json!({ "secs": { "type": "integer", "minimum": 0 } }));
    vec![
        tool(
            "echo",
            strict(json!({ "message": text() })),
            &[],
            Effect::Pure,
            nothing,
            echo,
        ),
        tool("wait", time(), &[], Effect::Read, nothing, wait),
        tool("wait_little", time(), &[], Effect::Read, nothing, wait),
        tool("change", time(), &[], Effect::Irreversible, nothing, change),
        tool("fail", strict(json!({})), &[], Effect::Read, nothing, fail),
        tool(
            "file_read",
            strict(json!({ "path": text() })),
            &[Power::Files],
            Effect::Read,
            reads,
            read,
        ),
        tool(
            "file_write",
            strict(json!({ "path": text(), "content": text() })),
            &[Power::Files],
            Effect::Idempotent,
            writes,
            write,
        ),
        tool(
            "web_fetch",
            json!({
                "type": "object",
                "properties": { "url": text(), "max_bytes": { "type": "integer" } },
                "required": ["url"],
                "additionalProperties": false
            }),
            &[Power::Http],
            Effect::Read,
            fetches,
            fetch,
        ),
        tool(
            "web_crawl",
            strict(json!({
                "url": text(),
                "times": { "type": "integer" },
                "secs": { "type": "integer", "minimum": 0 }
            })),
            &[Power::Http],
            Effect::Read,
            nothing,
            crawl,
        ),
        tool(
            "spawn_agent",
            json!({ "type": "object" }),
            &[Power::Spawn],
            Effect::Irreversible,
            spawns,
            spawn,
        ),
        tool(
            "sneak",
            strict(json!({ "path": text() })),
            &[Power::Files],
            Effect::Read,
            nothing,
            sneak,
        ),
    ]
}

fn echo(acts: Acts, input: Value, _: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        acts.push(format!("echo {}", word(&input, "message")));
        Ok(json!(word(&input, "message")))
    })
}

fn wait(acts: Acts, input: Value, _: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        acts.push("wait begins");
        tokio::time::sleep(secs(&input)).await;
        acts.push("wait ends");
        Ok(json!("waited"))
    })
}

fn change(acts: Acts, input: Value, _: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        acts.push("change begins");
        tokio::time::sleep(secs(&input)).await;
        acts.push("change ends");
        Ok(json!("changed"))
    })
}

fn fail(_: Acts, _: Value, _: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move { Err(ToolError::Failed("it is broken; use another".to_owned())) })
}

fn reads(input: &Value) -> Vec<Need> {
    vec![Need::read(word(input, "path"))]
}

fn read(acts: Acts, input: Value, powers: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        acts.push(format!("read {}", word(&input, "path")));
        let mut text = String::new();
        let mut file = powers.files()?.open(&word(&input, "path"))?;
        file.bytes
            .read_to_string(&mut text)
            .map_err(|error| ToolError::Failed(error.to_string()))?;
        Ok(json!(text))
    })
}

fn writes(input: &Value) -> Vec<Need> {
    vec![Need::File {
        right: FileRight::Write,
        path: word(input, "path"),
    }]
}

fn write(acts: Acts, input: Value, powers: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        acts.push(format!("write {}", word(&input, "path")));
        let bytes = powers.files()?.write(
            &word(&input, "path"),
            word(&input, "content").as_bytes(),
            WriteMode::Replace,
        )?;
        Ok(json!({ "bytes": bytes }))
    })
}

fn fetches(input: &Value) -> Vec<Need> {
    let url = word(input, "url").parse();
    url.map(|url| Need::Http {
        method: "GET".to_owned(),
        url,
    })
    .into_iter()
    .collect()
}

fn fetch(acts: Acts, input: Value, powers: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        acts.push(format!("fetch {}", word(&input, "url")));
        let url = word(&input, "url")
            .parse()
            .map_err(|error| ToolError::Failed(format!("{error}")))?;
        let request = HttpRequest {
            method: "GET".to_owned(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            bytes_max: 1 << 20,
            deadline: Span::from_secs(30),
        };
        let answer = powers.http(request).await?;
        Ok(json!({ "status": answer.status, "body": String::from_utf8_lossy(&answer.body) }))
    })
}

/// Fetches one page again and again, whatever the answers are, and then waits.
fn crawl(_: Acts, input: Value, powers: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        let mut fetched = 0;
        for _ in 0..input["times"].as_u64().unwrap_or(0) {
            let request = HttpRequest {
                method: "GET".to_owned(),
                url: word(&input, "url").parse().unwrap(),
                headers: Vec::new(),
                body: Vec::new(),
                bytes_max: 1 << 20,
                deadline: Span::from_secs(30),
            };
            fetched += u64::from(powers.http(request).await.is_ok());
        }
        tokio::time::sleep(secs(&input)).await;
        Ok(json!({ "fetched": fetched }))
    })
}

fn spawns(input: &Value) -> Vec<Need> {
    word(input, "role")
        .parse()
        .map(Need::Spawn)
        .into_iter()
        .collect()
}

fn spawn(_: Acts, input: Value, powers: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        let params: BTreeMap<String, Param> =
            serde_json::from_value(input["params"].clone()).unwrap_or_default();
        let role = word(&input, "role")
            .parse()
            .map_err(|error| ToolError::Failed(format!("{error}")))?;
        let child = Child {
            role,
            task: word(&input, "task"),
            params,
        };
        let output = powers.spawn()?.spawn(child).await?;
        serde_json::to_value(output).map_err(|error| ToolError::Failed(error.to_string()))
    })
}

/// A tool that does not say what it needs and reaches for it all the same.
fn sneak(acts: Acts, input: Value, powers: Powers) -> BoxFuture<'static, Result<Value, ToolError>> {
    Box::pin(async move {
        powers.files()?.open(&word(&input, "path"))?;
        acts.push("sneaked");
        Ok(json!("got it"))
    })
}
