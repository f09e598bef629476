//! Writes `seeds/`: what the fuzzers begin with, made by the broker's own code, the same bytes each time.
//!
//! `cargo run --release --example seeds` in `fuzz/`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use stentor::broker::{Broker, Options, ReceiptQuery};
use stentor::codec::encode_event;
use stentor::engine::{Engine, Local, LocalOptions};
use stentor::fs::{Choices, MemoryFs, RealFs};
use stentor::ledger::State;
use stentor::log::LogKind;
use stentor::model::{Filter, Offset, Span, Timestamp};
use stentor::view::{Key, Table, View};
use stentor_fuzz::{disk, real};

type Error = Box<dyn std::error::Error>;

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&dir)?;
    Ok(std::fs::write(dir.join(name), bytes)?)
}

/// A log's directory as one string, `durable.meta` first.
fn joined(fs: &MemoryFs, kind: LogKind) -> Vec<u8> {
    let here = disk::dir(kind);
    let mut files: Vec<(PathBuf, Vec<u8>)> = fs
        .files()
        .into_iter()
        .filter(|(path, _)| path.parent() == Some(&here) && !path.ends_with("next.tmp"))
        .collect();
    files.sort_by_key(|(path, _)| (path.extension().is_some_and(|kind| kind == "seg"), path.clone()));
    disk::join(files.iter().map(|(_, bytes)| bytes.as_slice()))
}

fn logs() -> Result<(), Error> {
    for (name, events) in [("empty", 0), ("small", 3), ("rolled", 30)] {
        let fs = real::directory(events);
        for kind in [LogKind::Events, LogKind::Ledger] {
            let bytes = joined(&fs, kind);
            if bytes.len() < 16 << 10 {
                write("recovery", &format!("{name}-{}", kind.as_str()), &bytes)?;
            }
            for (path, bytes) in disk::segments(&fs).into_iter().filter(|(path, _)| path.starts_with(disk::dir(kind))) {
                let first = path.file_stem().unwrap_or_default().to_string_lossy().trim_start_matches('0').to_owned();
                write("segment", &format!("{name}-{}-{first}", kind.as_str()), &bytes)?;
            }
        }
    }
    // What a power cut leaves while the log is open.
    let (fs, runtime) = (MemoryFs::new(), real::runtime());
    let engine = Local::open(Arc::new(fs.clone()), &real::options())?.engine;
    for n in 0..6 {
        runtime.block_on(engine.append((2 * n..2 * n + 2).map(real::event).collect()))?;
        for (entry, seed) in real::entries().into_iter().skip(2 * n as usize).take(2).zip(0..) {
            runtime.block_on(engine.record(vec![entry])?.durable())?;
            let crashed = fs.crash(&mut Choices::seeded(n * 2 + seed));
            for kind in [LogKind::Events, LogKind::Ledger].into_iter().filter(|_| n % 2 == 1) {
                write("recovery", &format!("crashed-{n}-{seed}-{}", kind.as_str()), &joined(&crashed, kind))?;
            }
        }
    }
    Ok(())
}

fn bodies() -> Result<(), Error> {
    for n in 0..8 {
        write("event", &format!("event-{n}"), &encode_event(&real::event(n)))?;
    }
    let part = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
    let mut state = State::default();
    let (mut all, mut folded) = (part(&[]), Vec::new());
    for (n, entry) in real::entries().iter().enumerate() {
        let bytes = part(&entry.encode());
        write(
            "ledger",
            &format!("entry-{n:02}"),
            &[part(&[]), part(&real::entries()[0].encode()), bytes.clone()].concat(),
        )?;
        all.extend(&bytes);
        state.apply(entry, Timestamp(n as u64));
        folded = [part(&state.encode()), bytes].concat();
    }
    write("ledger", "all", &all)?;
    write("ledger", "snapshot", &folded)
}

/// Receipts' rows and an export, by way of a broker on a real folder.
fn views() -> Result<(), Error> {
    let fs = real::directory(14);
    for (n, (_, bytes)) in
        fs.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "sum")).enumerate()
    {
        write("view", &format!("summary-{n}"), &[&[2], &bytes[..]].concat())?;
        write("view", &format!("sealed-{n}"), &[&[3], &bytes[..bytes.len() - 4]].concat())?;
    }
    let (worn, path) = real::worn();
    let (_, bytes) = worn.files().into_iter().find(|(found, _)| *found == path).expect("it is there");
    write("view", "ids", &[&[4], &bytes[..]].concat())?;
    write("view", "sealed-ids", &[&[5], &bytes[..bytes.len() - 4]].concat())?;
    let key: Vec<u8> = (0..80).collect();
    write("view", "keys", &[&[1], &key[..]].concat())?;
    let folder = tempfile::tempdir()?;
    let runtime = real::runtime();
    let options = LocalOptions { data: folder.path().to_owned(), ..real::options() };
    let engine = Local::open(Arc::new(RealFs), &options)?.engine;
    runtime.block_on(async {
        engine.append((0..12).map(real::event).collect()).await?;
        for entry in real::entries() {
            engine.record(vec![entry])?.durable().await?;
        }
        engine.close();
        drop(engine);
        let broker = Broker::open(Options { clock: real::options().clock, ..Options::new(folder.path()) }).await?;
        let page = broker.receipts(ReceiptQuery { limit: 100, ..ReceiptQuery::default() }).await?;
        assert!(!page.receipts.is_empty());
        for (name, filter) in [("all", Filter::everything()), ("filtered", Filter::parse(&["key.*"])?)] {
            let mut export = broker.export(filter, Span::new(Offset(0), broker.end()));
            let mut text = Vec::new();
            while let Some(lines) = export.next_lines().await? {
                text.extend_from_slice(&lines);
            }
            write("export", name, &text)?;
        }
        broker.shutdown().await;
        Ok::<(), Error>(())
    })?;
    let view = View::open(&RealFs, &folder.path().join("views").join("receipts"))?;
    let prefix = Key::new(Table::Receipts, &[]);
    let mut rows = Vec::new();
    view.scan(&prefix, &prefix, |_, row| {
        rows.push(row.to_vec());
        true
    })?;
    for (n, row) in rows.iter().enumerate() {
        write("view", &format!("row-{n}"), &[&[0], &row[..]].concat())?;
    }
    Ok(())
}

