//! What a start refuses, `verify` finds, with its file and byte; where it finds nothing, a start goes well (R5, R6).
//!
//! The story: `verify` took a missing `durable.meta`, bytes behind a footer, an emptied ledger and one of another broker
//! for a sound folder, and the next start refused it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};
use stentor::broker::verify_data;
use stentor::engine::{Engine, RetentionLimits};
use stentor::fs::{Fs, MemoryFs};
use stentor::log::{Finding, Recover};
use stentor::model::Timestamp;
use support::{HARMS, Harm, bytes_of, forget_views, open, publish, stored};

/// What costs no event, and is refused all the same.
const MORE: &[Harm] = &[
    Harm { name: "nothing", harm: |_, _| {} },
    Harm { name: "durable.meta missing", harm: |fs, _| Fs::remove(fs, Path::new("data/events/durable.meta")).unwrap() },
    Harm {
        name: "the ledger's durable.meta missing",
        harm: |fs, _| Fs::remove(fs, Path::new("data/ledger/durable.meta")).unwrap(),
    },
    Harm { name: "bytes behind a footer", harm: |fs, s| fs.put(&s[0], &[bytes_of(fs, &s[0]), vec![0, 0, 7]].concat()) },
    Harm {
        name: "zeros behind a footer",
        harm: |fs, s| fs.put(&s[0], &[bytes_of(fs, &s[0]), vec![0; 5_000]].concat()),
    },
    Harm { name: "the key missing", harm: |fs, _| gone(fs, Path::new("data/keys/secrets.key")) },
    Harm { name: "the key cut", harm: |fs, _| fs.put(Path::new("data/keys/secrets.key"), &[7; 9]) },
    Harm { name: "the ledger emptied", harm: |fs, _| files(fs, "data/ledger").iter().for_each(|path| gone(fs, path)) },
    Harm { name: "the events emptied", harm: |fs, _| files(fs, "data/events").iter().for_each(|path| gone(fs, path)) },
    Harm {
        name: "a torn tail",
        harm: |fs, s| {
            let newest = s.last().unwrap();
            fs.put(newest, &[bytes_of(fs, newest), b"SRECtorn".to_vec()].concat());
        },
    },
];

fn files(fs: &MemoryFs, below: &str) -> Vec<PathBuf> {
    fs.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with(below)).collect()
}

fn gone(fs: &MemoryFs, path: &Path) {
    Fs::remove(fs, path).unwrap();
}

