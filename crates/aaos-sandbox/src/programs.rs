//! Programs: what a granted program is on this machine, and what it needs to run.
//!
//! Looks at names and files alone: it starts nothing, reads no file an agent can write, and refuses a program that is
//! not there. What known programs need beside their own file is data, in `profile/programs.toml`.

use crate::protocol::Program;
use aaos_core::{capability::ExecScope, text};
use aaos_ports::backend::LaunchError;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What known programs need, by name.
const KNOWN: &str = include_str!("profile/programs.toml");
/// Directories every search for a program ends with.
/// Source: Filesystem Hierarchy Standard 3.0; a worker's root has these from the host.
const SYSTEM: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"];
/// Most programs of one agent.
const PROGRAMS_MAX: usize = 64;
/// Longest first line of a script, in bytes. Source: `BINPRM_BUF_SIZE`, linux/binfmts.h.
const FIRST_LINE_BYTES_MAX: u64 = 256;
/// Longest configuration file that is looked at, in bytes.
const CONFIG_BYTES_MAX: u64 = 64 * 1024;
/// The program that stands for every program of a Rust toolchain, and picks one by the name it is called by.
const SHIM: &str = "rustup";

/// Where this machine keeps its programs. Made once, by whoever may read the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// Directories searched for a bare name, in order; relative ones are left out.
    pub path: Vec<PathBuf>,
    /// Where cargo keeps its registry.
    pub cargo_home: Option<PathBuf>,
    /// Where rustup keeps its toolchains.
    pub rustup_home: Option<PathBuf>,
    /// Files and directories that every program may read and execute from, beside its own: a toolchain in a place of
    /// its own.
    pub extra: Vec<PathBuf>,
}

/// What a known program needs.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Known {
    execute: Vec<String>,
    starts: Vec<String>,
    read: Vec<String>,
    /// Read unless it holds a credential.
    config: Vec<String>,
    env: BTreeMap<String, String>,
    rust: bool,
    workspace: bool,
}

/// Finds the programs that these scopes name, each once, in the order of their names.
///
/// Every one is told the same variables, because one may start another.
///
/// # Errors
/// A program is not there, or the interpreter it names is not.
pub fn resolve(scopes: &[ExecScope], toolchain: &Toolchain) -> Result<Vec<Program>, LaunchError> {
    let names: BTreeSet<&str> = scopes.iter().map(|scope| scope.program.as_str()).collect();
    if names.len() > PROGRAMS_MAX {
        return Err(missing(
            format!(
                "room for {} programs: an agent starts at most {PROGRAMS_MAX}",
                names.len()
            ),
            "Grant fewer programs, or a shell that starts them".to_owned(),
        ));
    }
    let known: BTreeMap<String, Known> = toml::from_str(KNOWN).map_err(|error| {
        missing(
            format!("a readable profile/programs.toml ({error})"),
            "Build the runtime from an unchanged source tree".to_owned(),
        )
    })?;
    let finder = Finder {
        toolchain,
        rust: toolchain.rustup_home.as_deref().and_then(default_rust),
    };
    let mut programs = Vec::with_capacity(names.len());
    for name in names {
        let word = Path::new(name).file_name().unwrap_or_default();
        let needs = known.get(&*word.to_string_lossy());
        programs.push(finder.program(name, &needs.cloned().unwrap_or_default())?);
    }
    let all = programs.iter().flat_map(|program| program.env.clone());
    let mut shared: BTreeMap<String, String> = all.collect();
    shared.insert("PATH".to_owned(), search_path(&programs, &shared));
    for program in &mut programs {
        program.env = shared.clone().into_iter().collect();
    }
    Ok(programs)
}

fn missing(missing: String, next_step: String) -> LaunchError {
    LaunchError {
        layer: None,
        missing,
        next_step,
    }
}

struct Finder<'a> {
    toolchain: &'a Toolchain,
    /// The directory of the default Rust toolchain.
    rust: Option<PathBuf>,
}

