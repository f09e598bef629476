//! Every problem that the code can give stands in docs/ERRORS.md, and the page names no other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Code of the floors that refuse requests, each file in one line, without comments and unit tests.
fn sources() -> Vec<String> {
    fn walk(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let lines = code.lines().map(|line| line.split("//").next().unwrap().trim());
                found.push(lines.collect::<Vec<_>>().join(" ").replace("( ", "("));
            }
        }
    }
    let mut found = Vec::new();
    for floor in ["api", "broker", "connector", "deliver", "ledger", "model", "publish"] {
        walk(&root().join("src").join(floor), &mut found);
    }
    found
}

/// The arguments of each call of `name`, up to the end of the statement.
fn calls<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let call = format!("{name}(");
    code.match_indices(&call).map(|(at, _)| code[at + call.len()..].split(';').next().unwrap()).collect()
}

/// The string literal that begins there.
fn literal(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.split('"').next()
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

/// What a refused field is called as a problem.
fn of_field(field: &str) -> String {
    format!("{}-invalid", field.replace(['_', '.'], "-"))
}

/// The codes that the code gives.
fn given() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for code in sources() {
        // Problem::new(STATUS, "code", …), Error::new(ErrorKind::X, "code", …).
        for call in calls(&code, "Problem::new").into_iter().chain(calls(&code, "Self::new")) {
            codes.extend(
                call.split_once(", ").and_then(|(_, rest)| literal(rest)).filter(|c| is_word(c)).map(str::to_owned),
            );
        }
        // Written out, where there is no problem yet.
        for (at, start) in code.match_indices("\"/problems/") {
            codes.extend(code[at + start.len()..].split('"').next().filter(|code| is_word(code)).map(str::to_owned));
        }
        // (ErrorKind::X, "code").
        for call in calls(&code, "") {
            let pair = call.strip_prefix("ErrorKind::").and_then(|rest| rest.split_once(", "));
            codes.extend(pair.and_then(|(_, rest)| literal(rest)).filter(|c| is_word(c)).map(str::to_owned));
        }
        // A field that is refused, by whatever reads it.
        for reader in [
            "Invalid::new",
            "parse_duration",
            "Name::parse",
            "Place::parse",
            "Place::from_json",
            "Rate::parse",
            "check_tokens",
            "duration",
            "place",
            "one",
            "number",
            "not_here",
        ] {
            codes.extend(calls(&code, reader).into_iter().filter_map(literal).filter(|f| is_word(f)).map(of_field));
        }
    }
    codes
}

/// The codes that the page lists, each with the statuses of its row.
fn listed() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/ERRORS.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_problem_that_the_code_gives_is_on_the_page() {
    let given = given();
    assert!(given.len() > 60 && given.contains("channel-invalid") && given.contains("too-large"), "{given:?}");
    let missing: Vec<_> = given.difference(&listed()).cloned().collect();
    assert!(missing.is_empty(), "docs/ERRORS.md does not tell of {missing:?}");
}

#[test]
fn the_page_tells_of_no_problem_that_cannot_happen() {
    let code = sources().join("\n");
    // Composed from a field, a kind, or the word itself.
    let possible = |name: &String| {
        let field = name.strip_suffix("-invalid").map(|field| field.replace('-', "_"));
        let kind = name.strip_suffix("-not-found");
        code.contains(&format!("\"{name}\""))
            || code.contains(&format!("\"/problems/{name}\""))
            || field.is_some_and(|field| code.contains(&format!("\"{field}\"")))
            || kind.is_some_and(|kind| code.contains(&format!("\"{kind}\"")))
    };
    let idle: Vec<_> = listed().into_iter().filter(|name| !possible(name)).collect();
    assert!(idle.is_empty(), "nothing gives {idle:?}");
}
