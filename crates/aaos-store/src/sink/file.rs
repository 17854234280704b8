//! Lines of JSON at the end of a file, synced after every delivery.
//!
//! The last event's place is kept beside it in `<file>.position`. When the two disagree the file is right: a half
//! line at its end is cut off, and the place in its last line counts. A file that is gone from its name is made anew.

use super::{Opened, Position, Start, Target, lines};
use aaos_core::event::{Event, Seq};
use aaos_ports::Sink;
use async_trait::async_trait;
use serde::Deserialize;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Its name in configuration.
pub(crate) const NAME: &str = "file";
/// What is added to the file's name for its position.
const POSITION_SUFFIX: &str = ".position";
/// Bytes read at a time when the last line is looked for.
const BACKWARD_BYTES: u64 = 64 << 10;
/// Longest last line that is understood; an event's bound and room for its envelope.
const LINE_BYTES_MAX: u64 = (crate::limits::EVENT_BYTES_MAX as u64) + (64 << 10);
/// Most bytes read of a position.
const POSITION_BYTES_MAX: u64 = 32;

/// Opens it, going on where it stopped; from the journal's beginning if it never began.
pub(super) fn open(target: &Target) -> io::Result<Opened> {
    let Some(path) = &target.path else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the file sink needs a path: set one",
        ));
    };
    let mut file = open_file(path)?;
    let beside = Beside(position_path(path));
    let last = last_place(&mut file)?.max(beside.load()?);
    let open = Mutex::new(Some(file));
    let sink = Arc::new(Lines {
        path: path.clone(),
        open: Arc::new(open),
    });
    Ok(Opened {
        sink,
        start: Start::After(Seq(last)),
        position: Some(Box::new(beside)),
    })
}

fn position_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(POSITION_SUFFIX);
    PathBuf::from(name)
}

/// Refuses what is not a plain file: a FIFO without a reader would hold up the sink for ever.
fn open_file(path: &Path) -> io::Result<File> {
    if let Ok(found) = fs::metadata(path)
        && !found.is_file()
    {
        let message = format!("{} is not a plain file: name another", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Cuts a half line off the end and answers with the place in the last whole one; 0 if there is none.
fn last_place(file: &mut File) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Line {
        seq: u64,
    }
    let size = file.metadata()?.len();
    let whole = after_last_newline(file, size)?;
    if whole < size {
        file.set_len(whole)?;
    }
    let Some(end) = whole.checked_sub(1) else {
        return Ok(0);
    };
    let start = after_last_newline(file, end)?;
    if end.saturating_sub(start) > LINE_BYTES_MAX {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(start))?;
    let mut line = String::new();
    // What is not ours says nothing of our place.
    match file
        .take(end.saturating_sub(start))
        .read_to_string(&mut line)
    {
        Ok(_) => Ok(serde_json::from_str::<Line>(&line).map_or(0, |line| line.seq)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(0),
        Err(error) => Err(error),
    }
}

/// Where the line begins that holds the byte before `end`: after the last newline before `end`.
fn after_last_newline(file: &mut File, end: u64) -> io::Result<u64> {
    let mut end = end;
    while end > 0 {
        let start = end.saturating_sub(BACKWARD_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        Read::by_ref(file)
            .take(end.saturating_sub(start))
            .read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start.saturating_add(at as u64).saturating_add(1));
        }
        end = start;
    }
    Ok(0)
}

struct Beside(PathBuf);

impl Beside {
    fn load(&self) -> io::Result<u64> {
        let mut text = String::new();
        match File::open(&self.0) {
            Ok(file) => file.take(POSITION_BYTES_MAX).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        text.trim().parse().map_err(|_| {
            let message = format!(
                "{} holds no number: remove it to copy everything again",
                self.0.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }
}

impl Position for Beside {
    /// Not synced: after a power cut the file's own last line tells as much.
    fn store(&self, last: Seq) -> io::Result<()> {
        let mut temporary = self.0.as_os_str().to_owned();
        temporary.push(".new");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        writeln!(file, "{}", last.0)?;
        fs::rename(&temporary, &self.0)
    }
}

struct Lines {
    path: PathBuf,
    open: Arc<Mutex<Option<File>>>,
}

#[async_trait]
impl Sink for Lines {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn deliver(&self, events: &[Event]) -> io::Result<()> {
        let text = lines(events)?;
        let (path, open) = (self.path.clone(), Arc::clone(&self.open));
        let written = tokio::task::spawn_blocking(move || {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let mut file = match open.take().filter(|file| is_still_at(file, &path)) {
                Some(file) => file,
                None => open_file(&path)?,
            };
            append(&mut file, &text)?;
            *open = Some(file);
            Ok(())
        });
        written.await.map_err(io::Error::other)?
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.dev() == there.dev() && ours.ino() == there.ino(),
        _ => false,
    }
}

/// All of the text or none of it: the same events are delivered again after a failure.
fn append(file: &mut File, text: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(text).and_then(|()| file.sync_data());
    if written.is_err() {
        // If this fails too, a half line stays until the sink is opened again; the first failure is the one to tell.
        file.set_len(before).ok();
    }
    written
}
