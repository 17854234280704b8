//! What every file power promises, run by the fake and by the real one.

use aaos_ports::{
    Files, PowerError,
    power::{EntryKind, Flow, Tidy, WriteMode},
};
use std::{collections::BTreeMap, io::Read};

/// A place to try a file power in.
pub trait FilesWorld {
    /// An absolute, empty directory that is there.
    fn root(&self) -> String;
    /// Puts a regular file, and directories above it.
    fn put_file(&self, path: &str, content: &[u8]);
    /// Puts a symbolic link, and directories above it.
    fn put_link(&self, path: &str, target: &str);
    /// Puts a FIFO that no one writes to.
    fn put_fifo(&self, path: &str);
    /// Every path beneath the root, links included, with the content of regular files.
    fn everything(&self) -> BTreeMap<String, Vec<u8>>;
    /// The power these grants amount to; relative paths start from the root.
    fn power(&self, grants: &[String]) -> Box<dyn Files>;
}

/// Runs the whole suite, each promise in a world of its own.
///
/// # Panics
/// A promise is broken.
pub fn check<W: FilesWorld>(make: impl Fn() -> W) {
    reads_what_is_granted(&make());
    denies_what_is_not(&make());
    a_denied_write_leaves_no_trace(&make());
    writes_in_every_mode(&make());
    never_follows_a_link(&make());
    never_opens_a_fifo(&make());
    tells_kinds_apart(&make());
    lists_sorted_and_bounded(&make());
    walks_only_granted_files(&make());
    survives_strange_names(&make());
}

fn content(power: &dyn Files, path: &str) -> Result<Vec<u8>, PowerError> {
    let mut content = Vec::new();
    power
        .open(path)?
        .bytes
        .read_to_end(&mut content)
        .map_err(|error| PowerError::Io {
            what: path.to_owned(),
            message: error.to_string(),
        })?;
    Ok(content)
}

fn read_write(root: &str, directory: &str) -> Vec<String> {
    vec![
        format!("file_read: {root}/{directory}*"),
        format!("file_write: {root}/{directory}*"),
    ]
}

fn reads_what_is_granted(world: &impl FilesWorld) {
    let root = world.root();
    world.put_file(&format!("{root}/in/a.txt"), b"words");
    let power = world.power(&[format!("file_read: {root}/in/*")]);
    for path in [
        format!("{root}/in/a.txt"),
        "in/a.txt".to_owned(),
        "./in/../in//a.txt".to_owned(),
    ] {
        assert_eq!(content(&*power, &path), Ok(b"words".to_vec()), "{path}");
    }
    let open = power.open("in/a.txt");
    assert!(open.is_ok_and(|file| file.size == 5 && file.path == format!("{root}/in/a.txt")));
    assert_eq!(
        content(&*power, "in/none"),
        Err(PowerError::NotFound(format!("{root}/in/none")))
    );
    assert!(matches!(
        content(&*power, "in"),
        Err(PowerError::WrongKind { .. })
    ));
}

fn denies_what_is_not(world: &impl FilesWorld) {
    let root = world.root();
    world.put_file(&format!("{root}/in/a.txt"), b"words");
    world.put_file(&format!("{root}/in-secret/b.txt"), b"secret");
    let power = world.power(&[format!("file_read: {root}/in/*")]);
    for path in [
        "in-secret/b.txt",
        "in/../in-secret/b.txt",
        "/etc/passwd",
        "..",
        "",
        "\0",
        "in/\0",
        "../../../../../../../../../..",
    ] {
        assert!(
            matches!(content(&*power, path), Err(PowerError::Denied { .. })),
            "{path:?}"
        );
        assert!(
            matches!(power.stat(path), Err(PowerError::Denied { .. })),
            "{path:?}"
        );
        assert!(
            matches!(power.list(path, 9), Err(PowerError::Denied { .. })),
            "{path:?}"
        );
    }
    let long = format!("in/{}", "x".repeat(300));
    assert!(matches!(
        content(&*power, &long),
        Err(PowerError::Denied { .. })
    ));
}

fn a_denied_write_leaves_no_trace(world: &impl FilesWorld) {
    let root = world.root();
    world.put_file(&format!("{root}/in/a.txt"), b"words");
    world.put_file(&format!("{root}/out/b.txt"), b"mine");
    let before = world.everything();
    let power = world.power(&[
        format!("file_read: {root}/*"),
        format!("file_write: {root}/out/b.txt"),
    ]);
    for path in [
        "in/a.txt",
        "in/new.txt",
        "new/deep/er/file.txt",
        "out/b.txt.bak",
        "out",
        "out/../in/a.txt",
    ] {
        for mode in [WriteMode::Replace, WriteMode::Append, WriteMode::CreateNew] {
            assert!(
                matches!(
                    power.write(path, b"x", mode),
                    Err(PowerError::Denied { .. })
                ),
                "{path} {mode:?}"
            );
        }
    }
    assert_eq!(world.everything(), before);
}

