//! A provider that fails in every way for a while, beneath a daemon that is killed in the middle of it.

use crate::{effects::Effects, lane::Lane, processes, seed::Seed, stage::of_kind};
use rustix::{
    net::{self, AddressFamily, SocketType},
    process::Signal,
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What is answered to one request after the other, before all goes well.
const TROUBLES: [&str; 7] = ["cut", "503", "429", "half", "500", "cut", "half"];

/// Longer than anything that is tried again and again would last: minutes, as outages are.
const AWAY: Duration = Duration::from_secs(130);

/// A model server that speaks OpenAI's chat completions.
fn serve() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = url(listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || answers(&listener, &count));
    (url, asked)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/v1")
}

fn answers(listener: &TcpListener, asked: &AtomicUsize) {
    for stream in listener.incoming().flatten() {
        let _ = answer(stream, asked);
    }
}

/// A port that is ours and where nobody listens.
fn nobody() -> (String, OwnedFd) {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = net::getsockname(&socket).unwrap();
    (url(SocketAddr::try_from(address).unwrap()), socket)
}

fn answer(mut stream: TcpStream, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let asks = line.starts_with("POST");
    line.clear();
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let piece = |delta: serde_json::Value, end: serde_json::Value| {
        let chunk = json!({ "id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": end }] });
        format!("data: {chunk}\n\n")
    };
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let words = piece(
        json!({ "role": "assistant", "content": "well" }),
        json!(null),
    );
    let failed = |status: &str, header: &str| {
        format!(
            "HTTP/1.1 {status}\r\n{header}content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        )
    };
    if !asks {
        return stream.write_all(failed("404 Not Found", "").as_bytes());
    }
    let number = asked.fetch_add(1, Ordering::SeqCst);
    let answer = match TROUBLES.get(number).copied() {
        Some("cut") => String::new(),
        Some("503") => failed("503 Service Unavailable", ""),
        Some("500") => failed("500 Internal Server Error", ""),
        Some("429") => failed("429 Too Many Requests", "retry-after: 1\r\n"),
        Some(_) => format!("{begun}{words}"),
        None => {
            let end = piece(json!({}), json!("stop"));
            format!("{begun}{words}{end}data: [DONE]\n\n")
        }
    };
    stream.write_all(answer.as_bytes())
}

/// A lane with a run whose every model request goes to one address.
fn asking(url: &str) -> (Lane, String) {
    processes::adopt();
    let seed = Seed::new(51);
    let effects = Arc::new(Effects::serve(&seed));
    let mut lane = Lane::new(0, &effects, &seed);
    lane.place.config(&format!(
        "[providers.far]\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [models]\nplanner = \"far/m\"\nworker = \"far/m\"\nreasoner = \"far/m\"\n"
    ));
    lane.start();
    let params = json!({ "goal": "say that all is well", "base": lane.place.path("work"), "orchestration": "direct" });
    let answer = lane.must("run.submit", &params);
    let run = answer["run"].as_str().unwrap().to_owned();
    lane.wait_for(&run, "model_retried");
    (lane, run)
}

#[test]
fn an_outage_with_a_kill_in_its_middle_loses_no_run() {
    let (url, asked) = serve();
    let (mut lane, run) = asking(&url);
    lane.end(Signal::KILL);
    lane.start();
    let outcome = lane.outcome(&run);
    let events = lane.events(&run);
    assert_eq!(outcome["result"], "succeeded", "{outcome}");
    assert_eq!(
        outcome["output"]["text"], "well",
        "a half reply is no reply"
    );
    let retried = of_kind(&events, "model_retried");
    assert!(retried.len() >= 3, "{retried:#?}");
    assert!(asked.load(Ordering::SeqCst) > TROUBLES.len());
}

#[test]
fn a_provider_that_is_away_for_minutes_costs_a_run_time_and_nothing_else() {
    let (url, socket) = nobody();
    let (mut lane, run) = asking(&url);
    // Nothing is waited for: this is how long the provider is away.
    std::thread::sleep(AWAY);
    let shown = lane.must("run.status", &json!({ "run": run }));
    assert_eq!(shown["view"]["finished"], Value::Null, "{shown}");
    net::listen(&socket, 16).unwrap();
    let asked = AtomicUsize::new(TROUBLES.len());
    std::thread::spawn(move || answers(&TcpListener::from(socket), &asked));
    let outcome = lane.outcome(&run);
    assert_eq!(outcome["result"], "succeeded", "{outcome}");
    let events = lane.events(&run);
    let retried = of_kind(&events, "model_retried").len();
    assert!((4..40).contains(&retried), "tried {retried} times");
    // What nobody heard costs nothing.
    let abandoned = of_kind(&events, "model_abandoned");
    assert!(abandoned.is_empty(), "{abandoned:#?}");
    lane.close();
}
