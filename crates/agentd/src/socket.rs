//! The daemon's socket: takes connections from peers it works for, reads bounded lines, hands requests to the methods.
//!
//! Nothing a peer sends ends the daemon or makes its memory grow: lines, connections, requests in flight and waiting
//! answers have a maximum, half requests a time. What does not fit is refused in words, on the same connection.

use crate::{
    config::{Installation, Paths},
    limits::{
        HALF_REQUEST_TIME, IN_FLIGHT_MAX, OUTBOX_LINES_MAX, REQUEST_BYTES_MAX, SILENCE_TIME,
        WRITE_TIME,
    },
    room::Room,
    rpc::{Activity, Caller, Fault, FaultKind, Front, Method, Notifier},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    future::Future,
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::Arc,
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::{
    codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead},
    sync::CancellationToken,
    task::TaskTracker,
};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Another daemon answers there.
    #[error(
        "another daemon answers at {0}. Stop it with `agentd daemon stop`, or choose another socket with --socket"
    )]
    InUse(String),
    /// Something that is not a socket is there.
    #[error("{0} is there and is not a socket. Remove it, or choose another socket with --socket")]
    Occupied(String),
    /// The path is longer than the system takes.
    #[error(
        "the socket's path {0} is longer than {PATH_BYTES_MAX} bytes, the most the system takes. Choose a shorter one with --socket"
    )]
    TooLong(String),
    /// The system refused.
    #[error("the socket {path} cannot be made: {source}")]
    Io {
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Longest path of a Unix socket. Source: unix(7), `sun_path` less its final zero.
const PATH_BYTES_MAX: usize = 107;

/// Binds the socket. One that nobody answers at is replaced; its directory is the owner's alone.
///
/// # Errors
/// Another daemon answers, or the system refused.
pub(crate) async fn bind(paths: &Paths) -> Result<UnixListener, SocketError> {
    let path = paths.socket.value.as_path();
    let name = path.display().to_string();
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(SocketError::TooLong(name));
    }
    let failed = |source| SocketError::Io {
        path: name.clone(),
        source,
    };
    if let Some(directory) = path.parent() {
        let mode = match paths.installation {
            Installation::PerUser => 0o700,
            Installation::System => 0o755,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
            .map_err(failed)?;
    }
    clear_way(path).await?;
    // Bound under a name of its own and moved into place once its mode is right: nobody connects in between.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(if draft.as_os_str().len() > PATH_BYTES_MAX {
        path
    } else {
        &draft
    })
    .map_err(failed)?;
    let bound = if draft.as_os_str().len() > PATH_BYTES_MAX {
        path
    } else {
        draft.as_path()
    };
    protect(bound, paths.installation).map_err(failed)?;
    if bound != path {
        std::fs::rename(bound, path).map_err(failed)?;
    }
    Ok(listener)
}

/// Makes sure that nobody answers at the path.
async fn clear_way(path: &Path) -> Result<(), SocketError> {
    use std::os::unix::fs::FileTypeExt;
    let name = path.display().to_string();
    match std::fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(about) if !about.file_type().is_socket() => return Err(SocketError::Occupied(name)),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(SocketError::InUse(name)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| SocketError::Io { path: name, source })
        }
        Err(source) => Err(SocketError::Io { path: name, source }),
    }
}

/// The group whose members may speak to the system-wide daemon.
const GROUP: &str = "aaos";

/// Lets in whom the installation is for.
fn protect(path: &Path, installation: Installation) -> io::Result<()> {
    let mode = match installation {
        Installation::PerUser => 0o600,
        Installation::System => {
            match group_number(GROUP) {
                Some(group) => std::os::unix::fs::chown(path, None, Some(group))?,
                None => {
                    tracing::warn!("there is no group {GROUP}; only the daemon's own may connect")
                }
            }
            0o660
        }
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// A group's number, from `/etc/group`.
fn group_number(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        fields.nth(1).filter(|_| found)?.parse().ok()
    })
}

/// Takes connections until `closing`, then ends them.
pub(crate) async fn serve(listener: UnixListener, front: Arc<Front>, closing: CancellationToken) {
    let room = Arc::new(Room::of(front.config.paths.installation));
    let connections = TaskTracker::new();
    let ending = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connect(
                    stream,
                    Arc::clone(&front),
                    Arc::clone(&room),
                    ending.clone(),
                );
                connections.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                // Out of file descriptors, most likely: some come free when connections end.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Before anybody is told that the daemon ends: who then looks for it again finds none, and not one that hangs up.
    drop(listener);
    ending.cancel();
    connections.close();
    let _ = tokio::time::timeout(CLOSE_TIME, connections.wait()).await;
}