impl Finder<'_> {
    fn program(&self, name: &str, needs: &Known) -> Result<Program, LaunchError> {
        let file = self.file(name).ok_or_else(|| {
            missing(
                format!("the program `{}`", text::preview(name, 128)),
                format!(
                    "Install it, or grant a program that is there; looked in {}",
                    self.searched()
                ),
            )
        })?;
        let mut execute = BTreeSet::from([file.clone()]);
        execute.extend(self.interpreters(name, &file)?);
        execute.extend(needs.starts.iter().filter_map(|start| self.file(start)));
        let place = |written: &String| self.place(written, &file);
        execute.extend(needs.execute.iter().filter_map(place));
        let mut read: BTreeSet<PathBuf> = needs.read.iter().filter_map(place).collect();
        let config = needs.config.iter().filter_map(place);
        read.extend(config.filter(|file| !holds_credential(file)));
        let rust = self.rust.iter().filter(|_| needs.rust);
        let extra = self
            .toolchain
            .extra
            .iter()
            .filter(|extra| extra.is_absolute());
        for whole in rust.chain(extra) {
            execute.insert(whole.clone());
            read.insert(whole.clone());
        }
        let env = needs.env.iter();
        let env = env.filter_map(|(key, written)| {
            Some((key.clone(), text_of(&self.place(written, &file)?)))
        });
        Ok(Program {
            name: name.to_owned(),
            env: env.collect(),
            file: text_of(&file),
            execute: outermost(&execute),
            read: outermost(&read),
            workspace: needs.workspace,
        })
    }

    /// A program's file, without links; a shim's is the default toolchain's program of that name.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let own = |candidate: PathBuf| {
            let file = candidate.canonicalize().ok()?;
            let called = candidate.file_name()?;
            let file = if file.file_name()? == SHIM && called != SHIM {
                self.rust
                    .as_ref()?
                    .join("bin")
                    .join(called)
                    .canonicalize()
                    .ok()?
            } else {
                file
            };
            let about = file.metadata().ok()?;
            (about.is_file() && about.permissions().mode() & 0o111 != 0).then_some(file)
        };
        if name.starts_with('/') {
            return own(PathBuf::from(name));
        }
        if name.is_empty() || name.contains('/') {
            return None;
        }
        self.search()
            .find_map(|directory| own(directory.join(name)))
    }

    fn search(&self) -> impl Iterator<Item = &Path> {
        let own = self.toolchain.path.iter().map(PathBuf::as_path);
        own.filter(|directory| directory.is_absolute())
            .chain(SYSTEM.iter().map(Path::new))
    }

    fn searched(&self) -> String {
        let mut seen = BTreeSet::new();
        let directories = self.search().filter(|directory| seen.insert(*directory));
        let directories: Vec<String> = directories.map(text_of).collect();
        directories.join(", ")
    }

    /// What the kernel starts in place of a script: the interpreter its first line names, and the one that `env` finds.
    fn interpreters(&self, name: &str, file: &Path) -> Result<Vec<PathBuf>, LaunchError> {
        let Some(line) = first_line(file) else {
            return Ok(Vec::new());
        };
        let mut words = line.split_ascii_whitespace();
        let interpreter = words.next().unwrap_or_default();
        let by_name = Path::new(interpreter)
            .file_name()
            .is_some_and(|word| word == "env");
        let wanted = words
            .find(|word| !word.starts_with('-') && !word.contains('='))
            .filter(|_| by_name);
        let find = |wanted: &str| {
            self.file(wanted).ok_or_else(|| {
                missing(
                    format!(
                        "`{}`, the interpreter of the program `{}`",
                        text::preview(wanted, 128),
                        text::preview(name, 128)
                    ),
                    "Install it, or grant another program".to_owned(),
                )
            })
        };
        std::iter::once(interpreter)
            .chain(wanted)
            .map(find)
            .collect()
    }

    /// A place of the data file that is there.
    fn place(&self, written: &str, file: &Path) -> Option<PathBuf> {
        let (root, rest) = match written.strip_prefix('{') {
            None => (PathBuf::from("/"), written.trim_start_matches('/')),
            Some(inner) => {
                let (word, rest) = inner.split_once('}')?;
                let root = match word {
                    "prefix" => file.parent()?.parent()?.to_owned(),
                    "cargo_home" => self.toolchain.cargo_home.clone()?,
                    "rustup_home" => self.toolchain.rustup_home.clone()?,
                    _ => return None,
                };
                (root, rest.trim_start_matches('/'))
            }
        };
        root.join(rest).canonicalize().ok()
    }
}

/// Where programs look for one another: where they are, then where the system's are. The shims of cargo's directory come
/// last: named, cargo does not look there first, where it would find what it may not execute.
fn search_path(programs: &[Program], env: &BTreeMap<String, String>) -> String {
    let own = programs
        .iter()
        .filter_map(|program| program.file.rsplit_once('/'));
    let shims = env.get("CARGO_HOME").map(|home| format!("{home}/bin"));
    let mut path: Vec<&str> = Vec::new();
    for directory in own
        .map(|(directory, _)| directory)
        .chain(SYSTEM)
        .chain(shims.as_deref())
    {
        if !path.contains(&directory) && !directory.contains(':') {
            path.push(directory);
        }
    }
    path.join(":")
}

