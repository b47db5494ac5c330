//! How fast the log writes, reads and seeks: `cargo bench --bench event_log`.
//!
//! The files lie in a temporary directory (`TMPDIR`), so the page cache is part of what is measured; "cold"
//! means that the log's own cache is empty.

#![allow(missing_docs, reason = "a benchmark")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use logmachine::event_log::storage::RealStorage;
use logmachine::event_log::{Batch, Log, LogConfig, Writer, open, open_read_only};
use logmachine::time::{Clock, Timestamp};

fn config(dir: &Path, segment_bytes: u64) -> LogConfig {
    LogConfig {
        name: "bench".into(),
        dir: dir.to_owned(),
        arch_dir: dir.join("archive"),
        segment_bytes: Some(segment_bytes),
        reopen_period: None,
        cache_bytes: Some(64 << 20),
        evict_after: None,
        evict_period: Duration::from_secs(5),
        archive_after: None,
        archive_period: Duration::from_secs(3600),
        delete_after: None,
        max_bytes: Some(4 << 30),
        min_free_bytes: None,
        scrub_period: None,
    }
}

/// An error report of about `bytes` bytes: a proplist with some numbers that differ.
fn event(stamp: u64, bytes: usize) -> Vec<u8> {
    let mut event = vec![104, 3, 119, 12];
    event.extend_from_slice(b"error_report");
    event.extend_from_slice(&[110, 8, 0]);
    event.extend_from_slice(&stamp.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let text = bytes.saturating_sub(event.len() + 5).max(1);
    event.push(109);
    event.extend_from_slice(&u32::try_from(text).expect("small").to_be_bytes());
    let words = b"Supervisor terminated child gen_server shutdown reason timeout in handle_call ";
    event.extend(words.iter().cycle().take(text));
    event
}

fn batch(first: u64, count: u64, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    for stamp in first..first + count {
        batch.push(Timestamp::from_micros(stamp), &event(stamp, bytes));
    }
    batch
}

fn filled(dir: &Path, segment_bytes: u64, total_bytes: u64) -> (Writer, Log, u64) {
    let storage = Arc::new(RealStorage::new());
    let (mut writer, log) =
        open(config(dir, segment_bytes), storage, Clock::system()).expect("opens");
    let mut stamp = 1_700_000_000_000_000;
    while log.stats().bytes < total_bytes {
        writer.append(batch(stamp, 1000, 250)).expect("appends");
        stamp += 1000;
    }
    (writer, log, stamp)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for (events, bytes) in [(1, 250), (100, 250), (1000, 250), (2000, 30)] {
        let dir = tempfile::tempdir().expect("makes a directory");
        let (mut writer, _log, mut stamp) = filled(dir.path(), 256 << 20, 0);
        group.throughput(Throughput::Bytes(batch(stamp, events, bytes).bytes() as u64));
        group.bench_function(format!("{events} events of {bytes} bytes"), |b| {
            b.iter_batched(
                || {
                    stamp += events;
                    batch(stamp, events, bytes)
                },
                |batch| writer.append(batch).expect("appends"),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn read_all(log: &Log) -> usize {
    let (mut cursor, mut events) = (log.cursor(Timestamp::MIN), 0);
    while let Some(chunk) = cursor.next(256 << 10).expect("reads") {
        events += chunk.len();
    }
    events
}

fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let (mut writer, log, stamp) = filled(dir.path(), 16 << 20, 256 << 20);
    let storage = || Arc::new(RealStorage::new());
    let mut group = c.benchmark_group("read");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(log.stats().bytes));
    writer.sync().expect("syncs");
    let cold = open_read_only(config(dir.path(), 16 << 20), storage()).expect("opens");
    group.bench_function("segments", |b| b.iter(|| read_all(&cold)));

    writer.rotate().expect("rotates");
    writer.close().expect("closes");
    let mut archiving = config(dir.path(), 16 << 20);
    archiving.archive_after = Some(Duration::ZERO);
    let (mut writer, log) = open(archiving, storage(), Clock::system()).expect("opens");
    while log.stats().segments > 1 {
        writer.maintain().expect("maintains");
        std::thread::yield_now();
    }
    group.bench_function("archives", |b| b.iter(|| read_all(&log)));
    group.finish();

    let mut group = c.benchmark_group("seek");
    let mut from = 1_700_000_000_000_000;
    group.bench_function("archives", |b| {
        b.iter(|| {
            from += 7_777_777;
            let from = 1_700_000_000_000_000 + from % (stamp - 1_700_000_000_000_000);
            log.cursor(Timestamp::from_micros(from)).next(1).expect("reads").expect("has entries")
        });
    });
    group.finish();
}

fn seek(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let (writer, _log, stamp) = filled(dir.path(), 300_000, 300_000_000);
    writer.close().expect("closes");
    let storage = || Arc::new(RealStorage::new());
    let cold = open_read_only(config(dir.path(), 300_000), storage()).expect("opens");
    assert!(cold.stats().segments > 900);
    let mut group = c.benchmark_group("seek");
    let mut from = 1_700_000_000_000_000;
    group.bench_function("1,000 segments", |b| {
        b.iter(|| {
            from += 7_777_777;
            let from = 1_700_000_000_000_000 + from % (stamp - 1_700_000_000_000_000);
            cold.cursor(Timestamp::from_micros(from)).next(1).expect("reads").expect("has entries")
        });
    });
    group.bench_function("opening 1,000 segments", |b| {
        b.iter(|| open_read_only(config(dir.path(), 300_000), storage()).expect("opens"));
    });
    group.finish();
}

criterion_group!(benches, append, read, seek);
criterion_main!(benches);
