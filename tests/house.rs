//! The house stands: a module imports only from floors below it, and nobody goes round the seams.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module's floor, as in docs/ARCHITECTURE.md.
const FLOORS: &[(&str, u32)] = &[
    ("model", 0),
    ("fs", 1),
    ("clock", 1),
    ("codec", 1),
    ("metrics", 1),
    ("notify", 2),
    ("ack", 2),
    ("view", 2),
    ("log", 3),
    ("ledger", 4),
    ("engine", 5),
    ("connector", 5),
    ("publish", 6),
    ("deliver", 6),
    ("broker", 7),
    ("api", 8),
    ("telemetry", 8),
    ("config", 9),
    ("cli", 10),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 50, "the sources are where they should be");
    found
}

/// The top-level module that a file belongs to.
fn module(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Code without comments, and without unit tests, which may look further.
fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    production.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules that `crate::…` paths in some code name, those in braces too.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(list) => {
                let list = list.split(';').next().unwrap_or_default();
                let mut depth = 0;
                let mut start = true;
                for (n, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if c.is_alphabetic() && start && depth == 0 => {
                            found.push(word(&list[n..]));
                            start = false;
                        }
                        _ => {}
                    }
                    if depth < 0 {
                        break;
                    }
                }
            }
        }
    }
    found
}

#[test]
fn every_module_imports_only_from_floors_below() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let here = module(&path);
        if matches!(here.as_str(), "lib" | "main") {
            continue;
        }
        for other in imports(&code(&text)).into_iter().filter(|other| *other != here) {
            let allowed = match floors.get(here.as_str()) {
                None => here == "client" && other == "model",
                // The command line stands on top, and may use the client that stands beside the house.
                Some(_) if other == "client" => here == "cli",
                Some(floor) => floors.get(other.as_str()).is_some_and(|below| below < floor),
            };
            if !allowed {
                faults.push(format!("{} imports {other}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_has_its_floor_and_every_floor_its_module() {
    let mut here: Vec<String> = sources().iter().map(|(path, _)| module(path)).collect();
    here.sort();
    here.dedup();
    here.retain(|name| !matches!(name.as_str(), "lib" | "main" | "client"));
    let mut named: Vec<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    named.sort();
    assert_eq!(here, named);
}

#[test]
fn the_import_reader_reads_every_form() {
    assert_eq!(imports("use crate::model::Offset;"), ["model"]);
    assert_eq!(imports("use crate::{clock, fs::{Fs, Open}, telemetry};"), ["clock", "fs", "telemetry"]);
    assert_eq!(imports("let x = crate::clock::within(a, b);"), ["clock"]);
}

/// Nobody outside `allowed` may write one of `words`.
fn fenced(words: &[&str], allowed: &[&str], why: &str) {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if allowed.contains(&module(&path).as_str()) {
            continue;
        }
        let code = code(&text);
        faults.extend(
            words.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(faults.is_empty(), "{why}:\n{}", faults.join("\n"));
}

#[test]
fn only_fs_touches_the_disk() {
    let words = ["std::fs", "tokio::fs", "File::open", "File::create", "OpenOptions"];
    fenced(&words, &["fs"], "all I/O goes through fs, so that tests can put a failing disk underneath");
}

#[test]
fn only_clock_asks_for_the_time() {
    let words = ["SystemTime", "std::time::Instant", "tokio::time", "Instant::now"];
    let ours = |word: &&&str| **word != "Instant::now";
    let hard: Vec<&str> = words.iter().filter(ours).copied().collect();
    // The client stands beside the house and has no clock of the house's.
    fenced(&hard, &["clock", "client"], "time comes from clock, so that tests can set it");
}

#[test]
fn only_the_codec_knows_bincode_and_only_the_view_knows_sled() {
    fenced(&["bincode::"], &["codec"], "bincode is fenced");
    fenced(&["sled::"], &["view"], "sled is fenced");
}

#[test]
fn only_connectors_and_the_client_open_outbound_connections() {
    let words = ["TcpStream::connect", "reqwest::Client", "Client::builder", "connect_async"];
    fenced(&words, &["connector", "client"], "one guarded way out");
}

#[test]
fn nothing_grows_without_bound_and_nothing_is_left_undone() {
    let words = ["unbounded_channel", "unbounded()", "todo!(", "unimplemented!(", "process::exit"];
    fenced(&words, &[], "bounded and finished");
}

#[test]
fn files_stay_small_enough_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().count()))
        .filter(|(_, lines)| *lines > 480)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
