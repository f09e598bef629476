//! `stentor config`: what `serve` would run with, and where each value was written.

use super::args::{Config, ConfigArguments};
use super::exit::{Exit, Outcome};
use super::{output, serve};
use crate::config::{Effective, Setting};
use serde_json::{Value, json};

pub(super) fn run(command: Config) -> Outcome {
    match command {
        Config::Check(arguments) => {
            let (effective, asked) = effective(arguments)?;
            let set = effective.settings.iter().filter(|setting| setting.source != crate::config::Source::Default);
            output::object(asked, &json!({"valid": true, "keys_set": set.count()}))
        }
        Config::Show(arguments) => {
            let (effective, asked) = effective(arguments)?;
            let rows: Vec<Value> = effective.settings.iter().map(row).collect();
            output::objects(asked, &["key", "value", "source"], &rows)
        }
    }
}

fn effective(arguments: ConfigArguments) -> Result<(Effective, Option<super::args::OutputKind>), super::exit::Fault> {
    let layers = serve::layers(arguments.serve);
    for name in layers.strangers() {
        output::say(format_args!("{name} is in the environment, and is no key"));
    }
    let effective = layers.effective().map_err(|faults| Exit::Usage.because(faults.to_string()))?;
    Ok((effective, arguments.output))
}

fn row(setting: &Setting) -> Value {
    let value = (!setting.value.is_empty()).then_some(&setting.value);
    json!({"key": setting.key, "value": value, "source": setting.source.to_string()})
}
