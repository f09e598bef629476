//! `stentor repair`.

use super::args::Repair;
use super::exit::{Outcome, of_file};
use super::input::Sequential;
use super::output;
use crate::broker;
use crate::clock::Random;
use crate::fs::{Fs, Open, RealFs};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

pub(super) fn run(repair: &Repair) -> Outcome {
    let from = &repair.from;
    let opened = RealFs.open(from, Open::Read);
    let file = opened.map_err(|error| of_file(from, &error))?;
    let reopen = || {
        let lines = BufReader::with_capacity(1 << 20, Sequential::new(Arc::clone(&file)));
        Ok(Box::new(lines) as Box<dyn BufRead>)
    };
    let random = Random::from_machine();
    let bar = output::progress(None, "events checked");
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let mended = broker::repair(&fs, &repair.data, &reopen, Box::new(move || random.next()), &mut |checked| {
        bar.set_position(checked);
    })?;
    for mended in &mended {
        let damage = &mended.damage;
        let line = json!({
            "file": damage.path, "byte": damage.position, "from": damage.span.from, "to": damage.span.to,
            "detail": damage.detail, "repaired": true,
        });
        output::line(&line.to_string())?;
    }
    let restored: u64 = mended.iter().map(|mended| mended.damage.span.to.since(mended.damage.span.from)).sum();
    output::line(&json!({"path": repair.data, "ranges": mended.len(), "events": restored}).to_string())
}
