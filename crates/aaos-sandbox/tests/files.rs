//! The file power on a real file system: the contract, and what only a real one can do to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use aaos_core::capability::{Capability, Need};
use aaos_ports::{
    Files, PowerError,
    power::{Flow, Tidy, WriteMode},
};
use aaos_sandbox::{BeneathFiles, Stop};
use aaos_testkit::contract::files::{FilesWorld, check};
use rustix::fs::{CWD, FileType, Mode};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn grants(texts: &[String]) -> Vec<Capability> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn beneath(&self, texts: &[String]) -> BeneathFiles {
        BeneathFiles::new(&Self::grants(texts), &self.root(), []).unwrap()
    }

    /// Read and write beneath `directory`.
    fn whole(&self, directory: &str) -> BeneathFiles {
        let root = self.root();
        self.beneath(&[
            format!("file_read: {root}/{directory}*"),
            format!("file_write: {root}/{directory}*"),
        ])
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root())
    }
}

fn gather(directory: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let content = if kind.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        into.insert(entry.path().to_string_lossy().into_owned(), content);
        if kind.is_dir() {
            gather(&entry.path(), into);
        }
    }
}

impl FilesWorld for Disk {
    fn root(&self) -> String {
        self.directory.path().to_str().unwrap().to_owned()
    }
    fn put_file(&self, path: &str, content: &[u8]) {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fn put_link(&self, path: &str, target: &str) {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
    fn put_fifo(&self, path: &str) {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    }
    fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        gather(self.directory.path(), &mut all);
        all
    }
    fn power(&self, grants: &[String]) -> Box<dyn Files> {
        Box::new(self.beneath(grants))
    }
}

fn content(power: &dyn Files, path: &str) -> Result<String, PowerError> {
    let mut text = String::new();
    power.open(path)?.bytes.read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn the_contract_holds() {
    check(Disk::new);
}

#[test]
fn a_link_at_any_component_is_refused() {
    let disk = Disk::new();
    let secret = tempfile::tempdir().unwrap();
    fs::create_dir_all(secret.path().join("b/c")).unwrap();
    fs::write(secret.path().join("b/c/d.txt"), "secret").unwrap();
    for depth in ["a", "a/b", "a/b/c", "a/b/c/d.txt"] {
        let _fresh = fs::remove_dir_all(disk.path("a"));
        let above = Path::new(&disk.path(depth)).parent().unwrap().to_owned();
        fs::create_dir_all(above).unwrap();
        let rest = depth.strip_prefix("a").unwrap().trim_start_matches('/');
        symlink(secret.path().join(rest), disk.path(depth)).unwrap();
        let power = disk.whole("");
        assert!(
            matches!(
                content(&power, "a/b/c/d.txt"),
                Err(PowerError::WrongKind { .. })
            ),
            "{depth}"
        );
        assert!(
            power
                .write("a/b/c/d.txt", b"x", WriteMode::Replace)
                .is_err(),
            "{depth}"
        );
        if depth != "a/b/c/d.txt" {
            assert!(
                power
                    .write("a/b/c/new.txt", b"x", WriteMode::CreateNew)
                    .is_err(),
                "{depth}"
            );
            assert!(
                power
                    .write("a/b/c/e/f/new.txt", b"x", WriteMode::CreateNew)
                    .is_err(),
                "{depth}"
            );
        }
        assert_eq!(
            fs::read_to_string(secret.path().join("b/c/d.txt")).unwrap(),
            "secret"
        );
        assert_eq!(fs::read_dir(secret.path().join("b/c")).unwrap().count(), 1);
    }
}

#[test]
fn swaps_in_flight_lead_nowhere() {
    let disk = Disk::new();
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("f.txt"), "secret").unwrap();
    fs::create_dir(disk.path("real")).unwrap();
    fs::write(disk.path("real/f.txt"), "open").unwrap();
    symlink(secret.path(), disk.path("link")).unwrap();
    fs::create_dir(disk.path("at")).unwrap();
    fs::write(disk.path("at/f.txt"), "open").unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (over, at, real, link) = (
            Arc::clone(&over),
            disk.path("at"),
            disk.path("real"),
            disk.path("link"),
        );
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for other in [&link, &real] {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    let _swapped = rustix::fs::renameat_with(CWD, &at, CWD, other, flags);
                }
            }
        })
    };
    let power = disk.whole("");
    let began = Instant::now();
    let mut writes = 0;
    while began.elapsed() < Duration::from_secs(2) {
        if let Ok(read) = content(&power, "at/f.txt") {
            assert_ne!(read, "secret");
        }
        writes += u32::from(power.write("at/f.txt", b"open", WriteMode::Replace).is_ok());
        let _made = power.write("at/x/y.txt", b"open", WriteMode::Replace);
        power
            .walk("at", Tidy::All, &mut |entry| {
                if let Ok(read) = content(&power, &entry.path) {
                    assert_ne!(read, "secret");
                }
                Flow::Continue
            })
            .ok();
    }
    over.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(writes > 0);
    assert_eq!(fs::read_dir(secret.path()).unwrap().count(), 1);
    assert_eq!(
        fs::read_to_string(secret.path().join("f.txt")).unwrap(),
        "secret"
    );
}