/// The disk's files in a folder.
fn written(fs: &MemoryFs) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["data/events", "data/ledger"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (path, bytes) in fs.files() {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

/// What `verify` says of the disk, as harm.
fn harm(fs: &MemoryFs) -> Vec<Finding> {
    let dir = written(fs);
    let report = verify_data(&dir.path().join("data"), &mut |_| {}).unwrap();
    let mut found: Vec<Finding> = report.findings.into_iter().filter(|finding| finding.harm).collect();
    for finding in &mut found {
        finding.path = finding.path.strip_prefix(dir.path()).unwrap().to_owned();
    }
    found
}

fn agree(fs: &MemoryFs, what: &str) -> usize {
    let found = harm(fs);
    forget_views(fs);
    match open(&fs.fork(), Recover::Refuse) {
        Ok(_) => assert_eq!(found, [], "{what}: a start goes well, and verify finds harm"),
        Err(refusal) => {
            assert!(!found.is_empty(), "{what}: a start is refused ({refusal}), and verify finds nothing");
            // The same file, not only one in the same folder; and where the start names a byte, that one.
            let words: Vec<&str> = refusal.split([' ', ':', ',', '(']).collect();
            let byte = words.iter().position(|word| *word == "byte").map(|at| words[at + 1].parse::<u64>().unwrap());
            let named = |finding: &Finding| {
                words.contains(&&*finding.path.display().to_string())
                    && byte.is_none_or(|byte| byte == finding.position)
            };
            let names = refusal.contains("data/");
            assert!(!names || found.iter().any(named), "{what}: verify names {found:?}, the start says {refusal}");
        }
    }
    found.len()
}

#[tokio::test]
async fn whatever_a_start_refuses_is_found_and_nothing_else_is() {
    let mut refused = 0;
    for Harm { name, harm } in HARMS.iter().chain(MORE) {
        let (fs, segments) = stored().await;
        harm(&fs, &segments);
        refused += usize::from(agree(&fs, name) > 0);
    }
    assert!(refused >= HARMS.len() - 3 + 5, "{refused} were refused");
}

#[tokio::test]
async fn a_ledger_of_another_broker_is_found() {
    let (fs, _) = stored().await;
    let (other, _) = stored().await;
    files(&fs, "data/ledger").iter().for_each(|path| gone(&fs, path));
    for path in files(&other, "data/ledger") {
        fs.put(&path, &bytes_of(&other, &path));
    }
    assert_eq!(agree(&fs, "another's ledger"), 1);
}

#[tokio::test]
async fn what_retention_was_taking_when_it_ended_is_no_harm() {
    let (fs, segments) = stored().await;
    let engine = open(&fs, Recover::Refuse).unwrap().engine;
    publish(&engine, 12..24).await.unwrap();
    let kept: Vec<_> = segments.iter().map(|path| (path.clone(), bytes_of(&fs, path))).collect();
    for _ in 0..3 {
        engine.maintain(RetentionLimits { max_bytes: Some(1), ..RetentionLimits::default() }, Timestamp(1)).unwrap();
    }
    engine.close();
    drop(engine);
    let taken: Vec<_> = kept.iter().filter(|(path, _)| !files(&fs, "data/events").contains(path)).collect();
    assert!(taken.len() > 2, "{} were taken", taken.len());
    // Of what was taken one name in the middle is there again, as a power cut may leave it.
    let (path, bytes) = taken[1];
    fs.put(path, bytes);
    assert_eq!(agree(&fs, "a retired segment that came back"), 0);
}

/// A kind of harm, and of each finding the file, the byte, and the offsets.
type Named = (&'static str, &'static [(&'static str, u64, [u64; 2])]);

/// What is named of every kind. The first segment holds offsets 0 to 3, the second 4 to 7, the third 8 to 11; a record
/// of 684 bytes begins at byte 1024 and at each 684 behind it.
const NAMED: &[Named] = &[
    ("a bit in a sealed segment's body", &[("events/00000000000000000000.seg", 1708, [1, 2])]),
    ("a bit in a record's header", &[("events/00000000000000000004.seg", 1024, [4, 5])]),
    (
        "both copies of a segment's header",
        &[("events/00000000000000000008.seg", 0, [4, 8]), ("events/00000000000000000004.seg", 0, [4, 4])],
    ),
    ("a sealed segment's footer", &[("events/00000000000000000000.seg", 3760, [4, 4])]),
    (
        "a sealed segment cut in the middle",
        &[("events/00000000000000000008.seg", 0, [6, 8]), ("events/00000000000000000004.seg", 1708, [5, 6])],
    ),
    ("a segment missing", &[("events/00000000000000000008.seg", 0, [4, 8])]),
    ("the first segment missing", &[("events/00000000000000000004.seg", 0, [0, 4])]),
    ("the newest segment missing", &[("events", 0, [8, 12])]),
    ("all segments missing", &[("events", 0, [0, 12])]),
    ("the newest segment emptied", &[("events/00000000000000000008.seg", 1024, [8, 12])]),
    ("a bit in the newest segment's first record", &[("events/00000000000000000008.seg", 1024, [8, 12])]),
    ("a bit in the very last record", &[("events/00000000000000000008.seg", 3077, [11, 12])]),
    (
        "a segment in another's place",
        &[("events/00000000000000000008.seg", 0, [4, 8]), ("events/00000000000000000004.seg", 0, [4, 4])],
    ),
    (
        "two bits far apart and a segment missing",
        &[
            ("events/00000000000000000008.seg", 0, [4, 8]),
            ("events/00000000000000000000.seg", 1024, [0, 1]),
            ("events/00000000000000000008.seg", 1024, [8, 12]),
        ],
    ),
    (
        "durable.meta missing beside a bad bit",
        &[("events/durable.meta", 0, [0, 0]), ("events/00000000000000000000.seg", 1024, [0, 1])],
    ),
    (
        "two bad records of a sealed segment",
        &[("events/00000000000000000000.seg", 1024, [0, 1]), ("events/00000000000000000000.seg", 2392, [2, 3])],
    ),
    ("nothing", &[]),
    ("durable.meta missing", &[("events/durable.meta", 0, [0, 0])]),
    ("the ledger's durable.meta missing", &[("ledger/durable.meta", 0, [0, 0])]),
    ("bytes behind a footer", &[("events/00000000000000000000.seg", 3856, [4, 4])]),
    ("zeros behind a footer", &[]),
    ("the key missing", &[("keys/secrets.key", 0, [0, 0])]),
    ("the key cut", &[("keys/secrets.key", 0, [0, 0])]),
    ("the ledger emptied", &[("ledger", 0, [0, 12])]),
    ("the events emptied", &[("ledger", 0, [0, 0])]),
    ("a torn tail", &[]),
];

#[tokio::test]
async fn each_kind_of_harm_is_named_by_file_byte_and_offsets_and_the_command_ends_with_1() {
    let mut named: std::collections::HashMap<_, _> = NAMED.iter().copied().collect();
    for Harm { name, harm } in HARMS.iter().chain(MORE) {
        let (fs, segments) = stored().await;
        harm(&fs, &segments);
        let dir = written(&fs);
        let data = dir.path().join("data");
        let command = env!("CARGO_BIN_EXE_stentor");
        let done = std::process::Command::new(command).arg("verify").arg(&data).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let lines = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let found: Vec<_> = lines
            .filter(|line| line["harm"] == true)
            .map(|line| {
                let file = Path::new(line["file"].as_str().unwrap()).strip_prefix(&data).unwrap().to_owned();
                let number = |name: &str| line[name].as_u64().unwrap();
                (file, number("byte"), [number("from"), number("to")])
            })
            .collect();
        let expected = named.remove(name).unwrap_or_else(|| panic!("{name}: what is expected of it?"));
        let expected: Vec<_> = expected.iter().map(|(file, byte, span)| (PathBuf::from(file), *byte, *span)).collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(done.status.code(), Some(i32::from(!expected.is_empty())), "{name}");
    }
    assert!(named.is_empty(), "{named:?}");
}
