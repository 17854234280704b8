//! `agentd configure`: sets a model provider up, by questions on a terminal or by flags without one.
//!
//! Keys are never echoed and never on the command line; they go into a file that only its owner can read. Other
//! settings, and comments, stay as they are. What is written is written whole or not at all.

use super::{Act, CliError, Desk, words};
use crate::{
    compose,
    config::{self, Config, Installation, ProviderConfig},
    limits::PROBE_TIME,
};
use aaos_core::secret::Secret;
use aaos_llm::{PROVIDERS, Preset, preset, provider::KeyNeed};
use clap::Args;
use std::{
    io::{IsTerminal, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};
use toml_edit::{DocumentMut, Item, Table, value};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Configure {
    /// The kind of provider: anthropic, openai, deepseek, ollama, vllm, openrouter, rules.
    #[arg(long, value_name = "KIND")]
    provider: Option<String>,
    /// Its name in the configuration; its kind's if not given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Take the key from this variable.
    #[arg(long, value_name = "VAR")]
    key_from_env: Option<String>,
    /// Its address.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The model for every class.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Do not ask the provider whether it works.
    #[arg(long)]
    no_probe: bool,
    /// The system-wide installation.
    #[arg(long)]
    system: bool,
}

/// What was settled, by flags or by questions.
struct Choice {
    kind: &'static Preset,
    name: String,
    base_url: Option<String>,
    model: Option<String>,
    key: Option<Secret<String>>,
}

impl Choice {
    /// Refuses what the configuration or the provider would, before anything is written.
    fn check(&self) -> Result<(), CliError> {
        let refused = |problem: &str, next_step: &str| {
            Err(CliError::usage("configure a provider", problem, next_step))
        };
        if let Some(problem) = config::provider_name_problem(&self.name) {
            return refused(&problem, "Give another with --name; nothing was changed");
        }
        let text = |text: &String| text.trim().is_empty() || text.chars().any(char::is_control);
        if self.model.as_ref().is_some_and(text) {
            let problem = "the model's name is empty or holds control characters";
            return refused(problem, "Correct --model; nothing was changed");
        }
        let mut wanted = aaos_llm::ProviderConfig::new(&self.name, self.kind.name);
        wanted.base_url.clone_from(&self.base_url);
        match wanted.check_address() {
            Ok(()) => Ok(()),
            Err(error) => refused(
                &error.to_string(),
                "Correct --base-url; nothing was changed",
            ),
        }
    }
}

impl Act for Configure {
    const NAME: &'static str = "configure";
    const ABOUT: &'static str = "Set up a model provider and its key";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let installation = Installation::by_flag(self.system);
        let paths = config::Paths::find(&desk.environment, &desk.overrides(installation))?;
        let choice = if self.provider.is_none() && std::io::stdin().is_terminal() && desk.terminal {
            self.ask()?
        } else {
            self.by_flags()?
        };
        choice.check()?;
        write(&paths, &choice)?;
        let saved = format!(
            "saved provider `{}` in {}",
            choice.name,
            paths.config.value.display()
        );
        let config = desk.config(installation)?;
        let probe = if self.no_probe {
            None
        } else {
            Some(desk.wait(probe(&config, &choice.name))?)
        };
        if desk.json() {
            let probe = probe.as_ref().map(|probe| {
                probe
                    .as_ref()
                    .map_or_else(Clone::clone, |()| "ok".to_owned())
            });
            desk.say_json(&serde_json::json!({ "provider": choice.name, "config": paths.config.value, "probe": probe }))?;
        } else {
            desk.say(saved)?;
        }
        match probe {
            Some(Err(problem)) => Err(CliError::failed(
                "use the provider",
                words::clean(&problem),
                "The settings are saved. Correct them with `agentd configure`, or go on without asking with --no-probe",
            )),
            Some(Ok(())) if !desk.json() => {
                desk.say(format!("{} it answers", desk.paint().good("ok")))
            }
            _ => Ok(()),
        }
    }
}