#[test]
fn a_write_changes_one_name_of_a_file_with_several() {
    let disk = Disk::new();
    disk.put_file(&disk.path("out/one"), b"old");
    fs::hard_link(disk.path("out/one"), disk.path("other")).unwrap();
    let power = disk.whole("out/");
    assert_eq!(content(&power, "out/one").unwrap(), "old");
    power.write("out/one", b"new", WriteMode::Replace).unwrap();
    assert_eq!(fs::read_to_string(disk.path("other")).unwrap(), "old");
    fs::hard_link(disk.path("out/one"), disk.path("third")).unwrap();
    assert_eq!(power.write("out/one", b"er", WriteMode::Append), Ok(5));
    assert_eq!(fs::read_to_string(disk.path("third")).unwrap(), "new");
    assert_eq!(fs::read_to_string(disk.path("out/one")).unwrap(), "newer");
}

#[test]
fn a_large_file_is_added_to_in_place_unless_it_has_other_names() {
    let disk = Disk::new();
    let large = vec![b'x'; 9 * 1024 * 1024];
    disk.put_file(&disk.path("log"), &large);
    let inode = fs::metadata(disk.path("log")).unwrap().ino();
    let power = disk.whole("");
    assert_eq!(
        power.write("log", b"more", WriteMode::Append),
        Ok(9 * 1024 * 1024 + 4)
    );
    assert_eq!(fs::metadata(disk.path("log")).unwrap().ino(), inode);
    fs::hard_link(disk.path("log"), disk.path("other")).unwrap();
    assert!(matches!(
        power.write("log", b"more", WriteMode::Append),
        Err(PowerError::WrongKind { .. })
    ));
    assert_eq!(
        fs::metadata(disk.path("log")).unwrap().len(),
        9 * 1024 * 1024 + 4
    );
}

#[test]
fn devices_are_never_opened() {
    let disk = Disk::new();
    let power = disk.beneath(&[
        "file_read: /dev/*".to_owned(),
        "file_write: /dev/*".to_owned(),
    ]);
    for device in ["/dev/null", "/dev/zero", "/dev/tty", "/dev/full"] {
        assert!(
            matches!(
                power.open(device).map(|_| ()),
                Err(PowerError::WrongKind { .. } | PowerError::NotFound(_))
            ),
            "{device}"
        );
        assert!(
            power.write(device, b"x", WriteMode::Append).is_err(),
            "{device}"
        );
    }
    assert!(power.open("/dev/fd/0").is_err() && power.open("/dev/stdin").is_err());
}

#[test]
fn a_new_file_can_be_read_by_others_and_an_old_one_keeps_its_mode() {
    let disk = Disk::new();
    let power = disk.whole("");
    power
        .write("sub/new.txt", b"x", WriteMode::Replace)
        .unwrap();
    let mode = |name: &str| fs::metadata(disk.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("sub/new.txt") & 0o600, mode("sub/new.txt") & 0o133),
        (0o600, 0)
    );
    assert_eq!(mode("sub") & 0o700, 0o700);
    fs::set_permissions(disk.path("sub/new.txt"), fs::Permissions::from_mode(0o4755)).unwrap();
    power
        .write("sub/new.txt", b"y", WriteMode::Replace)
        .unwrap();
    assert_eq!(mode("sub/new.txt"), 0o755);
    fs::set_permissions(disk.path("sub/new.txt"), fs::Permissions::from_mode(0o444)).unwrap();
    assert!(matches!(
        power.write("sub/new.txt", b"z", WriteMode::Replace),
        Err(PowerError::WrongKind { .. })
    ));
    assert_eq!(fs::read(disk.path("sub/new.txt")).unwrap(), b"y");
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let disk = Disk::new();
    disk.put_file(&disk.path("file"), b"x");
    let before = disk.everything();
    let power = disk.whole("");
    let long = "n".repeat(255);
    // The last name fits on its own; with it the path does not, after several directories were made.
    let deep = format!("{}/{}", ["d"; 3].join("/"), "e/".repeat(10)) + &long.repeat(2);
    assert!(power.write(&deep, b"x", WriteMode::Replace).is_err());
    assert!(
        power
            .write("made/here/file/", b"", WriteMode::Replace)
            .is_ok()
    );
    fs::remove_dir_all(disk.path("made")).unwrap();
    assert!(
        power
            .write("file/below/it", b"x", WriteMode::Replace)
            .is_err()
    );
    let stop = Stop::default();
    let call = power
        .for_call(vec![Need::write("p/q/r.txt")], stop.clone())
        .unwrap();
    stop.stop();
    assert!(call.write("p/q/r.txt", b"x", WriteMode::Replace).is_err());
    assert_eq!(disk.everything(), before);
}

