//! A launcher and workers that speak the protocol, each wrongly in a way of its own. The way is the program's name.

use aaos_core::{
    id::CallId,
    proof::{Canary, Layer, Profile, Proof},
};
use aaos_sandbox::protocol::{
    FRAME_BYTES_MAX, FileAct, FromWorker, Order, PACKET_BYTES_MAX, Report, ToWorker, VERSION,
    frame,
    line::{Frames, receive, send},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{RecvFlags, SendFlags},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::Write,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
};

/// Behaves as its name says.
pub(crate) fn main(line: OwnedFd, way: &str, role: Option<&str>) {
    match role {
        Some("worker") => Worker::new(UnixStream::from(line), way).serve(),
        _ => launcher(&line, way),
    }
}

fn report(control: &OwnedFd, report: &Report, descriptor: Option<&OwnedFd>) {
    let packet = frame::packet(report, PACKET_BYTES_MAX).unwrap();
    send(
        control,
        &packet,
        descriptor.map(AsFd::as_fd),
        SendFlags::empty(),
    )
    .unwrap();
}

fn launcher(control: &OwnedFd, way: &str) {
    match way {
        "absent" => return,
        "outdated" => report(
            control,
            &Report::Hello {
                version: VERSION + 1,
            },
            None,
        ),
        _ => report(control, &Report::Hello { version: VERSION }, None),
    }
    let program = std::env::args_os().next().unwrap();
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let mut descriptors = VecDeque::new();
    loop {
        let came = receive(control, &mut bytes, &mut descriptors, RecvFlags::empty()).unwrap();
        if came == 0 {
            return;
        }
        let Order::Start { id, .. } = frame::decode(&bytes[..came]).unwrap() else {
            panic!("nothing is to be held here");
        };
        let line = descriptors.pop_front().unwrap();
        if way == "incapable" {
            let failed = Report::Failed {
                id,
                layer: Layer::UserNamespace,
                missing: "user namespaces".to_owned(),
                next_step: "allow them".to_owned(),
            };
            report(control, &failed, None);
            continue;
        }
        let mut child = Command::new(&program)
            .arg("worker")
            .stdin(Stdio::from(line))
            .spawn()
            .unwrap();
        let pid = child.id();
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        thread::spawn(move || child.wait());
        report(control, &Report::Started { id, pid }, Some(&handle));
    }
}

struct Worker {
    way: String,
    to: UnixStream,
    from: Frames<UnixStream>,
}

impl Worker {
    fn new(line: UnixStream, way: &str) -> Self {
        Self {
            way: way.to_owned(),
            to: line.try_clone().unwrap(),
            from: Frames::new(line, FRAME_BYTES_MAX),
        }
    }

    fn say(&mut self, word: &FromWorker) {
        self.raw(&frame::encode(word, FRAME_BYTES_MAX).unwrap());
    }

    fn raw(&mut self, bytes: &[u8]) {
        // The daemon may have hung up, as it should.
        if self.to.write_all(bytes).is_err() {
            std::process::exit(0);
        }
    }

    fn hear(&mut self) -> ToWorker {
        match self.from.take_next() {
            Ok(Some(word)) => word,
            _ => std::process::exit(0),
        }
    }

    fn done(&mut self, call: CallId, json: &str) {
        let outcome = Ok(json.to_owned());
        self.say(&FromWorker::Done { call, outcome });
    }

    fn silence(&mut self) -> ! {
        loop {
            self.hear();
        }
    }

    fn serve(mut self) {
        match self.way.as_str() {
            "unstaged" => self.silence(),
            "unfit" => self.say(&FromWorker::Unfit {
                layer: Layer::Root,
                missing: "a root".to_owned(),
                next_step: "make one".to_owned(),
            }),
            _ => self.say(&FromWorker::Staged { version: VERSION }),
        }
        let ToWorker::Confine(_) = self.hear() else {
            return;
        };
        let proof = proof(&self.way);
        self.say(&FromWorker::Ready { proof });
        loop {
            match self.hear() {
                ToWorker::Call { call, input, .. } => self.called(call, &input),
                ToWorker::Narrow { .. } if self.way != "greedy" => self.say(&FromWorker::Narrowed),
                _ => {}
            }
        }
    }

    fn called(&mut self, call: CallId, input: &str) {
        let other = CallId::from_drawn(call.number() + 1000);
        match self.way.as_str() {
            "forger" => self.done(other, "1"),
            "repeater" => {
                self.done(call, input);
                self.done(call, input);
            }
            "giant" => self.raw(&u32::MAX.to_le_bytes()),
            "babbler" => self.raw(&[3, 0, 0, 0, 0xff, 0xff, 0xff]),
            "half" => {
                self.raw(&[200, 0, 0, 0, 1]);
                std::process::exit(0);
            }
            "quitter" => std::process::exit(0),
            "poet" => self.done(call, "roses are red"),
            "restarter" => self.say(&FromWorker::Staged { version: VERSION }),
            "eager" => self.say(&FromWorker::Narrowed),
            "mute" => {}
            "deaf" => loop {
                thread::park();
            },
            "flooder" => loop {
                self.ask(1, call, "/etc/hosts");
            },
            "thief" => self.ask(1, other, "/etc/hosts"),
            "giver" => {
                let file = File::open("/dev/null").unwrap();
                let word = FromWorker::Done {
                    call,
                    outcome: Ok(input.to_owned()),
                };
                let bytes = frame::encode(&word, FRAME_BYTES_MAX).unwrap();
                send(&self.to, &bytes, Some(file.as_fd()), SendFlags::empty()).unwrap();
            }
            "asker" => self.asks(call, input),
            _ => self.done(call, input),
        }
    }

    fn ask(&mut self, ask: u64, call: CallId, path: &str) {
        let act = FileAct::Open {
            path: path.to_owned(),
        };
        self.say(&FromWorker::Ask { ask, call, act });
    }

    /// Asks for each path of its input, a JSON list of texts, and answers with what came of each.
    fn asks(&mut self, call: CallId, input: &str) {
        let input: serde_json::Value = serde_json::from_str(input).unwrap();
        let paths = input["ask"].as_array().unwrap().clone();
        let mut answers = Vec::new();
        for path in paths {
            self.ask(7, call, path.as_str().unwrap());
            let ToWorker::Answer { ask: 7, answer } = self.hear() else {
                std::process::exit(1);
            };
            let mut text = format!("{answer:?}");
            if let Some(descriptor) = self.from.descriptor() {
                text = std::io::read_to_string(File::from(descriptor)).unwrap();
            }
            answers.push(text);
        }
        self.done(call, &serde_json::to_string(&answers).unwrap());
    }
}

fn proof(way: &str) -> Proof {
    let mut proof = Proof {
        profile: Profile::Plain,
        landlock_abi: 7,
        // It claims more than a worker can know.
        layers: Layer::ALL.into_iter().collect(),
        canaries: Vec::new(),
    };
    if way == "unproven" {
        proof.layers.remove(&Layer::Landlock);
    }
    if way == "escaped" {
        proof.canaries.push(Canary {
            tried: "open a file outside".to_owned(),
            layer: Layer::Root,
            stopped: false,
            found: "opened".to_owned(),
        });
    }
    if way == "lax" {
        proof.profile = Profile::Exec;
    }
    proof
}
