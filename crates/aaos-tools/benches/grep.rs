//! `grep` over 10,000 files in memory, against its floor: the same search library over the same bytes, with no tool
//! around it. What the disk and the file power cost is measured in the sandbox's own bench.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench"
)]

use aaos_core::id::CallId;
use aaos_ports::{
    AnyTool, Files, PowerError, Powers,
    power::{Entry, EntryKind, Flow, OpenFile, Tidy, WriteMode},
};
use aaos_testkit::backend::OpenGate;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use grep_regex::RegexMatcher;
use grep_searcher::{BinaryDetection, SearcherBuilder, sinks::Bytes};
use serde_json::json;
use std::{io::Cursor, sync::Arc};

/// Files searched.
const FILES: usize = 10_000;

/// Files in memory, all granted.
struct Shelf(Vec<(String, Arc<[u8]>)>);

impl Shelf {
    fn entry(&self, at: usize) -> Entry {
        let (path, content) = &self.0[at];
        Entry {
            path: path.clone(),
            kind: EntryKind::File,
            size: content.len() as u64,
        }
    }
}

impl Files for Shelf {
    fn open(&self, path: &str) -> Result<OpenFile, PowerError> {
        let at = self
            .0
            .binary_search_by(|(known, _)| known.as_str().cmp(path))
            .unwrap();
        let content = Arc::clone(&self.0[at].1);
        Ok(OpenFile {
            size: content.len() as u64,
            bytes: Box::new(Cursor::new(content)),
            path: path.to_owned(),
        })
    }
    fn write(&self, path: &str, _content: &[u8], _mode: WriteMode) -> Result<u64, PowerError> {
        Err(PowerError::NotFound(path.to_owned()))
    }
    fn stat(&self, path: &str) -> Result<Entry, PowerError> {
        Ok(Entry {
            path: path.to_owned(),
            kind: EntryKind::Directory,
            size: 0,
        })
    }
    fn list(&self, _path: &str, _limit: usize) -> Result<(Vec<Entry>, bool), PowerError> {
        Ok((Vec::new(), false))
    }
    fn walk(
        &self,
        _root: &str,
        _tidy: Tidy,
        visit: &mut dyn FnMut(&Entry) -> Flow,
    ) -> Result<(), PowerError> {
        for at in 0..self.0.len() {
            if visit(&self.entry(at)) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

fn bench(criterion: &mut Criterion) {
    let line =
        "let value = compute(first, second) + another_name; // a line as programs have them\n";
    let shelf = (0..FILES)
        .map(|number| {
            (
                format!("/w/{number:05}.rs"),
                line.repeat(50).into_bytes().into(),
            )
        })
        .collect();
    let shelf = Arc::new(Shelf(shelf));
    let tool = aaos_tools::builtin()
        .into_iter()
        .find(|tool: &Arc<dyn AnyTool>| tool.spec().name.as_str() == "grep")
        .unwrap();
    let powers = Powers::none(CallId::from_drawn(1), Arc::new(OpenGate::default()))
        .with_files(Arc::<Shelf>::clone(&shelf));
    let mut group = criterion.benchmark_group("grep_10k_files_in_memory");
    group.sample_size(20);
    group.bench_function("floor", |bencher| {
        let matcher = RegexMatcher::new_line_matcher("absent_literal").unwrap();
        let mut searcher = SearcherBuilder::new()
            .line_number(true)
            .binary_detection(BinaryDetection::quit(0))
            .build();
        bencher.iter(|| {
            for (_, content) in &shelf.0 {
                searcher
                    .search_reader(&matcher, &**content, Bytes(|_, _| Ok(true)))
                    .unwrap();
            }
        });
    });
    group.bench_function("tool", |bencher| {
        bencher.iter(|| {
            block_on(tool.call(json!({"pattern": "absent_literal", "path": "/w"}), &powers))
                .unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