/// A path as the protocol has it. Names that are no UTF-8 are not found again, and so not granted.
fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Paths that lie in none of the others.
fn outermost(paths: &BTreeSet<PathBuf>) -> Vec<String> {
    let inside = |path: &&PathBuf| path.ancestors().skip(1).any(|above| paths.contains(above));
    paths
        .iter()
        .filter(|path| !inside(path))
        .map(|path| text_of(path))
        .collect()
}

/// What follows `#!` in a script's first line.
fn first_line(file: &Path) -> Option<String> {
    let mut line = Vec::new();
    let file = BufReader::new(File::open(file).ok()?);
    file.take(FIRST_LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .ok()?;
    let rest = line.strip_prefix(b"#!")?;
    Some(String::from_utf8_lossy(rest).trim().to_owned()).filter(|rest| !rest.is_empty())
}

/// Whether a configuration file sets something that reads like a credential, or cannot be looked at whole.
fn holds_credential(file: &Path) -> bool {
    let words = ["token", "secret", "password"];
    read_text(file).is_none_or(|content| {
        let content = content.to_ascii_lowercase();
        words.iter().any(|word| content.contains(word))
    })
}

/// The toolchain that rustup uses where nothing says otherwise. What a directory pins for itself is not looked at: an
/// agent can write it.
fn default_rust(rustup_home: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Settings {
        default_toolchain: String,
    }
    let content = read_text(&rustup_home.join("settings.toml"))?;
    let Settings { default_toolchain } = toml::from_str(&content).ok()?;
    let plain = !default_toolchain.contains('/') && default_toolchain != "..";
    let directory = rustup_home.join("toolchains").join(default_toolchain);
    directory.canonicalize().ok().filter(|_| plain)
}

/// A small regular file, whole; nothing if it is longer.
fn read_text(file: &Path) -> Option<String> {
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > CONFIG_BYTES_MAX {
        return None;
    }
    let mut content = String::new();
    let open = File::open(file).ok()?;
    open.take(CONFIG_BYTES_MAX)
        .read_to_string(&mut content)
        .ok()?;
    Some(content)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a test fails by panicking, and sets up its files"
    )]
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    /// A machine's directories, in a temporary one.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(path)
        }

        fn file(&self, path: &str, content: &str, mode: u32) -> String {
            let file = self.at(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            text_of(&file)
        }

        fn link(&self, path: &str, to: &str) {
            let link = self.at(path);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(to, link).unwrap();
        }

        fn toolchain(&self) -> Toolchain {
            Toolchain {
                path: vec!["relative".into(), self.at("bin")],
                cargo_home: Some(self.at("cargo")),
                rustup_home: Some(self.at("rustup")),
                extra: Vec::new(),
            }
        }

        fn resolve(&self, programs: &[&str]) -> Result<Vec<Program>, LaunchError> {
            let scope = |program: &&str| format!("{program} in /ws").parse().unwrap();
            let scopes: Vec<ExecScope> = programs.iter().map(scope).collect();
            resolve(&scopes, &self.toolchain())
        }

        fn one(&self, program: &str) -> Program {
            self.resolve(&[program]).unwrap().remove(0)
        }
    }

    fn value<'a>(program: &'a Program, key: &str) -> Option<&'a str> {
        let found = program.env.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_bare_name_is_found_by_the_search_path_and_its_links_resolved() {
        let machine = Machine::new();
        let file = machine.file("opt/tool-1.2", "\x7fELF", 0o755);
        machine.link("bin/tool", "../opt/tool-1.2");
        let found = machine.one("tool");
        assert_eq!((found.name.as_str(), &found.file), ("tool", &file));
        assert_eq!(found.execute, std::slice::from_ref(&file));
        assert!(!found.workspace && found.read.is_empty());
        assert_eq!(machine.one(&file).file, file);
    }

    #[test]
    fn what_is_not_a_program_is_missing_by_name() {
        let machine = Machine::new();
        machine.file("bin/notes", "text", 0o644);
        fs::create_dir_all(machine.at("bin/folder")).unwrap();
        machine.link("bin/nowhere", "gone");
        for name in [
            "notes",
            "folder",
            "nowhere",
            "no-such",
            "../bin/notes",
            "/no/such",
        ] {
            let error = machine.resolve(&["sh", name]).unwrap_err();
            assert!(error.missing.contains(name), "{error}");
            assert!(!error.next_step.is_empty() && error.layer.is_none());
        }
    }

    #[test]
    fn a_script_brings_the_interpreter_its_first_line_names() {
        let machine = Machine::new();
        let lisp = machine.file("bin/lisp", "\x7fELF", 0o755);
        let direct = machine.file("bin/direct", &format!("#! {lisp} -q\n"), 0o755);
        let found = machine.one("direct");
        assert_eq!(found.execute, [direct, lisp.clone()]);
        machine.file("bin/byname", "#!/usr/bin/env -S A=1 lisp\nx", 0o755);
        let found = machine.one("byname").execute;
        let env = text_of(&Path::new("/usr/bin/env").canonicalize().unwrap());
        assert!(found.contains(&lisp) && found.contains(&env), "{found:?}");
        machine.file("bin/orphan", "#!/no/such/interpreter\n", 0o755);
        let error = machine.resolve(&["orphan"]).unwrap_err();
        assert!(error.missing.contains("/no/such/interpreter"), "{error}");
    }

    #[test]
    fn a_shim_stands_for_the_default_toolchains_program() {
        let machine = Machine::new();
        machine.file("bin/rustup", "\x7fELF", 0o755);
        machine.link("bin/cargo", "rustup");
        let missing = machine.resolve(&["cargo"]).unwrap_err();
        assert!(missing.missing.contains("cargo"), "{missing}");
        machine.file(
            "rustup/settings.toml",
            "default_toolchain = \"mine\"\n",
            0o644,
        );
        let cargo = machine.file("rustup/toolchains/mine/bin/cargo", "\x7fELF", 0o755);
        fs::create_dir_all(machine.at("cargo/registry")).unwrap();
        machine.file("cargo/credentials.toml", "token = \"x\"", 0o600);
        machine.file("cargo/config.toml", "[build]\njobs = 2\n", 0o644);
        let found = machine.one("cargo");
        assert_eq!(found.file, cargo);
        let inside = |path: &&String| path.starts_with(&text_of(&machine.at("rustup")));
        assert_eq!(found.execute.iter().filter(inside).count(), 1);
        let rust = text_of(&machine.at("rustup/toolchains/mine"));
        assert!(found.workspace && found.execute.contains(&rust) && found.read.contains(&rust));
        let named = |name: &str| found.read.contains(&text_of(&machine.at(name)));
        assert!(named("cargo/registry") && named("cargo/config.toml"));
        assert!(!named("cargo") && !named("cargo/credentials.toml") && !named("cargo/git"));
        assert_eq!(
            value(&found, "CARGO_HOME"),
            Some(&*text_of(&machine.at("cargo")))
        );
        let path = value(&found, "PATH").unwrap();
        assert!(path.starts_with(&format!("{rust}/bin:")), "{path}");
        assert!(path.ends_with("/cargo/bin"), "{path}");
        let shell = machine.resolve(&["sh", "cargo"]).unwrap();
        assert!(
            shell
                .iter()
                .all(|program| value(program, "CARGO_HOME").is_some())
        );
    }

    #[test]
    fn a_configuration_that_holds_a_credential_stays_outside() {
        let machine = Machine::new();
        machine.file("bin/cargo", "\x7fELF", 0o755);
        let config = machine.file(
            "cargo/config.toml",
            "[registries.mine]\nToken = \"x\"\n",
            0o644,
        );
        assert!(!machine.one("cargo").read.contains(&config));
        let long = "#".repeat(usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1);
        let config = machine.file("cargo/config.toml", &long, 0o644);
        assert!(!machine.one("cargo").read.contains(&config));
    }

    #[test]
    fn a_shell_starts_itself_and_nothing_else() {
        let machine = Machine::new();
        let shell = machine.one("sh");
        assert_eq!(shell.execute, std::slice::from_ref(&shell.file));
        assert!(!shell.workspace);
    }

    #[test]
    fn git_finds_its_own_programs_and_extra_places_are_everybodys() {
        let machine = Machine::new();
        machine.file("bin/git", "\x7fELF", 0o755);
        machine.file("libexec/git-core/git", "\x7fELF", 0o755);
        fs::create_dir_all(machine.at("share/git-core/templates")).unwrap();
        let mut toolchain = machine.toolchain();
        toolchain.extra = vec![machine.at("opt"), "relative".into()];
        let git = resolve(&["git in /ws".parse().unwrap()], &toolchain)
            .unwrap()
            .remove(0);
        let at = |path: &str| text_of(&machine.at(path));
        assert_eq!(
            git.execute,
            [at("bin/git"), at("libexec/git-core"), at("opt")]
        );
        let own = |path: &&String| path.starts_with(&at(""));
        let read: Vec<&String> = git.read.iter().filter(own).collect();
        assert_eq!(read, [&at("opt"), &at("share/git-core")]);
    }

    #[test]
    fn each_program_comes_once_and_too_many_are_refused() {
        let machine = Machine::new();
        assert_eq!(machine.resolve(&["sh", "sh"]).unwrap().len(), 1);
        let names: Vec<String> = (0..=PROGRAMS_MAX)
            .map(|number| format!("p{number}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(
            machine
                .resolve(&names)
                .unwrap_err()
                .missing
                .contains("room")
        );
    }
}
