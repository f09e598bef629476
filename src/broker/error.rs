//! The one error of the public API: a small kind to match on, and the facts.

use crate::ack::AckError;
use crate::connector::SendError;
use crate::deliver::{AckRefused, DeliverError, PullRefused};
use crate::engine::EngineError;
use crate::log::Failure;
use crate::model::Invalid;
use crate::publish::PublishError;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is wrong; mend it.
    Invalid,
    /// Only the broker may do that.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It was there and is gone.
    Gone,
    /// It contradicts what is there.
    Conflict,
    /// It is larger than it may be.
    TooLarge,
    /// Not now; try again, a publish with the same id.
    Unavailable,
    /// The disk is full; nothing was written.
    Full,
    /// The data directory cannot be used as it is; an operator has to look.
    Damaged,
    /// A fault of the broker's own.
    Internal,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    kind: ErrorKind,
    code: String,
    field: Option<&'static str>,
    line: Option<usize>,
    detail: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind; `code` is the last part of the problem's type.
    pub fn new(kind: ErrorKind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), field: None, line: None, detail: detail.into(), source: None }
    }

    /// What a caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Which problem it is, as in `docs/ERRORS.md`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The field that is wrong.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// The event of a batch that is wrong, from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The same, at another line of a batch.
    #[must_use]
    pub fn at(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        let code = format!("{}-invalid", invalid.field.replace(['_', '.'], "-"));
        Self { field: Some(invalid.field), ..Self::new(ErrorKind::Invalid, code, invalid.to_string()) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let (kind, code) = match &failure {
            Failure::Full => (ErrorKind::Full, "disk-full"),
            Failure::Poisoned(_) => (ErrorKind::Unavailable, "outcome-unknown"),
            Failure::Busy => (ErrorKind::Unavailable, "busy"),
            Failure::Closed => (ErrorKind::Unavailable, "draining"),
            Failure::ReadOnly(_) => (ErrorKind::Unavailable, "read-only"),
        };
        // The reasons name files of the machine; they are for the log of whoever runs it.
        let detail = match &failure {
            Failure::Poisoned(_) => {
                "the disk failed and the outcome is unknown; publish again with the same id".to_owned()
            }
            Failure::ReadOnly(_) => "the log is damaged and read-only: opened to serve what is readable".to_owned(),
            other => other.to_string(),
        };
        Self::new(kind, code, detail)
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::Invalid { line, invalid } => Self { detail, ..Self::from(invalid) }.at(line),
            PublishError::SystemChannel { line, .. } => {
                let error = Self::new(ErrorKind::Forbidden, "channel-reserved", detail);
                Self { field: Some("channel"), ..error }.at(line)
            }
            PublishError::TooLarge { line, .. } => Self::new(ErrorKind::TooLarge, "too-large", detail).at(line),
            PublishError::Conflict { line, .. } => {
                Self { field: Some("id"), ..Self::new(ErrorKind::Conflict, "id-conflict", detail) }.at(line)
            }
            PublishError::Failed(failure) => failure.into(),
        }
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        if let EngineError::Failed(failure) = error {
            return failure.into();
        }
        let (kind, code) = match &error {
            EngineError::Locked(_) => (ErrorKind::Unavailable, "data-in-use"),
            _ => (ErrorKind::Damaged, "log-unreadable"),
        };
        Self::new(kind, code, error.to_string()).caused_by(error)
    }
}

impl From<DeliverError> for Error {
    fn from(error: DeliverError) -> Self {
        let detail = error.to_string();
        match error {
            DeliverError::Invalid(invalid) => invalid.into(),
            DeliverError::NotFound { kind, .. } => {
                Self::new(ErrorKind::NotFound, format!("{}-not-found", kind.as_str()), detail)
            }
            DeliverError::WrongKind { .. } => Self::new(ErrorKind::Conflict, "name-of-other-kind", detail),
            DeliverError::BeyondEnd { field, .. } => {
                Self { field: Some(field), ..Self::new(ErrorKind::Invalid, "offset-beyond-end", detail) }
            }
            DeliverError::Busy { .. } => Self::new(ErrorKind::Conflict, "too-much-under-way", detail),
            DeliverError::TooManySecrets(_) => Self::new(ErrorKind::Conflict, "too-many-secrets", detail),
            DeliverError::Failed(failure) => failure.into(),
            DeliverError::Engine(error) => error.into(),
            DeliverError::Vault(error) => Self::new(ErrorKind::Damaged, "secrets-unreadable", detail).caused_by(error),
        }
    }
}

impl From<AckRefused> for Error {
    fn from(error: AckRefused) -> Self {
        let detail = error.to_string();
        match error {
            AckRefused::Ack(AckError::Beyond { .. }) => {
                Self { field: Some("offset"), ..Self::new(ErrorKind::Conflict, "ack-beyond-delivered", detail) }
            }
            AckRefused::Ack(AckError::NotOpen(_)) => {
                Self { field: Some("offset"), ..Self::new(ErrorKind::Conflict, "offset-not-open", detail) }
            }
            AckRefused::Over => Self::new(ErrorKind::Conflict, "session-over", detail),
            AckRefused::Failed(failure) => failure.into(),
        }
    }
}

impl From<PullRefused> for Error {
    fn from(error: PullRefused) -> Self {
        match error {
            PullRefused::Streaming(_) => Self::new(ErrorKind::Conflict, "stream-live", error.to_string()),
            PullRefused::Over(refused) => refused.into(),
            PullRefused::Deliver(error) => error.into(),
            PullRefused::Engine(error) => error.into(),
        }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::new(ErrorKind::Internal, "sender", error.to_string())
    }
}
