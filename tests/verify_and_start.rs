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

/// What `verify` says of the disk, as harm.
fn harm(fs: &MemoryFs) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["data/events", "data/ledger"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (path, bytes) in fs.files() {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
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
            let named = |finding: &Finding| refusal.contains(&finding.path.display().to_string());
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
