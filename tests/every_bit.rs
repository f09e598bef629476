//! Every bit, every length, every zeroed range, every swap: detected and classified, nothing wrong is ever delivered,
//! nothing is lost in silence (R1, R3, R6, invariants 1, 5, 6, 8).
//!
//! Ordinary runs take every bit of a small log; `STENTOR_EVERY=1` the whole MiB.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stentor::engine::{Budget, Engine, Local, LocalOptions};
use stentor::fs::{Fs, MemoryFs};
use stentor::ledger::{Entry, SentSpan, Target, Via};
use stentor::log::{Fill, LogKind, Recover, verify};
use stentor::model::{EventId, Filter, Headers, Name, NewEvent, Offset, Span, SubscriberSettings};
use support::{bytes_of, forget_views, read_events, segments};
use tokio::runtime::Runtime;

/// A log at rest, as it was at half of that, and what was published.
struct Filled {
    fs: MemoryFs,
    half: MemoryFs,
    payloads: Vec<Vec<u8>>,
}

/// Of so many events the newest are not acknowledged.
const OPEN: usize = 2;

/// Small records of every length, payloads that contain the beginning of a valid segment (R1; whole ones are in
/// `faults.rs`), and a subscriber that acknowledges them one by one, so that both logs roll.
fn filled(runtime: &Runtime, bytes: usize) -> Filled {
    filled_with(runtime, bytes, (bytes as u64 / 12).max(2048))
}

fn filled_with(runtime: &Runtime, bytes: usize, ledger_segment_bytes: u64) -> Filled {
    let fs = MemoryFs::new();
    let options = LocalOptions {
        event_segment_bytes: (bytes as u64 / 3).max(4096),
        ledger_segment_bytes,
        fill: Fill::Never,
        ..LocalOptions::new("data")
    };
    let engine = Local::open(Arc::new(fs.clone()), &options).unwrap().engine;
    let (name, cursor) = (Name::parse("name", "auditor").unwrap(), Offset::ZERO);
    let settings = SubscriberSettings::new(Filter::parse(&["key.*"]).unwrap());
    let made = move |id| Entry::Made { id, name, target: Target::Subscriber(settings), cursor };
    let (auditor, ticket) = engine.record_new(Box::new(made)).unwrap();
    runtime.block_on(ticket.durable()).unwrap();
    let mut payloads = Vec::new();
    let mut written = 0;
    let mut half = None;
    while written < bytes {
        let n = payloads.len();
        let payload = match n % 5 {
            // A whole segment as it stands on the disk.
            0 => segments(&fs, "events").first().map(|path| bytes_of(&fs, path)).unwrap_or_default(),
            _ => format!("{n}{}", "y".repeat(n * 37 % 400)).into_bytes(),
        };
        let payload = payload[..payload.len().min(2_000)].to_vec();
        let id = EventId::Made([0; 16]);
        let kind = Some("application/octet-stream");
        let event = NewEvent::check("key.a", id, None, Headers::default(), kind, payload.clone().into()).unwrap();
        runtime.block_on(engine.append(vec![event])).unwrap();
        written += payload.len() + 100;
        payloads.push(payload);
        if n >= OPEN {
            let span = Span::one(Offset((n - OPEN) as u64));
            let spans = vec![SentSpan { span, attempts: 1 }];
            let acked = Entry::Acked { id: auditor, spans, via: Via::WebSocket, status: None, latency_ms: None };
            runtime.block_on(engine.record(vec![acked]).unwrap().durable()).unwrap();
        }
        if half.is_none() && written * 2 >= bytes {
            half = Some(fs.fork());
        }
    }
    engine.close();
    assert!(segments(&fs, "ledger").len() > 1, "the ledger rolled");
    Filled { fs, half: half.unwrap(), payloads }
}

/// Does something to a log.
type Harming<'a> = Box<dyn Fn(&MemoryFs) + 'a>;

/// What came of a harmed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Refused,
    Told,
    Harmless,
}

