//! Walking and reading 10,000 files through the power, against two floors: the same by path with the standard library,
//! and ripgrep with a literal that does not occur, if it is installed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench"
)]

use aaos_ports::{
    Files,
    power::{Flow, Tidy},
};
use aaos_sandbox::BeneathFiles;
use criterion::{Criterion, criterion_group, criterion_main};
use std::{fs, io::Read, path::Path, process::Command};

/// Files read, and how they are spread.
const FILES: usize = 10_000;
const FILES_PER_DIRECTORY: usize = 50;

fn plant(root: &Path) {
    let content =
        "let value = compute(first, second) + another_name; // a line as programs have them\n"
            .repeat(50);
    for number in 0..FILES {
        let directory = root.join(format!(
            "a{}/b{}",
            number / (FILES_PER_DIRECTORY * 10),
            number / FILES_PER_DIRECTORY
        ));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{number}.rs")), &content).unwrap();
    }
}

fn read_all(directory: &Path, buffer: &mut [u8]) -> usize {
    let mut total = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            total += read_all(&entry.path(), buffer);
        } else {
            total += drain(&mut fs::File::open(entry.path()).unwrap(), buffer);
        }
    }
    total
}

fn drain(from: &mut dyn Read, buffer: &mut [u8]) -> usize {
    let mut total = 0;
    loop {
        match from.read(buffer).unwrap() {
            0 => return total,
            read => total += read,
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    plant(directory.path());
    let root = directory.path().to_str().unwrap().to_owned();
    let power = BeneathFiles::new(
        &[format!("file_read: {root}/*").parse().unwrap()],
        &root,
        [],
    )
    .unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut group = criterion.benchmark_group("read_10k_files");
    group.sample_size(20);
    group.bench_function("by_path", |bencher| {
        bencher.iter(|| read_all(directory.path(), &mut buffer))
    });
    group.bench_function("power", |bencher| {
        bencher.iter(|| {
            let mut total = 0;
            power
                .walk(&root, Tidy::Skip, &mut |entry| {
                    total += drain(&mut power.open(&entry.path).unwrap().bytes, &mut buffer);
                    Flow::Continue
                })
                .unwrap();
            total
        });
    });
    if Command::new("rg").arg("--version").output().is_ok() {
        for threads in ["1", "2"] {
            group.bench_function(format!("rg_threads_{threads}"), |bencher| {
                bencher.iter(|| {
                    Command::new("rg")
                        .args(["-j", threads, "-F", "absent_literal", &root])
                        .output()
                        .unwrap()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