/// Pause after a connection could not be taken.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// Longest time connections are given to write their last answers.
const CLOSE_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// One connection, from peer check to last answer.
async fn connect(
    stream: UnixStream,
    front: Arc<Front>,
    room: Arc<Room>,
    closing: CancellationToken,
) {
    let _inside = Activity::enter(&front);
    let peer = stream.peer_cred().ok().map(|peer| peer.uid());
    let (reading, writing) = stream.into_split();
    let (outbox, lines) = mpsc::channel(OUTBOX_LINES_MAX);
    let gone = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(write_lines(writing, lines, gone.clone()));
    let admitted = admit(peer, &front).and_then(|uid| {
        let busy = |problem| {
            Fault::new(
                FaultKind::Busy,
                problem,
                "Close one, or try again in a moment",
            )
        };
        Ok((uid, room.enter(uid).map_err(busy)?))
    });
    match admitted {
        Ok((uid, _place)) => {
            let connection = Connection {
                front,
                uid,
                outbox,
                gone: gone.clone(),
                closing,
            };
            connection.read_requests(reading).await;
        }
        Err(fault) => turn_away(outbox, fault).await,
    }
    while tasks.join_next().await.is_some() {}
}

/// Says why, and nothing more.
async fn turn_away(outbox: mpsc::Sender<String>, fault: Fault) {
    drop(outbox.send(answer(&Value::Null, Err(fault))).await);
}

/// The peer's user number, if the daemon works for them.
fn admit(peer: Option<u32>, front: &Front) -> Result<u32, Fault> {
    let refused =
        |problem: &str, next_step: &str| Err(Fault::new(FaultKind::Peer, problem, next_step));
    let Some(uid) = peer else {
        return refused(
            "the system does not say who is asking",
            "Connect over the Unix socket",
        );
    };
    match front.config.paths.installation {
        Installation::System => Ok(uid),
        Installation::PerUser if uid == front.uid || uid == 0 => Ok(uid),
        Installation::PerUser => refused(
            "this daemon works for another user",
            "`agentd submit` starts one of your own",
        ),
    }
}

/// Writes lines until there are no more, or the peer does not read them in time.
async fn write_lines(
    mut writing: OwnedWriteHalf,
    mut lines: mpsc::Receiver<String>,
    gone: CancellationToken,
) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        match tokio::time::timeout(WRITE_TIME, writing.write_all(line.as_bytes())).await {
            Ok(Ok(())) => {}
            _ => break,
        }
    }
    gone.cancel();
    let _ = writing.shutdown().await;
}

/// What one connection's requests share.
struct Connection {
    front: Arc<Front>,
    uid: u32,
    outbox: mpsc::Sender<String>,
    /// The peer is gone.
    gone: CancellationToken,
    /// The daemon is going away.
    closing: CancellationToken,
}

/// Pause between two looks at whether a peer that sends nothing more still reads.
const HANG_UP_LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// Whether the peer closed both halves.
async fn has_hung_up(reading: &OwnedReadHalf) -> bool {
    let ready = reading.as_ref().ready(Interest::WRITABLE);
    // Not ready at once: the peer is there and reads slowly.
    let ready = tokio::time::timeout(std::time::Duration::ZERO, ready).await;
    matches!(ready, Ok(Ok(ready)) if ready.is_write_closed())
}

/// What came of waiting for a line.
enum Read {
    Line(Vec<u8>),
    TooLong,
    Half,
    End,
}