#[test]
fn a_reader_sees_the_old_or_the_new_and_never_a_part() {
    let disk = Disk::new();
    let power = disk.whole("");
    let (one, two) = ("1".repeat(300_000), "2".repeat(200_000));
    power
        .write("f", one.as_bytes(), WriteMode::Replace)
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (over, power, one, two) = (Arc::clone(&over), power.clone(), one.clone(), two.clone());
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                power
                    .write("f", two.as_bytes(), WriteMode::Replace)
                    .unwrap();
                power
                    .write("f", one.as_bytes(), WriteMode::Replace)
                    .unwrap();
            }
        })
    };
    for _ in 0..300 {
        let seen = content(&power, "f").unwrap();
        assert!(seen == one || seen == two, "{} bytes", seen.len());
    }
    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(fs::read_dir(disk.root()).unwrap().count(), 1);
}

#[test]
fn the_operators_own_links_are_followed_and_an_agents_are_not() {
    let disk = Disk::new();
    disk.put_file(&disk.path("real/a.txt"), b"words");
    disk.put_link(&disk.path("mine"), "real");
    disk.put_link(&disk.path("file"), "real/a.txt");
    let mine = disk.path("mine");
    let grants = Disk::grants(&[
        format!("file_read: {mine}/*"),
        format!("file_write: {mine}/*"),
        format!("file_read: {}/file", disk.root()),
    ]);
    let (file, out) = (disk.path("file"), disk.path("mine/out"));
    let anchored = BeneathFiles::new(
        &grants,
        &disk.root(),
        [mine.as_str(), file.as_str(), out.as_str()],
    )
    .unwrap();
    assert_eq!(content(&anchored, "mine/a.txt").unwrap(), "words");
    assert_eq!(content(&anchored, "file").unwrap(), "words");
    assert_eq!(
        anchored.write("mine/out/new.txt", b"x", WriteMode::Replace),
        Ok(1)
    );
    assert!(fs::exists(disk.path("real/out/new.txt")).unwrap());
    symlink("/etc", disk.path("real/planted")).unwrap();
    assert!(matches!(
        content(&anchored, "mine/planted/passwd"),
        Err(PowerError::WrongKind { .. })
    ));
    let plain = BeneathFiles::new(&grants, &disk.root(), []).unwrap();
    assert!(matches!(
        content(&plain, "mine/a.txt"),
        Err(PowerError::WrongKind { .. })
    ));
    let based = BeneathFiles::new(&grants, &mine, []).unwrap();
    assert_eq!(content(&based, "a.txt").unwrap(), "words");
}

#[test]
fn a_call_reaches_only_what_it_declared() {
    let disk = Disk::new();
    disk.put_file(&disk.path("a/one"), b"1");
    disk.put_file(&disk.path("a/two"), b"2");
    disk.put_file(&disk.path("b/three"), b"3");
    let power = disk.whole("");
    let call = |needs: Vec<Need>| power.for_call(needs, Stop::default()).unwrap();
    let one = call(vec![Need::read("a/one")]);
    assert_eq!(content(&one, "a/one").unwrap(), "1");
    assert!(matches!(
        content(&one, "a/two"),
        Err(PowerError::Denied { .. })
    ));
    assert!(matches!(
        one.write("a/one", b"x", WriteMode::Replace),
        Err(PowerError::Denied { .. })
    ));
    let tree = call(vec![Need::read_tree("a")]);
    assert_eq!(content(&tree, "a/two").unwrap(), "2");
    assert!(matches!(
        content(&tree, "b/three"),
        Err(PowerError::Denied { .. })
    ));
    assert!(matches!(
        call(Vec::new()).stat("a/one"),
        Err(PowerError::Denied { .. })
    ));
    // A declared need that no grant covers opens nothing.
    assert!(matches!(
        content(&call(vec![Need::read("/etc/passwd")]), "/etc/passwd"),
        Err(PowerError::Denied { .. })
    ));
}

#[test]
fn a_stopped_call_can_do_nothing_more() {
    let disk = Disk::new();
    disk.put_file(&disk.path("a"), &vec![b'x'; 200_000]);
    let stop = Stop::default();
    let power = disk
        .whole("")
        .for_call(vec![Need::read_tree("."), Need::write("b")], stop.clone())
        .unwrap();
    let mut open = power.open("a").unwrap();
    let mut some = [0; 10];
    open.bytes.read_exact(&mut some).unwrap();
    stop.stop();
    assert!(open.bytes.read(&mut some).is_err());
    assert!(
        power.open("a").is_err()
            && power.list(".", 9).is_err()
            && power.write("b", b"", WriteMode::Replace).is_err()
    );
    assert!(
        power
            .walk(".", Tidy::All, &mut |_| panic!("visited"))
            .is_err()
    );
}