fn writes_in_every_mode(world: &impl FilesWorld) {
    let root = world.root();
    let power = world.power(&read_write(&root, ""));
    assert_eq!(power.write("a/b/c.txt", b"one", WriteMode::Replace), Ok(3));
    assert_eq!(power.write("a/b/c.txt", b" two", WriteMode::Append), Ok(7));
    assert_eq!(content(&*power, "a/b/c.txt"), Ok(b"one two".to_vec()));
    assert_eq!(
        power.write("a/b/c.txt", b"three", WriteMode::Replace),
        Ok(5)
    );
    let before = world.everything();
    assert!(matches!(
        power.write("a/b/c.txt", b"four", WriteMode::CreateNew),
        Err(PowerError::WrongKind { .. })
    ));
    assert!(matches!(
        power.write("a/b", b"four", WriteMode::Replace),
        Err(PowerError::WrongKind { .. })
    ));
    assert!(matches!(
        power.write("a/b/c.txt/d", b"four", WriteMode::Replace),
        Err(PowerError::WrongKind { .. })
    ));
    assert_eq!(world.everything(), before);
    assert_eq!(power.write("new.txt", b"", WriteMode::CreateNew), Ok(0));
    assert_eq!(power.write("appended.txt", b"x", WriteMode::Append), Ok(1));
    assert_eq!(content(&*power, "a/b/c.txt"), Ok(b"three".to_vec()));
}

fn never_follows_a_link(world: &impl FilesWorld) {
    let root = world.root();
    world.put_file(&format!("{root}/secret/s.txt"), b"secret");
    world.put_file(&format!("{root}/in/real/a.txt"), b"words");
    world.put_link(&format!("{root}/in/file"), "../secret/s.txt");
    world.put_link(&format!("{root}/in/directory"), "../secret");
    world.put_link(&format!("{root}/in/inside"), "real");
    world.put_link(&format!("{root}/in/nowhere"), "absent");
    let before = world.everything();
    let power = world.power(&read_write(&root, "in/"));
    for path in [
        "in/file",
        "in/directory/s.txt",
        "in/inside/a.txt",
        "in/nowhere",
    ] {
        assert!(
            matches!(content(&*power, path), Err(PowerError::WrongKind { .. })),
            "{path}"
        );
        for mode in [WriteMode::Replace, WriteMode::Append, WriteMode::CreateNew] {
            let outcome = power.write(path, b"x", mode);
            assert!(
                matches!(outcome, Err(PowerError::WrongKind { .. })),
                "{path} {mode:?} {outcome:?}"
            );
        }
    }
    let into = power.write("in/directory/new/file.txt", b"x", WriteMode::Replace);
    assert!(
        matches!(into, Err(PowerError::WrongKind { .. })),
        "{into:?}"
    );
    assert!(power.list("in/directory", 9).is_err());
    assert!(
        matches!(power.stat("in/file"), Ok(entry) if entry.kind == EntryKind::Symlink && entry.size == 0)
    );
    assert_eq!(world.everything(), before);
}

fn never_opens_a_fifo(world: &impl FilesWorld) {
    let root = world.root();
    world.put_fifo(&format!("{root}/pipe"));
    let power = world.power(&read_write(&root, ""));
    assert!(matches!(
        content(&*power, "pipe"),
        Err(PowerError::WrongKind { .. })
    ));
    for mode in [WriteMode::Replace, WriteMode::Append, WriteMode::CreateNew] {
        assert!(
            matches!(
                power.write("pipe", b"x", mode),
                Err(PowerError::WrongKind { .. })
            ),
            "{mode:?}"
        );
    }
    assert!(matches!(power.stat("pipe"), Ok(entry) if entry.kind == EntryKind::Other));
}