/// Opens it without its views, reads everything, and lets nothing wrong pass.
fn judge(runtime: &Runtime, fs: &MemoryFs, payloads: &[Vec<u8>], what: &dyn Fn() -> String) -> Came {
    let engine = match support::open(fs, Recover::Refuse) {
        Err(said) => {
            assert!(
                said.contains("data/events") || said.contains("data/ledger") || said.contains("ledger"),
                "{}: {said}",
                what()
            );
            return Came::Refused;
        }
        Ok(opened) => opened.engine,
    };
    match runtime.block_on(read_events(&engine)) {
        Err(said) => {
            assert!(said.contains("damage in"), "{}: {said}", what());
            Came::Told
        }
        Ok((events, gaps)) => {
            assert!(gaps.is_empty(), "{}: {gaps:?}", what());
            assert_eq!(events.len(), payloads.len(), "{}: lost in silence (1)", what());
            for (event, payload) in events.iter().zip(payloads) {
                assert_eq!(&event.payload[..], &payload[..], "{}: event {} is wrong (5)", what(), event.offset);
            }
            let floor = engine.state().named("auditor").map(|subscriber| subscriber.floor.0 as usize);
            assert_eq!(floor, Some(payloads.len() - OPEN), "{}: the cursor (16, 17)", what());
            Came::Harmless
        }
    }
}

fn fresh(fs: &MemoryFs) -> MemoryFs {
    let copy = fs.fork();
    forget_views(&copy);
    copy
}

