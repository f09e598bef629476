//! What is wrong with a piece of input, told so that it can be mended.

/// Input that does not follow the grammar: which field, and what is wrong with it.
///
/// Never worth a retry with the same input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Invalid {
    /// The field as the contract spells it: `channel`, `key`, `window`, …
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Invalid {
    /// Names the field and the fault.
    pub fn new(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field, detail: detail.into() }
    }
}
