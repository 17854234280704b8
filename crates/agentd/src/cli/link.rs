//! The command line's end of the socket: one request line out, answers and notifications in.

use super::{CliError, Code};
use crate::{
    limits::{ANSWER_BYTES_MAX, ANSWER_TIME},
    rpc::{Call, Fault, wire::Piece},
};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{io, path::Path, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::codec::{AnyDelimiterCodec, FramedRead};

/// A connection to the daemon.
pub(crate) struct Link {
    writing: OwnedWriteHalf,
    lines: FramedRead<OwnedReadHalf, AnyDelimiterCodec>,
    place: String,
    next_id: u64,
}

/// What came in.
pub(crate) enum Incoming {
    /// A piece of a watched run.
    Piece(Piece),
    /// The answer to the request.
    Answer(Result<Value, Fault>),
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn open(socket: &Path) -> io::Result<Self> {
        let (reading, writing) = UnixStream::connect(socket).await?.into_split();
        let codec = AnyDelimiterCodec::new_with_max_length(
            b"\n".to_vec(),
            b"\n".to_vec(),
            ANSWER_BYTES_MAX,
        );
        Ok(Self {
            writing,
            lines: FramedRead::new(reading, codec),
            place: socket.display().to_string(),
            next_id: 1,
        })
    }

    /// Asks and waits for the answer, for as long as a question takes that asks nobody else.
    pub(crate) async fn ask<C: Call>(
        &mut self,
        doing: &str,
        params: &C::Params,
    ) -> Result<C::Answer, CliError> {
        self.ask_for::<C>(doing, params, ANSWER_TIME).await
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask_for<C: Call>(
        &mut self,
        doing: &str,
        params: &C::Params,
        patience: Duration,
    ) -> Result<C::Answer, CliError> {
        self.begin::<C>(doing, params).await?;
        let answered = async {
            loop {
                if let Incoming::Answer(answer) = self.next(doing).await? {
                    return answer.map_err(|fault| CliError::from_fault(doing, fault));
                }
            }
        };
        let Ok(answer) = tokio::time::timeout(patience, answered).await else {
            let problem = format!("the daemon did not answer within {} s", patience.as_secs());
            return Err(self.broken(doing, &problem));
        };
        self.understand(doing, answer?)
    }

    /// Reads an answer as what it should be.
    pub(crate) fn understand<T: DeserializeOwned>(
        &self,
        doing: &str,
        answer: Value,
    ) -> Result<T, CliError> {
        serde_json::from_value(answer)
            .map_err(|error| self.strange(doing, "the daemon's answer", &error))
    }

    /// Sends a request.
    pub(crate) async fn begin<C: Call>(
        &mut self,
        doing: &str,
        params: &C::Params,
    ) -> Result<(), CliError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line =
            json!({ "jsonrpc": "2.0", "id": id, "method": C::NAME, "params": params }).to_string();
        line.push('\n');
        match self.writing.write_all(line.as_bytes()).await {
            Ok(()) => Ok(()),
            // The daemon may have said why before it hung up.
            Err(error) => match self.next(doing).await {
                Ok(Incoming::Answer(Err(fault))) => Err(CliError::from_fault(doing, fault)),
                _ => Err(self.broken(doing, &format!("the connection broke: {error}"))),
            },
        }
    }

    /// Waits for the next thing that comes in.
    pub(crate) async fn next(&mut self, doing: &str) -> Result<Incoming, CliError> {
        let line = match self.lines.next().await {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                return Err(self.broken(doing, &format!("the connection broke: {error}")));
            }
            None => return Err(self.broken(doing, "the daemon closed the connection")),
        };
        let mut value: Value = serde_json::from_slice(&line).map_err(|error| {
            let problem = format!("what answers there speaks another language: {error}");
            self.broken(doing, &problem)
        })?;
        if let Some(piece) = value.pointer_mut("/params/piece") {
            let piece = serde_json::from_value(piece.take());
            return piece
                .map(Incoming::Piece)
                .map_err(|error| self.strange(doing, "an event of the daemon's", &error));
        }
        if let Some(error) = value.get("error") {
            return Ok(Incoming::Answer(Err(Fault::from_wire(error))));
        }
        Ok(Incoming::Answer(Ok(value
            .get_mut("result")
            .map(Value::take)
            .unwrap_or(Value::Null))))
    }

    fn strange(&self, doing: &str, what: &str, error: &serde_json::Error) -> CliError {
        let problem = format!("{}: {what} is not understood: {error}", self.place);
        let next_step = "Run `agentd daemon restart`: it may be of another version";
        CliError::new(Code::Unreachable, doing, problem, next_step)
    }

    fn broken(&self, doing: &str, problem: &str) -> CliError {
        let next_step =
            "The run goes on if the daemon does. See `agentd daemon status` and `agentd list`";
        CliError::new(
            Code::Unreachable,
            doing,
            format!("{}: {problem}", self.place),
            next_step,
        )
    }
}
