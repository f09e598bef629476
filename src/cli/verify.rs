//! `stentor verify`.

use super::args::Verify;
use super::exit::{Exit, Outcome, of_file};
use super::input::Sequential;
use super::output;
use crate::broker::{Report, verify_data, verify_export};
use crate::fs::{Fs, Open, RealFs};
use serde_json::json;
use std::io::BufReader;
use std::path::Path;

pub(super) fn run(verify: &Verify) -> Outcome {
    let path = &verify.path;
    let bar = output::progress(None, "records checked");
    let mut progress = |checked: u64| bar.set_position(checked);
    let report = if RealFs.list(path).is_ok() {
        verify_data(path, &mut progress)?
    } else {
        let file = RealFs.open(path, Open::Read);
        let file = file.map_err(|error| of_file(path, &error))?;
        verify_export(path, BufReader::with_capacity(1 << 20, Sequential::new(file)), &mut progress)?
    };
    bar.finish_and_clear();
    print(path, &report)?;
    if report.is_clean() {
        Ok(())
    } else {
        Err(Exit::Failed.because(format!("{} is not as it should be", path.display())))
    }
}

fn print(path: &Path, report: &Report) -> Outcome {
    for finding in &report.findings {
        output::line(
            &json!({
                "file": finding.path, "byte": finding.position, "from": finding.span.from, "to": finding.span.to,
                "detail": finding.detail, "harm": finding.harm,
            })
            .to_string(),
        )?;
    }
    let leaves: String = report.leaves.iter().map(|byte| format!("{byte:02x}")).collect();
    output::line(
        &json!({
            "path": path, "clean": report.is_clean(), "events": report.events, "entries": report.entries,
            "start": report.start, "end": report.end, "leaves": leaves,
        })
        .to_string(),
    )
}
