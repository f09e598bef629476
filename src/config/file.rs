//! The configuration file: TOML, flattened to keys, each with its line.

use toml::de::{DeTable, DeValue};

/// A key as it stands in the file.
pub(super) struct Line {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) number: usize,
}

/// Reads a file's text.
///
/// # Errors
/// Text that is not TOML; the message has the line.
pub(super) fn read(text: &str) -> Result<Vec<Line>, String> {
    let table = DeTable::parse(text).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    flatten(text, "", table.get_ref(), &mut lines)?;
    Ok(lines)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut Vec<Line>) -> Result<(), String> {
    for (name, value) in table.iter() {
        let key = format!("{prefix}{}", name.get_ref());
        let number = text.get(..value.span().start).unwrap_or_default().matches('\n').count() + 1;
        if let DeValue::Table(inner) = value.get_ref() {
            flatten(text, &format!("{key}."), inner, lines)?;
            continue;
        }
        let value = scalar(value.get_ref()).ok_or_else(|| format!("line {number}: {key}: is of no known type"))?;
        lines.push(Line { key, value, number });
    }
    Ok(())
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(word) => Some(word.to_string()),
        DeValue::Array(parts) => {
            let parts: Option<Vec<String>> = parts.iter().map(|part| scalar(part.get_ref())).collect();
            Some(parts?.join(","))
        }
        _ => None,
    }
}
