//! One program from its start to its end: fed, read, and ended with everything it left behind.
//!
//! Refuses: growing with what a program writes, waiting for one that does not read, and outliving its call.

use super::{calls::Ticket, capture::Capture, line::stopped};
use crate::sys;
use aaos_ports::{
    PowerError,
    power::{Ended, Finished},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    io::{self, PipeReader, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus},
};

/// Most bytes kept of one output, whatever is asked for: two of them, escaped, still fit a frame.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read from an output at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// A program that has been started.
pub(super) struct Started<'a> {
    pub(super) child: Child,
    pub(super) ticket: &'a Ticket,
    /// Readable when the program is to end.
    pub(super) wake: &'a PipeReader,
    /// What is being done, for errors.
    pub(super) what: &'a str,
}

/// A program was started, and what it has done by now nobody knows.
fn lost(what: &str, error: &io::Error) -> PowerError {
    PowerError::Lost {
        what: what.to_owned(),
        message: error.to_string(),
    }
}

/// One output of a program, until it is closed.
struct Output<T> {
    pipe: Option<T>,
    kept: Capture,
}

impl<T: AsFd> Output<T> {
    fn new(pipe: Option<T>, bytes_max: usize) -> Result<Self, Errno> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        let kept = Capture::new(bytes_max.min(OUTPUT_BYTES_MAX));
        Ok(Self { pipe, kept })
    }

    /// Takes what is there. A pipe that fails is as good as closed.
    fn drain(&mut self, buffer: &mut [u8], whole: bool) {
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(came) if came > 0 => {
                    self.kept.take(buffer.get(..came).unwrap_or_default());
                    if !whole {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
    }
}

impl Started<'_> {
    /// Feeds the program and reads it until it has ended or its call is over; then ends what it left behind.
    ///
    /// # Errors
    /// The call is over, something was taken away from the agent meanwhile, or the system refused.
    pub(super) fn finish(
        mut self,
        input: &[u8],
        output_bytes_max: usize,
    ) -> Result<Finished, PowerError> {
        let watched = self.watch(input, output_bytes_max);
        // The status first: ending everyone reaps everyone.
        let status = self.child.try_wait();
        let gone = match sys::end_everyone() {
            // Not the first process of a namespace: only the program itself can be ended.
            Err(Errno::PERM) => self
                .child
                .kill()
                .and_then(|()| self.child.wait())
                .map(|_| ()),
            other => other.map_err(io::Error::from),
        };
        let (mut stdout, mut stderr) = watched?;
        gone.map_err(|error| self.lost(&error))?;
        let status = status.map_err(|error| self.lost(&error))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        stdout.drain(&mut buffer, true);
        stderr.drain(&mut buffer, true);
        let Some(status) = status else {
            return Err(self.broken_off());
        };
        Ok(Finished {
            ended: ended(status),
            stdout: stdout.kept.finish(),
            stderr: stderr.kept.finish(),
        })
    }

    fn lost(&self, error: &io::Error) -> PowerError {
        lost(self.what, error)
    }

    /// What is said of a program that did not end by itself.
    fn broken_off(&self) -> PowerError {
        if self.ticket.is_over() {
            return stopped(self.what);
        }
        PowerError::Lost {
            what: self.what.to_owned(),
            message: "it was ended because the agent holds less than when it began; see what is still granted, and call \
                      again"
                .to_owned(),
        }
    }

    fn watch(
        &mut self,
        input: &[u8],
        output_bytes_max: usize,
    ) -> Result<(Output<ChildStdout>, Output<ChildStderr>), PowerError> {
        let what = self.what;
        let fault = |errno: Errno| lost(what, &errno.into());
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(Errno::SRCH).map_err(fault)?;
        let over = pidfd_open(pid, PidfdFlags::empty()).map_err(fault)?;
        let mut stdin = Input::new(self.child.stdin.take(), input).map_err(fault)?;
        let mut stdout = Output::new(self.child.stdout.take(), output_bytes_max).map_err(fault)?;
        let mut stderr = Output::new(self.child.stderr.take(), output_bytes_max).map_err(fault)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let ready = {
                let ends = Ends {
                    over: &over,
                    wake: self.wake,
                    stdin: stdin.pipe.as_ref(),
                    stdout: stdout.pipe.as_ref(),
                    stderr: stderr.pipe.as_ref(),
                };
                ends.wait(self.ticket).map_err(fault)?
            };
            if ready.over || self.ticket.is_over() {
                return Ok((stdout, stderr));
            }
            if ready.stdin {
                stdin.feed();
            }
            // One piece each in turn, so that neither output keeps the other or the end from being seen.
            stdout.drain(&mut buffer, false);
            stderr.drain(&mut buffer, false);
        }
    }
}

/// What a program reads from its standard input.
struct Input<'a> {
    pipe: Option<ChildStdin>,
    left: &'a [u8],
}

impl<'a> Input<'a> {
    fn new(pipe: Option<ChildStdin>, left: &'a [u8]) -> Result<Self, Errno> {
        // With nothing to read the program finds the end at once.
        let pipe = pipe.filter(|_| !left.is_empty());
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, left })
    }

    /// Gives the program what it takes now. One that does not read on is given no more.
    fn feed(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.write(self.left) {
            Ok(went) => self.left = self.left.get(went..).unwrap_or_default(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.left = &[],
        }
        if self.left.is_empty() {
            self.pipe = None;
        }
    }
}

/// What is waited for at once.
struct Ends<'a, O, E> {
    over: &'a OwnedFd,
    wake: &'a PipeReader,
    stdin: Option<&'a ChildStdin>,
    stdout: Option<&'a O>,
    stderr: Option<&'a E>,
}

struct Ready {
    over: bool,
    stdin: bool,
}

impl<O: AsFd, E: AsFd> Ends<'_, O, E> {
    /// Waits until something has happened or the call's time is over.
    fn wait(self, ticket: &Ticket) -> Result<Ready, Errno> {
        let mut fds = vec![
            PollFd::new(self.over, PollFlags::IN),
            PollFd::new(self.wake, PollFlags::IN),
        ];
        fds.extend(self.stdout.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(self.stderr.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(self.stdin.map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        let left = Timespec::try_from(ticket.left()).ok();
        match poll(&mut fds, left.as_ref()) {
            Err(Errno::INTR) | Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let stdin = self.stdin.is_some() && fds.last().is_some_and(ready);
        Ok(Ready {
            over: fds.iter().take(2).any(ready),
            stdin,
        })
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Code(status.into_raw()),
    }
}
