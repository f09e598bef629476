//! What is on disk is what docs/FORMAT.md says, byte for byte: golden files for every persisted type, read back by a
//! decoder that did not come from this code (`tests/golden/decode.py`).
//!
//! After a deliberate change of the format: `STENTOR_BLESS=1 cargo test --test golden`, and a new version in FORMAT.md.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use stentor::clock::{Clock, Random};
use stentor::engine::{Engine, Local, LocalOptions, RetentionLimits};
use stentor::fs::MemoryFs;
use stentor::ledger::{ConnectorSecrets, Entry, Recorded, SentSpan, SigningSecret, State, Target, Vault, Via};
use stentor::log::Fill;
use stentor::model::{
    ConnectorSettings, EventId, Filter, GiveUp, Headers, Name, NewEvent, Offset, Span, SubscriberId,
    SubscriberSettings, Timestamp,
};
use tokio::runtime::Runtime;

const NOW: Timestamp = Timestamp(1_795_297_593_123_456);

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with the golden file, or writes it where that is asked for.
fn hold(name: &str, bytes: &[u8]) {
    let path = golden().join(name);
    if std::env::var_os("STENTOR_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(kept == bytes, "{name} is not what it was: the format changed");
}

fn events() -> Vec<NewEvent> {
    let headers = Headers::parse([("ce-source", "/a"), ("x", "é")]).unwrap();
    let event = |channel: &str, id: EventId, key: Option<&str>, headers: Headers, kind: Option<&str>, payload: &str| {
        NewEvent::check(channel, id, key, headers, kind, payload.to_owned().into()).unwrap()
    };
    let given = |id: &str| EventId::parse(id).unwrap();
    vec![
        event(
            "key.activated",
            EventId::Made([7; 16]),
            None,
            Headers::default(),
            None,
            r#"{"provider":"openai_primary"}"#,
        ),
        event("policy.approved", given("order-1"), Some("k é"), headers, None, "null"),
        event("blob", given("b"), None, Headers::default(), Some("application/octet-stream"), "bytes"),
        event("text", given("t"), None, Headers::default(), Some("text/plain"), "words"),
        event("image", given("i"), None, Headers::default(), Some("image/png; x=y"), ""),
    ]
}

fn connector() -> ConnectorSettings {
    let mut settings = ConnectorSettings::new("https://ems.city.gov/api", Filter::parse(&["policy.approved"]).unwrap());
    settings.retry.give_up_after = Some(GiveUp::Attempts(9));
    settings
}

/// Every kind of entry; secrets are left out of the golden bytes, being sealed with a random nonce.
fn entries() -> Vec<Entry> {
    let id = SubscriberId(3);
    let span = |from, to| Span::new(Offset(from), Offset(to));
    let mut settings = SubscriberSettings::new(Filter::parse(&["key.*", "$stentor.**"]).unwrap());
    settings.expires = Some(Duration::from_secs(86_400));
    let target = Target::Subscriber(settings);
    let name = Name::parse("name", "agent").unwrap();
    let next_attempt = Timestamp(2_000_000);
    let reason = "answered 503".to_owned();
    vec![
        Entry::Began { event_log: [9; 16] },
        Entry::Made { id, name, target: target.clone(), cursor: Offset(0) },
        Entry::Changed { id, target, from: Offset(1) },
        Entry::Acked {
            id,
            spans: vec![SentSpan { span: span(0, 300), attempts: 1 }, SentSpan { span: span(300, 301), attempts: 2 }],
            via: Via::Connector,
            status: Some(204),
            latency_ms: Some(12),
        },
        Entry::Failed {
            id,
            offset: Offset(5),
            attempts: 2,
            failing_for: Duration::from_millis(1_300),
            next_attempt,
            wait: Duration::from_millis(700),
            status: Some(503),
            reason: reason.clone(),
        },
        Entry::Dead { id, offset: Offset(5), attempts: 3, status: None, reason: reason.clone() },
        Entry::Skipped { id, spans: vec![SentSpan { span: span(6, 7), attempts: 1 }], reason },
        Entry::Sought { id, cursor: Offset(2) },
        Entry::Paused { id, reason: None },
        Entry::Resumed { id },
        Entry::Missed { id, span: span(2, 4) },
        Entry::Retired { start: Offset(4) },
        Entry::Cut { log: "events".into(), quarantined: "quarantine/x.tail".into(), bytes: 77 },
        Entry::Deleted { id },
        Entry::LedgerRetired { start: Offset(9) },
        Entry::LossAccepted { log: "events".into(), span: span(1, 3), detail: "a record's checksum is wrong".into() },
        Entry::Told { id, span: span(2, 4) },
        Entry::Resent {
            id,
            offset: Offset(5),
            replay: Some("019a9f3e".into()),
            attempts: 1,
            status: Some(200),
            latency_ms: Some(300),
            failure: None,
        },
        Entry::Resent {
            id,
            offset: Offset(5),
            replay: None,
            attempts: 4,
            status: None,
            latency_ms: None,
            failure: Some("answered 503".into()),
        },
        Entry::Removed { id, end: Offset(302) },
    ]
}

#[test]
fn every_ledger_entry_keeps_its_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: String = entries().iter().map(|entry| format!("{}\n", hex(&entry.encode()))).collect();
    hold("entries.hex", lines.as_bytes());
    for entry in entries() {
        assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
    }
}