impl Configure {
    fn by_flags(&self) -> Result<Choice, CliError> {
        let doing = "configure a provider";
        let Some(named) = &self.provider else {
            return Err(CliError::usage(
                doing,
                "there is no terminal to ask on and no --provider",
                &format!("Name one of: {}", kinds()),
            ));
        };
        if named == SCRIPTED {
            return Err(CliError::usage(
                doing,
                "a scripted model is a file of replies, which no flag names",
                "Write `[providers.NAME]` with `kind = \"scripted\"` and `file = \"replies.yaml\"` into the configuration; docs/guide/scripts.md shows both files",
            ));
        }
        let kind = preset(named).ok_or_else(|| {
            let problem = format!(
                "there is no kind of provider `{}`",
                words::one_line(named, 64)
            );
            CliError::usage(doing, &problem, &format!("There are: {}", kinds()))
        })?;
        let key = match &self.key_from_env {
            Some(variable) => Some(key_from(variable)?),
            None => None,
        };
        if let (KeyNeed::Required(variable), None) = (kind.key, &key) {
            let problem = format!("{} answers nobody without a key", kind.name);
            return Err(CliError::usage(
                doing,
                &problem,
                &format!("Put it into a variable and give --key-from-env {variable}"),
            ));
        }
        Ok(Choice {
            kind,
            name: self.name(kind),
            base_url: self.base_url.clone(),
            model: self.model.clone(),
            key,
        })
    }

    fn name(&self, kind: &Preset) -> String {
        self.name.clone().unwrap_or_else(|| kind.name.to_owned())
    }

    /// Asks on the terminal.
    fn ask(&self) -> Result<Choice, CliError> {
        let given_up = |error: std::io::Error| {
            CliError::failed(
                "configure a provider",
                error.to_string(),
                "Nothing was changed",
            )
        };
        cliclack::intro("Set up a model provider").map_err(given_up)?;
        let mut select = cliclack::select("Provider");
        for preset in offered() {
            select = select.item(preset.name, preset.name, preset.summary);
        }
        let chosen: &str = select.interact().map_err(given_up)?;
        let kind = preset(chosen).ok_or_else(|| {
            CliError::usage(
                "configure a provider",
                "there is no such kind",
                "Choose one",
            )
        })?;
        let base_url = match kind.base_url {
            Some(usual) => {
                let url: String = cliclack::input("Address")
                    .default_input(usual)
                    .interact()
                    .map_err(given_up)?;
                Some(url).filter(|url| url != usual)
            }
            None => None,
        };
        let key = self.ask_key(kind).map_err(given_up)?;
        let model: String = cliclack::input("Model (empty: the usual one)")
            .required(false)
            .interact()
            .map_err(given_up)?;
        let model = Some(model.trim().to_owned()).filter(|model| !model.is_empty());
        cliclack::outro("Saving").map_err(given_up)?;
        Ok(Choice {
            kind,
            name: self.name(kind),
            base_url,
            model,
            key,
        })
    }

    fn ask_key(&self, kind: &Preset) -> std::io::Result<Option<Secret<String>>> {
        let required = match kind.key {
            KeyNeed::None => return Ok(None),
            KeyNeed::Required(_) => true,
            KeyNeed::Optional(_) => false,
        };
        let mut question =
            cliclack::password(if required { "Key" } else { "Key (empty: none)" }).mask('•');
        if !required {
            question = question.allow_empty();
        }
        let key: String = question.interact()?;
        let key = key.trim().to_owned();
        Ok((!key.is_empty()).then(|| Secret::new(key)))
    }
}

/// A script is a file, and its place is written into the configuration itself.
const SCRIPTED: &str = "scripted";

/// The kinds of provider that are set up here.
fn offered() -> impl Iterator<Item = &'static Preset> {
    PROVIDERS.iter().filter(|preset| preset.name != SCRIPTED)
}