#[test]
fn the_whole_tree_of_the_machine_can_be_granted() {
    let disk = Disk::new();
    disk.put_file(&disk.path("a"), b"x");
    let power = disk.beneath(&["file_read: /*".to_owned()]);
    assert_eq!(content(&power, &disk.path("a")).unwrap(), "x");
    assert!(
        power
            .list("/", 500)
            .is_ok_and(|(entries, _)| entries.iter().any(|entry| entry.path == "/etc"))
    );
    // What a magic link leads to was never named.
    assert!(
        power.open("/proc/self/fd/0").is_err() && power.open("/proc/self/root/etc/passwd").is_err()
    );
}

#[test]
fn names_that_are_not_text_do_no_harm() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let disk = Disk::new();
    let odd = disk.directory.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::write(&odd, "x").unwrap();
    disk.put_file(&disk.path("plain"), b"x");
    let power = disk.whole("");
    assert_eq!(power.list(".", 9).unwrap().0.len(), 2);
    let mut seen = 0;
    power
        .walk(".", Tidy::All, &mut |_| {
            seen += 1;
            Flow::Continue
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_very_deep_tree_ends() {
    let disk = Disk::new();
    let power = disk.whole("");
    let deep = "d/".repeat(200);
    power
        .write(&format!("{deep}f"), b"x", WriteMode::Replace)
        .unwrap();
    power.write("f", b"x", WriteMode::Replace).unwrap();
    let mut seen = 0;
    power
        .walk(".", Tidy::All, &mut |_| {
            seen += 1;
            Flow::Continue
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn no_grant_reaches_the_runtimes_own_files_and_its_open_folders_stay_reachable() {
    let disk = Disk::new();
    fs::create_dir_all(disk.path("state/runs/one")).unwrap();
    fs::write(disk.path("state/journal.db"), "events").unwrap();
    fs::write(disk.path("state/runs/one/note"), "mine").unwrap();
    fs::write(disk.path("keys"), "secret").unwrap();
    std::os::unix::fs::symlink(disk.path("state"), disk.path("way")).unwrap();
    let own = aaos_sandbox::OwnFiles::new(
        &[disk.path("state"), disk.path("keys")],
        &[disk.path("state/runs")],
    );
    let root = disk.root();
    let grants = Disk::grants(&[
        format!("file_read: {root}/*"),
        format!("file_write: {root}/*"),
    ]);
    let way = disk.path("way");
    let files = BeneathFiles::new(&grants, &root, [way.as_str()])
        .unwrap()
        .without(std::sync::Arc::new(own));

    for kept in ["state/journal.db", "keys", "state/new", "way/journal.db"] {
        let path = disk.path(kept);
        assert!(
            matches!(files.open(&path), Err(PowerError::Denied { .. })),
            "{kept}"
        );
        assert!(
            matches!(
                files.write(&path, b"x", WriteMode::Replace),
                Err(PowerError::Denied { .. })
            ),
            "{kept}"
        );
        assert!(
            matches!(files.stat(&path), Err(PowerError::Denied { .. })),
            "{kept}"
        );
    }
    assert!(matches!(
        files.list(&disk.path("state"), 10),
        Err(PowerError::Denied { .. })
    ));
    assert_eq!(fs::read(disk.path("state/journal.db")).unwrap(), b"events");
    assert!(files.open(&disk.path("state/runs/one/note")).is_ok());

    let mut seen = Vec::new();
    let visit = &mut |entry: &aaos_ports::power::Entry| {
        seen.push(entry.path.clone());
        aaos_ports::power::Flow::Continue
    };
    files
        .walk(&root, aaos_ports::power::Tidy::All, visit)
        .unwrap();
    assert!(
        seen.iter()
            .all(|path| !path.ends_with("journal.db") && !path.ends_with("keys")),
        "{seen:?}"
    );
}

#[test]
fn what_steers_git_is_never_written() {
    let disk = Disk::new();
    let files = disk.whole("");
    for name in [".git/hooks/pre-commit", "a/.git/config", "a/.git"] {
        let refused = files.write(&disk.path(name), b"x", WriteMode::Replace);
        assert!(
            matches!(&refused, Err(PowerError::Denied { axis, reason, .. }) if axis == "path" && reason.contains("operator")),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(fs::read_dir(disk.root()).unwrap().count(), 0);
    files
        .write(&disk.path(".git/info/exclude"), b"x", WriteMode::Replace)
        .unwrap();
}