impl Connection {
    /// Reads requests and answers each as soon as it is done. Returns when all are.
    async fn read_requests(self, reading: OwnedReadHalf) {
        let codec = AnyDelimiterCodec::new_with_max_length(
            b"\n".to_vec(),
            b"\n".to_vec(),
            REQUEST_BYTES_MAX,
        );
        let mut lines = FramedRead::new(reading, codec);
        let mut calls = JoinSet::new();
        loop {
            while calls.try_join_next().is_some() {}
            let read = tokio::select! {
                read = next_line(&mut lines, calls.is_empty()) => read,
                () = self.gone.cancelled() => Read::End,
                () = self.closing.cancelled() => Read::End,
            };
            match read {
                Read::Line(line) if line.iter().all(u8::is_ascii_whitespace) => {}
                Read::Line(line) => self.take(&line, &mut calls).await,
                Read::TooLong => {
                    let problem = format!("the request is longer than {REQUEST_BYTES_MAX} bytes");
                    self.refuse(Fault::new(
                        FaultKind::Request,
                        problem,
                        "Put the material into a file and name the file",
                    ))
                    .await;
                }
                Read::Half => {
                    let problem = format!(
                        "half a request waited {} s for its end",
                        HALF_REQUEST_TIME.as_secs()
                    );
                    self.refuse(Fault::new(
                        FaultKind::Request,
                        problem,
                        "Send each request as one line",
                    ))
                    .await;
                    break;
                }
                Read::End => break,
            }
        }
        if self.closing.is_cancelled() {
            self.gone.cancel();
        }
        self.outlive(calls, lines.get_ref()).await;
    }

    /// Waits until every call has ended. Work belongs to the run, not to who asked for it: calls whose peer is gone are
    /// told so and end by themselves. A peer that only closed its sending half still reads its answers.
    async fn outlive(self, mut calls: JoinSet<()>, reading: &OwnedReadHalf) {
        let gone = self.gone.clone();
        // Holds the way to the writer, which ends when all calls have.
        drop(self);
        loop {
            if has_hung_up(reading).await {
                gone.cancel();
            }
            tokio::select! {
                ended = calls.join_next() => if ended.is_none() { return },
                () = tokio::time::sleep(HANG_UP_LOOK) => {}
            }
        }
    }

    async fn refuse(&self, fault: Fault) {
        drop(self.outbox.send(answer(&Value::Null, Err(fault))).await);
    }

    /// Takes one line as a request.
    async fn take(&self, line: &[u8], calls: &mut JoinSet<()>) {
        let request = match read_request(line) {
            Ok(request) => request,
            Err((id, fault)) => {
                drop(self.outbox.send(answer(&id, Err(fault))).await);
                return;
            }
        };
        if calls.len() >= IN_FLIGHT_MAX {
            let problem =
                format!("{IN_FLIGHT_MAX} requests are in flight on this connection already");
            let fault = Fault::new(
                FaultKind::Busy,
                problem,
                "Wait for an answer, or open another connection",
            );
            drop(
                self.outbox
                    .send(answer(&request.id.unwrap_or(Value::Null), Err(fault)))
                    .await,
            );
            return;
        }
        calls.spawn(self.call(request));
    }

    fn call(&self, request: Request) -> impl Future<Output = ()> + Send + 'static {
        let (front, outbox) = (Arc::clone(&self.front), self.outbox.clone());
        let notifier = Notifier {
            id: request.id.clone().unwrap_or(Value::Null),
            outbox: outbox.clone(),
        };
        let caller = Caller {
            uid: self.uid,
            notifier,
            gone: self.gone.clone(),
        };
        async move {
            tracing::debug!(method = %aaos_core::text::preview(&request.method, 64), uid = caller.uid, "request");
            let result = Method::dispatch(front, caller, &request.method, request.params).await;
            if let Some(id) = request.id {
                drop(outbox.send(answer(&id, result)).await);
            }
        }
    }
}

/// Waits for a line: for ever while calls are in flight, a while if the connection is silent, less for half a line.
async fn next_line(lines: &mut FramedRead<OwnedReadHalf, AnyDelimiterCodec>, idle: bool) -> Read {
    loop {
        let half = !lines.read_buffer().is_empty();
        let patience = if half {
            HALF_REQUEST_TIME
        } else {
            SILENCE_TIME
        };
        match tokio::time::timeout(patience, lines.next()).await {
            Ok(Some(Ok(line))) => return Read::Line(line.to_vec()),
            Ok(Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded))) => {
                // The reader pauses once after an error; then it passes over the rest of the line.
                let _ = lines.next().await;
                return Read::TooLong;
            }
            Ok(Some(Err(AnyDelimiterCodecError::Io(_))) | None) => return Read::End,
            Err(_) if half => return Read::Half,
            Err(_) if idle => return Read::End,
            Err(_) => {}
        }
    }
}

/// A request, as read.
struct Request {
    /// None for a notification, which is not answered.
    id: Option<Value>,
    method: String,
    params: Value,
}