/// Every kind of provider that is set up here, for messages.
fn kinds() -> String {
    offered()
        .map(|preset| preset.name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn key_from(variable: &str) -> Result<Secret<String>, CliError> {
    let value = config::env::value_of(variable)?;
    match value
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
    {
        Some(key) if key.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(CliError::usage(
                "read the key",
                &format!("${variable} holds spaces or control characters"),
                "Set it to the key alone",
            ))
        }
        Some(key) => Ok(Secret::new(key)),
        None => Err(CliError::usage(
            "read the key",
            &format!("${variable} is not set or empty"),
            "Set it to the key and export it",
        )),
    }
}

/// Writes the settings, then the key: a key without its provider would be refused.
fn write(paths: &config::Paths, choice: &Choice) -> Result<(), CliError> {
    let mut settings = document(&paths.config.value)?;
    let section = section(&mut settings, "providers")?;
    let mut provider = match section.remove(&choice.name) {
        Some(Item::Table(table)) => table,
        _ => Table::new(),
    };
    provider.insert("kind", value(choice.kind.name));
    for (key, setting) in [("base_url", &choice.base_url), ("model", &choice.model)] {
        match setting {
            Some(text) => drop(provider.insert(key, value(text.as_str()))),
            None => drop(provider.remove(key)),
        }
    }
    section.insert(&choice.name, Item::Table(provider));
    point_classes(&mut settings, choice)?;
    save(&paths.config.value, &settings.to_string())?;
    if let Some(key) = &choice.key {
        let mut keys = document(&paths.credentials)?;
        keys.insert(&choice.name, value(key.expose().as_str()));
        save(&paths.credentials, &keys.to_string())?;
    }
    Ok(())
}

/// A table of the document, made if it is not there.
fn section<'a>(settings: &'a mut DocumentMut, name: &str) -> Result<&'a mut Table, CliError> {
    let item = settings.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_mut().ok_or_else(|| {
        let next_step = format!("Write it as a section [{name}]; nothing was changed");
        CliError::usage(
            "change the configuration",
            &format!("`{name}` is not a section"),
            &next_step,
        )
    })
}

/// Has every class served by the provider that was just set up.
fn point_classes(settings: &mut DocumentMut, choice: &Choice) -> Result<(), CliError> {
    let models: Vec<(&str, String)> = aaos_core::model::ModelClass::ALL
        .into_iter()
        .filter_map(|class| {
            let usual = || {
                choice
                    .kind
                    .model(class)
                    .filter(|_| choice.base_url.is_none())
                    .map(str::to_owned)
            };
            let model = choice.model.clone().or_else(usual)?;
            Some((class.as_str(), format!("{}/{model}", choice.name)))
        })
        .collect();
    let section = section(settings, "models")?;
    section.set_implicit(false);
    for class in aaos_core::model::ModelClass::ALL {
        section.remove(class.as_str());
    }
    for (class, model) in models {
        section.insert(class, value(model));
    }
    Ok(())
}

fn document(path: &Path) -> Result<DocumentMut, CliError> {
    let text = config::file::read(path, config::file::Privacy::Open)?.unwrap_or_default();
    text.parse().map_err(|error: toml_edit::TomlError| {
        CliError::usage(
            "change the configuration",
            &format!("{}: {error}", path.display()),
            "Correct it first; nothing was changed",
        )
    })
}

/// Replaces a file in one step; only its owner can read it.
fn save(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        let problem = format!("{}: {error}", path.display());
        CliError::failed(
            "save the configuration",
            problem,
            "Make the directory writable, or name another file with --config",
        )
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(".aaos-")
        .tempfile_in(directory)
        .map_err(failed)?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)
}

/// Asks the provider's worker model whether it would answer.
async fn probe(config: &Config, name: &str) -> Result<Result<(), String>, CliError> {
    let only = |configured: &ProviderConfig| Config {
        providers: [(name.to_owned(), configured.clone())].into(),
        ..config.clone()
    };
    let Some(configured) = config.providers.get(name) else {
        return Ok(Ok(()));
    };
    let models = match compose::models(&only(configured)).await {
        Ok(models) => models,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let Some((_, model)) = models
        .classes
        .iter()
        .find(|(class, _)| *class == aaos_core::model::ModelClass::Worker)
    else {
        return Ok(Ok(()));
    };
    Ok(
        match tokio::time::timeout(PROBE_TIME, models.provider.probe(model)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PROBE_TIME.as_secs())),
        },
    )
}
