//! How results look: tables for a terminal, NDJSON for a pipe.

use super::args::OutputKind;
use super::exit::Outcome;
use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Whether results are for people.
pub(super) fn for_people(asked: Option<OutputKind>) -> bool {
    asked.map_or_else(|| std::io::stdout().is_terminal(), |kind| kind == OutputKind::Table)
}

/// Writes one line to stdout, at once: the reader may be waiting for it.
pub(super) fn line(text: &str) -> Outcome {
    bytes(&[text.as_bytes(), b"\n"].concat())
}

/// Writes to stdout, at once.
pub(super) fn bytes(text: &[u8]) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}

/// Says one line to people, on stderr. Where that cannot be written (a full disk, nobody at the other end) the command
/// goes on all the same, and ends with the status that it would have had.
pub(super) fn say(text: impl std::fmt::Display) {
    let _nobody_is_there = writeln!(std::io::stderr(), "stentor: {text}").is_err();
}

/// Prints objects: as a table of these columns, or one a line.
pub(super) fn objects(asked: Option<OutputKind>, columns: &[&str], rows: &[Value]) -> Outcome {
    if !for_people(asked) {
        return rows.iter().try_for_each(|row| line(&row.to_string()));
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).remove_style(TableComponent::HorizontalLines);
    fit(&mut table);
    table.set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(row.get(*column))));
    }
    line(&table.to_string())
}

/// Prints one object: a line a member, or the object.
pub(super) fn object(asked: Option<OutputKind>, value: &Value) -> Outcome {
    if !for_people(asked) {
        return line(&value.to_string());
    }
    let members = value.as_object().into_iter().flatten();
    figures(members.map(|(name, value)| (name.clone(), cell(Some(value)))))
}

/// Prints a line a figure, for people.
pub(super) fn figures(lines: impl IntoIterator<Item = (String, String)>) -> Outcome {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    fit(&mut table);
    for (name, value) in lines {
        table.add_row([name, value]);
    }
    line(&table.to_string())
}

/// Fits a table into its terminal; one that does not know how wide it is (some say 0) gets whole lines.
fn fit(table: &mut Table) {
    let known = table.width().is_some_and(|width| width >= NARROWEST);
    table.set_content_arrangement(if known { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
}

/// Below so many columns no table can be read.
const NARROWEST: u16 = 20;

/// A value as it stands in a table.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(|part| cell(Some(part))).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

/// Progress on stderr, where somebody looks; nothing in a pipe.
pub(super) fn progress(of: Option<u64>, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = of.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template =
        if of.is_some() { "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}" } else { "{spinner} {msg} {pos} {per_sec}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(what)
}

/// A file to read without blocking the runtime's own threads.
pub(super) fn reader(path: &std::path::Path) -> std::io::Result<impl tokio::io::AsyncRead + Unpin + use<>> {
    use futures_util::stream;
    let file = crate::fs::Fs::open(&crate::fs::RealFs, path, crate::fs::Open::Read)?;
    let blocks = stream::try_unfold((file, 0u64), |(file, position)| async move {
        let mut block = vec![0; 256 << 10];
        let read = file.read_at(&mut block, position)?;
        block.truncate(read);
        let next = (file, position + read as u64);
        Ok::<_, std::io::Error>((read > 0).then(|| (std::io::Cursor::new(block), next)))
    });
    Ok(tokio_util::io::StreamReader::new(Box::pin(blocks)))
}