fn texts() -> Result<(), Error> {
    let gap = concat!(
        r#"{"gap":{"from":0,"to":2}}"#,
        "\n",
        r#"{"offset":2,"id":"a","channel":"b","time":"2026-11-21T21:36:33.123456Z","data":null}"#,
        "\n",
        r#"{"gap":{"from":3,"to":5}}"#,
        "\n",
        r#"{"checkpoint":null,"from":0,"to":5,"events":1}"#,
        "\n",
    );
    write("export", "gap", gap.as_bytes())?;
    let patterns = [
        "**\nkey.*\nkey.activated\nkey.b.c\n",
        "key.**\n*.activated\n$stentor.**\n$stentor.connector.failing\nkey.activated\n*\nkey\n",
        "a.*.c\na.**\na.b.c\na.b\n*.*\na.*\na.b.c.d\n",
        "30s\n250ms\n7d\n2026-11-21T21:36:33.123456Z\nearliest\n42\nx=é\nwhsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n",
    ];
    for (n, text) in patterns.iter().enumerate() {
        write("names", &format!("lines-{n}"), text.as_bytes())?;
    }
    let line =
        r#"{"channel":"key.a","data":{"n":[1,2.5e3,null,"\u00e9\n"]},"id":"id-1","key":"k","headers":{"x":"y"}}"#;
    let other = r#"{"channel":"blob","data_base64":"AAECAw==","content_type":"application/octet-stream"}"#;
    let bodies: [(u8, String); 7] = [
        (0, format!("{line}\n{other}\n")),
        (0, format!("{line}\r\n\n  \n{{\"channel\":\"a.b\",\"data\":null}}")),
        (1, format!("[{line},{other}]")),
        (1, format!("[{{\"channel\":\"$stentor.x\",\"data\":1}},{line}]")),
        (2, "{\"provider\":\r\n\"openai_primary\"}".to_owned()),
        (2, format!("{}1{}", "[".repeat(100), "]".repeat(100))),
        (3, "words".to_owned()),
    ];
    for (n, (form, body)) in bodies.iter().enumerate() {
        write("publish", &format!("body-{n}"), &[&[*form], body.as_bytes()].concat())?;
    }
    let frames = [
        r#"{"op":"publish","ref":"1","channel":"key.a","data":{"a":1},"id":"x","key":"k","headers":{"x":"y"}}"#,
        r#"{"op":"publish","ref":2,"events":[{"channel":"a","data":1},{"channel":"b","data":null}]}"#,
        r#"{"op":"subscribe","channels":["key.*","**"],"from":"earliest","batch":10}"#,
        r#"{"op":"subscribe","channels":["a.*"],"subscriber":"ui","from":0,"window":5,"ack_timeout":"1s"}"#,
        r#"{"op":"ack","offset":0,"confirm":true}"#,
        r#"{"op":"ack","offsets":[1,"2"]}"#,
        r#"{"op":"nack","offset":"3","delay":"5s"}"#,
        r#"{"op":"reject","offset":4,"reason":"no"}"#,
        r#"{"op":"working","offset":1}"#,
        r#"{"op":"auth","token":"t"}"#,
        r#"{"op":"ping"}"#,
    ];
    for (n, frame) in frames.iter().enumerate() {
        write("websocket", &format!("frame-{n:02}"), &[b"\0", frame.as_bytes()].concat())?;
        // The same as it stands on the wire: a text frame, masked with zeros.
        let head = [0x81, 0x80 | 126, 0, frame.len() as u8, 0, 0, 0, 0];
        write("websocket", &format!("wire-{n:02}"), &[b"\x01", &head[..], frame.as_bytes()].concat())?;
    }
    write(
        "websocket",
        "talk",
        &[b"\0", frames[3].as_bytes(), b"\n", frames[0].as_bytes(), b"\n", frames[4].as_bytes()].concat(),
    )
}

/// Sequences of edits and operations are any bytes: some of a length that gives some of each.
fn sequences() -> Result<(), Error> {
    let mut state = 20_261_121u64;
    for target in ["damage", "operations"] {
        for n in 0..16u64 {
            let bytes = (0..16 + n * 8).map(|_| {
                // Knuth's MMIX generator: any will do, as long as it is always the same.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            });
            write(target, &format!("bytes-{n:02}"), &bytes.collect::<Vec<u8>>())?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    logs()?;
    bodies()?;
    views()?;
    texts()?;
    sequences()
}