#[test]
fn a_snapshot_keeps_its_bytes() {
    let mut state = State::default();
    for (n, entry) in entries().iter().enumerate().take(11) {
        state.apply(entry, Timestamp(n as u64));
    }
    hold("state.bin", &state.encode());
    assert_eq!(State::decode(&state.encode()).unwrap(), state);
    // A little earlier, while an event still fails.
    let mut failing = State::default();
    for (n, entry) in entries().iter().enumerate().take(5) {
        failing.apply(entry, Timestamp(n as u64));
    }
    assert!(failing.subscribers().any(|subscriber| !subscriber.failed.is_empty()));
    hold("state_failing.bin", &failing.encode());
    assert_eq!(State::decode(&failing.encode()).unwrap(), failing);
}

#[test]
fn secrets_come_back_from_their_seal() {
    let headers = vec![("authorization".into(), "Bearer abc123".into())];
    let mut secrets = ConnectorSecrets::new(headers, SigningSecret::random());
    secrets.rotate(SigningSecret::random(), Timestamp(0)).unwrap();
    let vault = Vault::ephemeral();
    let target = Target::Connector { settings: connector(), secrets: vault.seal(SubscriberId(1), &secrets) };
    let name = Name::parse("name", "EMS-Scheduler").unwrap();
    let entry = Entry::Made { id: SubscriberId(1), name, target, cursor: Offset(0) };
    match Entry::decode(&entry.encode()).unwrap() {
        Entry::Made { target: Target::Connector { settings, secrets: sealed }, .. } => {
            assert_eq!(settings, connector());
            assert_eq!(vault.open_sealed(SubscriberId(1), &sealed).unwrap(), secrets);
        }
        other => panic!("{other:?}"),
    }
}

/// The events of the golden directory on a disk in memory, and the engine that wrote them.
fn written(runtime: &Runtime) -> (MemoryFs, Local) {
    let fs = MemoryFs::new();
    let options = LocalOptions {
        event_segment_bytes: 4096,
        ledger_segment_bytes: 4096,
        fill: Fill::Never,
        clock: Clock::Manual(Arc::new(AtomicU64::new(NOW.0))),
        random: Arc::new(Random::seeded(42)),
        ..LocalOptions::new("data")
    };
    let engine = Local::open(Arc::new(fs.clone()), &options).unwrap().engine;
    runtime.block_on(async {
        engine.append(events()).await.unwrap();
        for n in 0..12 {
            let id = EventId::parse(&format!("fill-{n}")).unwrap();
            let payload = format!("\"{}\"", "z".repeat(400));
            let event = NewEvent::check("fill", id, None, Headers::default(), None, payload.into()).unwrap();
            engine.append(vec![event]).await.unwrap();
        }
    });
    (fs, engine)
}

#[test]
fn a_data_directory_keeps_its_bytes_and_a_stranger_can_read_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (fs, engine) = written(&runtime);
    let leaves = runtime.block_on(async {
        for entry in entries() {
            if !matches!(entry, Entry::Began { .. }) {
                engine.record(vec![entry]).unwrap().durable().await.unwrap();
            }
        }
        engine
            .recent(Offset(0))
            .unwrap()
            .iter()
            .map(|event| event.leaf().iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
            .collect::<String>()
    });
    let history: Vec<Recorded> = engine.history(Offset(0)).unwrap().0;
    assert_eq!(history.len(), entries().len());
    engine.close();
    // What is kept of ids when retention takes the oldest segment; here it lies beside that segment.
    let (worn, engine) = written(&runtime);
    let one_byte = RetentionLimits { max_bytes: Some(1), ..RetentionLimits::default() };
    engine.maintain(one_byte, NOW).unwrap().unwrap();
    engine.close();
    let ids: Vec<_> = worn.files().into_iter().filter(|(path, _)| path.starts_with("data/ids")).collect();
    assert_eq!(ids.len(), 1);
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in fs.files().into_iter().chain(ids) {
        let name = path.strip_prefix("data").unwrap().to_string_lossy().into_owned();
        let kept = name.ends_with(".seg") || name.ends_with("durable.meta") || name.ends_with(".ids");
        if kept {
            hold(&format!("data/{name}"), &bytes);
            let copy = folder.path().join(&name);
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::write(copy, bytes).unwrap();
        }
    }
    hold("leaves.txt", leaves.as_bytes());
    // Thirty lines of Python after FORMAT.md, and nothing of ours, find the same events and the same leaves.
    let stranger = Command::new("python3").arg(golden().join("decode.py")).arg(folder.path()).output().unwrap();
    assert!(stranger.status.success(), "{}", String::from_utf8_lossy(&stranger.stderr));
    assert_eq!(String::from_utf8_lossy(&stranger.stdout), leaves);
}
