//! `stentor export`.

use super::args::Export;
use super::exit::{Exit, Fault, Outcome};
use super::output;
use crate::broker::{Broker, Options};
use crate::fs::{Fs, Open, RealFs, above};
use crate::log::Recover;
use crate::model::{Filter, Place, Span};
use bytes::Bytes;
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that gets its name when it is whole.
struct Out {
    partial: PathBuf,
    file: Arc<dyn crate::fs::File>,
    position: u64,
}

impl Out {
    fn create(path: &Path) -> Result<Self, Fault> {
        // Neither a pipe nor a device can get its name at the end: a file would take its place.
        if path == Path::new("-") || (path.exists() && !path.is_file()) {
            let found = path.display();
            return Err(
                Exit::Usage.because(format!("--out {found}: not a file that can be written; name one, new or old"))
            );
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = RealFs.open(&partial, Open::Create);
        let file = file.map_err(|error| Exit::Failed.because(format!("{}: {error}", partial.display())))?;
        Ok(Self { partial, file, position: 0 })
    }

    /// Gives the file its name, durably.
    fn name(&self, path: &Path) -> Outcome {
        self.file.sync()?;
        RealFs.rename(&self.partial, path)?;
        Ok(RealFs.sync_dir(above(path))?)
    }

    fn write(&mut self, bytes: &Bytes) -> Outcome {
        self.file.write_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

pub(super) async fn run(export: Export) -> Outcome {
    let mut out = Out::create(&export.out)?;
    let ended = match &export.data {
        Some(data) => from_data(&export, data, &mut out).await,
        None => from_broker(&export, &mut out).await,
    };
    ended?;
    out.name(&export.out)?;
    output::line(&serde_json::json!({"out": export.out, "bytes": out.position}).to_string())
}

async fn from_broker(export: &Export, out: &mut Out) -> Outcome {
    let client = export.connection.client()?;
    let mut query: Vec<(&str, String)> = Vec::new();
    if !export.patterns.is_empty() {
        query.push(("channels", export.patterns.join(",")));
    }
    query.extend(export.from.clone().map(|from| ("from", from)));
    query.extend(export.to.clone().map(|to| ("to", to)));
    let answer = client.answer(client.request(reqwest::Method::GET, &["v1", "export"]).query(&query)).await?;
    let bar = output::progress(None, "bytes exported");
    let mut blocks = answer.bytes_stream();
    let mut last = Vec::new();
    while let Some(block) = blocks.next().await {
        let block = block.map_err(|error| Exit::Failed.because(format!("the export broke off: {error}")))?;
        out.write(&block)?;
        bar.set_position(out.position);
        // The last line says that the export is whole; it is short.
        last.extend_from_slice(&block);
        last.drain(..last.len().saturating_sub(4096));
    }
    bar.finish_and_clear();
    let whole = String::from_utf8_lossy(&last).lines().last().is_some_and(|line| line.starts_with("{\"checkpoint\":"));
    if whole { Ok(()) } else { Err(Exit::Failed.because("the export broke off: its last line is missing")) }
}

/// Opens the directory to read it; nothing in it is changed.
async fn from_data(export: &Export, data: &Path, out: &mut Out) -> Outcome {
    if RealFs.list(&data.join("events")).is_err() {
        return Err(Exit::NotFound.because(format!("{} is not a data directory", data.display())));
    }
    let broker = Broker::open(Options { recover: Recover::ServeReadable, ..Options::new(data) }).await?;
    let filter = if export.patterns.is_empty() { Filter::everything() } else { Filter::parse(&export.patterns)? };
    let place = |field, text: &Option<String>, default| text.as_ref().map_or(Ok(default), |t| Place::parse(field, t));
    let from = broker.resolve("from", place("from", &export.from, Place::Earliest)?).await?;
    let to = broker.resolve("to", place("to", &export.to, Place::Latest)?).await?;
    let bar = output::progress(Some(to.since(from)), "exported");
    let mut lines = broker.export(filter, Span::new(from, to));
    while let Some(block) = lines.next_lines().await? {
        out.write(&block)?;
        bar.set_position(lines.position().since(from));
    }
    bar.finish_and_clear();
    broker.shutdown().await;
    Ok(())
}