fn tells_kinds_apart(world: &impl FilesWorld) {
    let root = world.root();
    world.put_file(&format!("{root}/d/a.txt"), b"words");
    let power = world.power(&read_write(&root, ""));
    assert!(
        matches!(power.stat("d"), Ok(entry) if entry.kind == EntryKind::Directory && entry.size == 0)
    );
    assert!(
        matches!(power.stat("."), Ok(entry) if entry.kind == EntryKind::Directory && entry.path == root)
    );
    assert!(
        matches!(power.stat("d/a.txt"), Ok(entry) if entry.kind == EntryKind::File && entry.size == 5)
    );
    assert!(matches!(
        power.stat("d/b.txt"),
        Err(PowerError::NotFound(_))
    ));
    assert!(matches!(
        power.list("d/a.txt", 9),
        Err(PowerError::WrongKind { .. })
    ));
    assert!(matches!(power.list("e", 9), Err(PowerError::NotFound(_))));
}

fn lists_sorted_and_bounded(world: &impl FilesWorld) {
    let root = world.root();
    for name in ["c", "a", "b/inner", "d"] {
        world.put_file(&format!("{root}/{name}"), b"123");
    }
    let power = world.power(&[format!("file_read: {root}/*")]);
    let names = |limit| {
        power.list(".", limit).map(|(entries, more)| {
            (
                entries
                    .into_iter()
                    .map(|entry| entry.path.replace(&format!("{root}/"), ""))
                    .collect::<Vec<_>>()
                    .join(" "),
                more,
            )
        })
    };
    assert_eq!(names(9), Ok(("a b c d".to_owned(), false)));
    assert_eq!(names(4), Ok(("a b c d".to_owned(), false)));
    assert_eq!(names(2), Ok(("a b".to_owned(), true)));
}

fn walks_only_granted_files(world: &impl FilesWorld) {
    let root = world.root();
    for name in [
        "w/a.txt",
        "w/b.md",
        "w/s/c.txt",
        "w/.hidden/d.txt",
        "w/skip/e.txt",
        "secret/f.txt",
    ] {
        world.put_file(&format!("{root}/{name}"), b"1");
    }
    world.put_file(&format!("{root}/w/.gitignore"), b"skip/\n");
    world.put_link(&format!("{root}/w/link"), "../secret");
    world.put_link(&format!("{root}/w/link.txt"), "../secret/f.txt");
    world.put_fifo(&format!("{root}/w/pipe"));
    let walked = |grants: &[String], at: &str, tidy| {
        let mut seen = Vec::new();
        let outcome = world.power(grants).walk(at, tidy, &mut |entry| {
            seen.push(entry.path.replace(&format!("{root}/w/"), ""));
            Flow::Continue
        });
        seen.sort();
        outcome.map(|()| seen.join(" "))
    };
    let all = [format!("file_read: {root}/w/*")];
    assert_eq!(
        walked(&all, "w", Tidy::Skip),
        Ok("a.txt b.md s/c.txt".to_owned())
    );
    assert_eq!(
        walked(&all, "w", Tidy::All),
        Ok(".gitignore .hidden/d.txt a.txt b.md s/c.txt skip/e.txt".to_owned())
    );
    assert_eq!(walked(&all, "w/a.txt", Tidy::Skip), Ok("a.txt".to_owned()));
    let some = [
        format!("file_read: {root}/w"),
        format!("file_read: {root}/w/a*.txt"),
    ];
    assert_eq!(walked(&some, "w", Tidy::All), Ok("a.txt".to_owned()));
    assert!(matches!(
        walked(&all, "secret", Tidy::All),
        Err(PowerError::Denied { .. })
    ));
    assert!(matches!(
        walked(&all, "w/none", Tidy::All),
        Err(PowerError::NotFound(_))
    ));
    assert!(matches!(
        walked(&all, "w/link", Tidy::All),
        Err(PowerError::WrongKind { .. })
    ));
    let mut seen = 0;
    let stopped = world.power(&all).walk("w", Tidy::Skip, &mut |_| {
        seen += 1;
        Flow::Stop
    });
    assert_eq!((stopped, seen), (Ok(()), 1));
}

fn survives_strange_names(world: &impl FilesWorld) {
    let root = world.root();
    let power = world.power(&read_write(&root, ""));
    for name in [
        "a b",
        "new\nline",
        "quote\"'`$(x)",
        "{run}",
        "*",
        "ünï",
        "-rf",
        "\u{1b}[2J",
        "%2e%2e",
    ] {
        assert_eq!(
            power.write(name, b"x", WriteMode::Replace),
            Ok(1),
            "{name:?}"
        );
        assert_eq!(content(&*power, name), Ok(b"x".to_vec()), "{name:?}");
    }
    let long = "x".repeat(256);
    assert!(power.write(&long, b"x", WriteMode::Replace).is_err());
    assert!(
        power
            .write(&"y/".repeat(3000), b"x", WriteMode::Replace)
            .is_err()
    );
}