fn whole() -> bool {
    std::env::var_os("STENTOR_EVERY").is_some()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn every_bit_of_a_segment_that_is_turned_is_found_by_whoever_reads_there() {
    let runtime = runtime();
    let Filled { fs, .. } = filled(&runtime, if whole() { 3 << 20 } else { 24 << 10 });
    let path = segments(&fs, "events")[0].clone();
    let size = bytes_of(&fs, &path).len();
    let mut records: Vec<(Offset, std::ops::Range<usize>)> = Vec::new();
    verify(&fs, Path::new("data/events"), LogKind::Events, Offset::ZERO, &mut |header, _, file, at| {
        if file == path {
            records.push((header.offset, at as usize..at as usize + header.record_len()));
        }
        Ok(())
    })
    .unwrap();
    let engine = support::open(&fs, Recover::Refuse).unwrap().engine;
    let filter = Arc::new(Filter::everything());
    let budget = Budget { events: 1, bytes: 1 };
    let (mut in_records, mut around) = (0u64, 0u64);
    for bit in 0..size * 8 {
        fs.flip(&path, bit);
        let here = records.partition_point(|(_, range)| range.end <= bit / 8);
        match records.get(here).filter(|(_, range)| range.contains(&(bit / 8))) {
            Some((offset, _)) => {
                let met = runtime.block_on(engine.read(Span::one(*offset), &filter, budget, None));
                let said = met.expect_err("a turned bit is never delivered (5)").to_string();
                assert!(said.contains("damage in"), "bit {bit}: {said}");
                in_records += 1;
            }
            // Headers and footers are no reader's business: the scrub and verify find them.
            None => {
                let report =
                    verify(&fs, Path::new("data/events"), LogKind::Events, Offset::ZERO, &mut |_, _, _, _| Ok(()));
                assert!(report.unwrap().findings.iter().any(|finding| finding.harm), "bit {bit}: not found");
                around += 1;
            }
        }
        fs.flip(&path, bit);
    }
    println!("{} bits of {size} bytes: {in_records} met by the reader, {around} by verify", size * 8);
    assert_eq!(in_records + around, size as u64 * 8);
}

#[test]
fn every_bit_of_footers_headers_and_evidence_is_met_by_a_start() {
    let runtime = runtime();
    let Filled { fs, payloads, .. } = filled(&runtime, 10 << 10);
    let paths = segments(&fs, "events");
    let footer = bytes_of(&fs, &paths[0]).len() - 96;
    let meta = PathBuf::from("data/events/durable.meta");
    let ledger = segments(&fs, "ledger");
    let places: [(&str, PathBuf, std::ops::Range<usize>); 7] = [
        ("header", paths[0].clone(), 0..1024),
        ("footer", paths[0].clone(), footer..footer + 96),
        ("newest segment's header", paths.last().unwrap().clone(), 0..64),
        ("durable.meta", meta, 0..1024),
        ("ledger's durable.meta", "data/ledger/durable.meta".into(), 0..1024),
        ("ledger", ledger[0].clone(), 0..1600),
        ("newest of the ledger", ledger.last().unwrap().clone(), 0..1400),
    ];
    for (name, path, range) in places {
        let mut came: BTreeMap<Came, u64> = BTreeMap::new();
        for bit in range.start * 8..range.end * 8 {
            let disk = fresh(&fs);
            disk.flip(&path, bit);
            let how = judge(&runtime, &disk, &payloads, &|| format!("{name}, bit {bit}"));
            // What no start has to read is found by whoever looks for harm.
            assert!(
                how != Came::Harmless || path.extension().is_none_or(|kind| kind != "seg") || is_harm(&disk, &path),
                "{name}, bit {bit}"
            );
            *came.entry(how).or_default() += 1;
        }
        println!("{name}: {came:?}");
    }
}

fn is_harm(disk: &MemoryFs, of: &Path) -> bool {
    let (dir, kind) = match of.parent().unwrap() {
        dir if dir.ends_with("events") => (dir, LogKind::Events),
        dir => (dir, LogKind::Ledger),
    };
    let report = verify(disk, dir, kind, Offset::ZERO, &mut |_, _, _, _| Ok(())).unwrap();
    report.findings.iter().any(|finding| finding.harm && finding.path == of)
}

#[test]
fn every_length_of_a_file_is_refused_or_harmless() {
    let runtime = runtime();
    let Filled { fs, payloads, .. } = filled(&runtime, if whole() { 1 << 20 } else { 8 << 10 });
    let mut paths = [segments(&fs, "events"), segments(&fs, "ledger")].concat();
    paths.extend(["data/events/durable.meta".into(), "data/ledger/durable.meta".into()]);
    for path in paths {
        let bytes = bytes_of(&fs, &path);
        let mut came: BTreeMap<Came, u64> = BTreeMap::new();
        for len in 0..bytes.len() {
            let disk = fresh(&fs);
            Fs::remove(&disk, &path).unwrap();
            disk.put(&path, &bytes[..len]);
            let what = || format!("{} cut to {len} of {}", path.display(), bytes.len());
            *came.entry(judge(&runtime, &disk, &payloads, &what)).or_default() += 1;
        }
        println!("{}: {came:?}", path.display());
        assert!(path.ends_with("durable.meta") || came.keys().eq([&Came::Refused]), "{}: {came:?}", path.display());
    }
}

#[test]
fn every_zeroed_range_is_never_a_silent_loss() {
    let runtime = runtime();
    let Filled { fs, payloads, .. } = filled(&runtime, if whole() { 1 << 20 } else { 40 << 10 });
    let mut files: Vec<PathBuf> = segments(&fs, "events");
    files.extend(segments(&fs, "ledger"));
    files.extend(["data/events/durable.meta".into(), "data/ledger/durable.meta".into()]);
    let mut came: BTreeMap<Came, u64> = BTreeMap::new();
    for path in files {
        let bytes = bytes_of(&fs, &path);
        for size in [512, 4096] {
            for at in (0..bytes.len()).step_by(size) {
                let disk = fresh(&fs);
                let mut zeroed = bytes.clone();
                let to = (at + size).min(bytes.len());
                zeroed[at..to].fill(0);
                disk.put(&path, &zeroed);
                let what = || format!("{size} bytes of {} at {at} zeroed", path.display());
                *came.entry(judge(&runtime, &disk, &payloads, &what)).or_default() += 1;
            }
        }
    }
    println!("zeroed ranges: {came:?}");
    assert!(came[&Came::Refused] > 0);
}

#[test]
fn segments_swapped_duplicated_older_or_of_another_log_are_refused() {
    let runtime = runtime();
    let Filled { fs, half, payloads } = filled_with(&runtime, 40 << 10, 1536);
    let other = filled_with(&runtime, 40 << 10, 1536).fs;
    let put = |disk: &MemoryFs, path: &Path, bytes: &[u8]| {
        Fs::remove(disk, path).unwrap();
        disk.put(path, bytes);
    };
    for log in ["events", "ledger"] {
        let (paths, others) = (segments(&fs, log), segments(&other, log));
        assert!(paths.len() >= 3 && others.len() >= 3, "{log}: {} segments", paths.len());
        let last = paths.last().unwrap();
        let cases: Vec<(&str, Harming<'_>)> = vec![
            (
                "two swapped",
                Box::new(|disk| {
                    let (a, b) = (bytes_of(&fs, &paths[0]), bytes_of(&fs, &paths[1]));
                    put(disk, &paths[0], &b);
                    put(disk, &paths[1], &a);
                }),
            ),
            ("one twice", Box::new(|disk| put(disk, &paths[1], &bytes_of(&fs, &paths[0])))),
            ("one of another log", Box::new(|disk| put(disk, &paths[0], &bytes_of(&other, &others[0])))),
            ("the newest of another log", Box::new(|disk| put(disk, last, &bytes_of(&other, &others[0])))),
            (
                "the newest without its records",
                Box::new(|disk| {
                    let bytes = bytes_of(disk, last);
                    put(disk, last, &bytes[..1024]);
                }),
            ),
            (
                "one older than it was",
                Box::new(|disk| {
                    let newest_then = segments(&half, log).pop().unwrap();
                    assert_ne!(bytes_of(&half, &newest_then), bytes_of(&fs, &newest_then), "it went on");
                    put(disk, &newest_then, &bytes_of(&half, &newest_then));
                }),
            ),
        ];
        for (name, harm) in cases {
            let disk = fresh(&fs);
            harm(&disk);
            let name = format!("{name}, {log}");
            assert_eq!(judge(&runtime, &disk, &payloads, &|| name.clone()), Came::Refused, "{name}");
        }
    }
    let paths = segments(&fs, "events");
    let cases: Vec<(&str, Harming<'_>)> = vec![
        (
            "a ledger of another log",
            Box::new(|disk| {
                for (path, bytes) in other.files().into_iter().filter(|(path, _)| path.starts_with("data/ledger")) {
                    disk.put(&path, &bytes);
                }
            }),
        ),
        (
            "all events older than the ledger",
            Box::new(|disk| {
                for path in &paths[1..] {
                    Fs::remove(disk, path).unwrap();
                }
            }),
        ),
    ];
    for (name, harm) in cases {
        let disk = fresh(&fs);
        harm(&disk);
        assert_eq!(judge(&runtime, &disk, &payloads, &|| name.to_owned()), Came::Refused, "{name}");
    }
}

/// The event log and its evidence as they were, the ledger as it is: a copy that was put back, a disk that forgot.
#[test]
fn a_ledger_with_acks_of_events_that_are_not_there_proves_that_they_were() {
    let runtime = runtime();
    let Filled { fs, half, payloads } = filled(&runtime, 40 << 10);
    let older = |tail: &[u8]| {
        let disk = fresh(&fs);
        let of_events = |(path, _): &(PathBuf, Vec<u8>)| path.starts_with("data/events");
        for (path, _) in disk.files().into_iter().filter(of_events) {
            Fs::remove(&disk, &path).unwrap();
        }
        for (path, bytes) in half.files().into_iter().filter(of_events) {
            disk.put(&path, &bytes);
        }
        let newest = segments(&half, "events").pop().unwrap();
        disk.put(&newest, &[&bytes_of(&half, &newest), tail].concat());
        disk
    };
    for tail in [&b""[..], b"SRECtorn"] {
        let disk = older(tail);
        assert_eq!(judge(&runtime, &disk, &payloads, &|| "older events".to_owned()), Came::Refused);
        let said = support::open(&disk, Recover::Refuse).err().unwrap();
        assert!(said.contains("the ledger"), "it is the ledger that proves it: {said}");
    }
}