/// A refusal and the id it answers.
type Refused = (Value, Fault);

fn wrong(id: Value, problem: &str, next_step: &str) -> Refused {
    (id, Fault::new(FaultKind::Request, problem, next_step))
}

/// Reads a line as a request, or says under which id it is refused.
fn read_request(line: &[u8]) -> Result<Request, Refused> {
    let mut members = read_members(line)?;
    let id = members.remove("id");
    let shown = read_id(id.as_ref())?;
    if members.remove("jsonrpc").as_ref().and_then(Value::as_str) != Some("2.0") {
        return Err(wrong(
            shown,
            "the member `jsonrpc` is not \"2.0\"",
            "Send it with every request",
        ));
    }
    let Some(Value::String(method)) = members.remove("method") else {
        return Err(wrong(
            shown,
            "there is no `method`",
            "`agentd docs rpc` prints all there are",
        ));
    };
    let params = members.remove("params").unwrap_or(Value::Null);
    if !matches!(params, Value::Null | Value::Object(_)) {
        let problem = "`params` is not an object";
        return Err((
            shown,
            Fault::new(FaultKind::Params, problem, "Name every parameter"),
        ));
    }
    if let Some((name, _)) = members.iter().next() {
        let problem = format!("unknown member `{}`", aaos_core::text::preview(name, 64));
        let next_step = "A request has `jsonrpc`, `id`, `method` and `params`";
        return Err(wrong(shown, &problem, next_step));
    }
    Ok(Request { id, method, params })
}

/// The members of the line's object.
fn read_members(line: &[u8]) -> Result<serde_json::Map<String, Value>, Refused> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Array(_)) => {
            let next_step = "Send the requests as lines of their own; they run side by side";
            Err(wrong(Value::Null, "batches are not taken", next_step))
        }
        Ok(_) => {
            let next_step = "Send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.status\"}";
            Err(wrong(Value::Null, "a request is a JSON object", next_step))
        }
        Err(error) => {
            let shown = aaos_core::text::preview(&error.to_string(), 200);
            let next_step = "Send each request as one line of JSON";
            let fault = Fault::new(
                FaultKind::Parse,
                format!("the line is not JSON: {shown}"),
                next_step,
            );
            Err((Value::Null, fault))
        }
    }
}

/// The id as it is sent back.
fn read_id(id: Option<&Value>) -> Result<Value, Refused> {
    match id {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(id @ Value::Number(_)) => Ok(id.clone()),
        Some(Value::String(text)) if text.len() <= ID_BYTES_MAX => Ok(Value::String(text.clone())),
        Some(_) => Err(wrong(
            Value::Null,
            "an id is a number or a short text",
            "Number the requests",
        )),
    }
}

/// Longest text that is taken as an id, in bytes; it is sent back with every answer.
const ID_BYTES_MAX: usize = 256;

/// An answer's line.
fn answer(id: &Value, result: Result<Value, Fault>) -> String {
    let answer = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(fault) => json!({ "jsonrpc": "2.0", "id": id, "error": fault.to_wire() }),
    };
    answer.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    fn code(line: &[u8]) -> i64 {
        read_request(line).err().unwrap().1.code
    }

    #[test]
    fn what_is_no_request_gets_the_code_for_it() {
        assert_eq!(code(b"\xff\x00garbage"), -32700);
        assert_eq!(code(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"meth"), -32700);
        assert_eq!(code(b"[]"), -32600);
        assert_eq!(code(b"7"), -32600);
        assert_eq!(code(br#"{"id":1,"method":"daemon.status"}"#), -32600);
        assert_eq!(code(br#"{"jsonrpc":"2.0","id":1}"#), -32600);
        assert_eq!(code(br#"{"jsonrpc":"2.0","id":{},"method":"x"}"#), -32600);
        assert_eq!(
            code(br#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#),
            -32602
        );
        assert_eq!(
            code(br#"{"jsonrpc":"2.0","id":1,"method":"x","extra":1}"#),
            -32600
        );
    }

    #[test]
    fn a_refusal_carries_the_id_it_answers() {
        let (id, _) = read_request(br#"{"jsonrpc":"1.0","id":"seven","method":"x"}"#)
            .err()
            .unwrap();
        assert_eq!(id, Value::String("seven".to_owned()));
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        let deep = "[".repeat(100_000);
        assert_eq!(code(deep.as_bytes()), -32700);
    }
}
