//! A service on loopback that counts every effect it is asked for, under a name that a run uses once.
//!
//! `POST /plain/NAME` does it each time, `POST /keyed/NAME` once for an `Idempotency-Key`, `PUT /set/NAME` sets a value,
//! `GET /get/NAME` changes nothing. It may be slow, and cut the connection before or after the act. It lives in the
//! test's process, so what it knows outlives every daemon.

use crate::seed::Seed;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Longest silence of a client.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: u64 = 64 * 1024;

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// How often each name was done, by path and name.
    pub(crate) done: BTreeMap<String, u32>,
    /// The value each name was set to, and how often.
    pub(crate) set: BTreeMap<String, (String, u32)>,
    /// Keys that were seen, and what they did.
    keys: BTreeMap<String, String>,
    /// Requests for each name, answered or not.
    asked: BTreeMap<String, u64>,
}

/// The service.
pub(crate) struct Effects(Arc<State>);

struct State {
    address: SocketAddr,
    seed: Seed,
    trouble: AtomicBool,
    /// Whether pages are held back, and how many are being.
    held: Mutex<(bool, u32)>,
    let_go: Condvar,
    ended: AtomicBool,
    number: AtomicU64,
    record: Mutex<Record>,
    open: Mutex<BTreeSet<u64>>,
    closed: Condvar,
}

impl Effects {
    /// Serves, without trouble.
    pub(crate) fn serve(seed: &Seed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(State {
            address: listener.local_addr().unwrap(),
            seed: seed.part("effects"),
            trouble: AtomicBool::new(false),
            held: Mutex::default(),
            let_go: Condvar::new(),
            ended: AtomicBool::new(false),
            number: AtomicU64::new(0),
            record: Mutex::default(),
            open: Mutex::default(),
            closed: Condvar::new(),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = serving.number.fetch_add(1, Ordering::SeqCst);
                serving.open.lock().unwrap().insert(number);
                let one = Arc::clone(&serving);
                std::thread::spawn(move || {
                    let _ = one.answer(number, stream);
                    one.open.lock().unwrap().remove(&number);
                    one.closed.notify_all();
                });
            }
        });
        Self(state)
    }

    /// Where it is, without a final slash.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// From now on it is slow and cuts connections.
    pub(crate) fn make_trouble(&self) {
        self.0.trouble.store(true, Ordering::SeqCst);
    }

    /// From now on no page is given out.
    pub(crate) fn hold(&self) {
        self.0.held.lock().unwrap().0 = true;
    }

    /// Whether somebody waits for a page that is held back.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.held.lock().unwrap().1 > 0
    }

    /// Gives out pages again.
    pub(crate) fn release(&self) {
        self.0.held.lock().unwrap().0 = false;
        self.0.let_go.notify_all();
    }

    /// What it did, once everything that was asked before this is over: a request may be on its way whose sender is dead.
    pub(crate) fn settled(&self) -> MutexGuard<'_, Record> {
        let mut stream = TcpStream::connect(self.0.address).unwrap();
        stream.write_all(b"GET /settled HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        self.0.record.lock().unwrap()
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.0.address);
    }
}

/// What a request asks for.
struct Asked {
    method: String,
    path: String,
    key: Option<String>,
    body: String,
}

/// What stands in the way of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    CutBefore,
    CutAfter,
    Slow(u64),
}

impl State {
    fn answer(&self, number: u64, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        let Some(asked) = read(&stream)? else {
            return Ok(());
        };
        if asked.path == "/settled" {
            let open = self.open.lock().unwrap();
            drop(
                self.closed
                    .wait_while(open, |open| open.iter().any(|other| *other < number))
                    .unwrap(),
            );
            return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
        let trouble = self.trouble(&asked);
        if trouble == Trouble::CutBefore {
            return Ok(());
        }
        if let Trouble::Slow(ms) = trouble {
            std::thread::sleep(Duration::from_millis(ms));
        }
        if asked.method == "GET" {
            let mut held = self.held.lock().unwrap();
            held.1 += 1;
            let mut held = self.let_go.wait_while(held, |held| held.0).unwrap();
            held.1 -= 1;
        }
        let body = self.act(&asked);
        if trouble == Trouble::CutAfter {
            return Ok(());
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    /// The same for the same name and the same number of requests before it.
    fn trouble(&self, asked: &Asked) -> Trouble {
        let before = {
            let mut record = self.record.lock().unwrap();
            let before = record.asked.entry(asked.path.clone()).or_default();
            *before += 1;
            *before
        };
        if !self.trouble.load(Ordering::SeqCst) {
            return Trouble::None;
        }
        let mut seed = self.seed.part(&format!("{} {before}", asked.path));
        // A read that fails is told to the model, which the scripts do not expect.
        let may_cut = asked.method != "GET";
        match seed.below(100) {
            0..4 if may_cut => Trouble::CutBefore,
            4..8 if may_cut => Trouble::CutAfter,
            8..40 => Trouble::Slow(seed.below(25)),
            _ => Trouble::None,
        }
    }

    fn act(&self, asked: &Asked) -> String {
        let mut record = self.record.lock().unwrap();
        let name = asked.path.clone();
        match (asked.method.as_str(), asked.path.split('/').nth(1)) {
            ("POST", Some("keyed")) => {
                let key = asked.key.clone().unwrap_or_default();
                if record.keys.insert(key, name.clone()).is_none() {
                    *record.done.entry(name).or_default() += 1;
                }
                "done".to_owned()
            }
            ("POST", _) => {
                *record.done.entry(name).or_default() += 1;
                "done".to_owned()
            }
            ("PUT", _) => {
                let set = record.set.entry(name).or_default();
                *set = (asked.body.clone(), set.1 + 1);
                "set".to_owned()
            }
            _ => "a page".to_owned(),
        }
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream.take(HEAD_BYTES_MAX));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        key: None,
        body: String::new(),
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "idempotency-key" => asked.key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    // A sender that died in the middle has asked for nothing.
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return Ok(None);
    }
    asked.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(asked))
}
