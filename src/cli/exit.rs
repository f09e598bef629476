//! How a command ends.

use crate::broker::{Error, ErrorKind};
use crate::client::ClientError;
use std::path::Path;
use std::process::ExitCode;

/// The exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    TimedOut = 4,
}

/// A command that did not do what it should, and one line that says why.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) exit: Exit,
    pub(super) message: String,
}

pub(super) type Outcome = Result<(), Fault>;

impl Exit {
    pub(super) fn because(self, message: impl Into<String>) -> Fault {
        Fault { exit: self, message: message.into() }
    }
}

/// A file that cannot be had: one that is not there is something not found.
pub(super) fn of_file(path: &Path, error: &std::io::Error) -> Fault {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    exit.because(format!("{}: {error}", path.display()))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused { status: 404 | 410, .. } => Exit::NotFound,
            ClientError::Refused { status: 400, .. } | ClientError::Closed { code: 4500, .. } => Exit::Usage,
            ClientError::Url(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        exit.because(error.to_string())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Gone => Exit::NotFound,
            ErrorKind::Invalid => Exit::Usage,
            _ => Exit::Failed,
        };
        exit.because(error.to_string())
    }
}

impl From<crate::model::Invalid> for Fault {
    fn from(invalid: crate::model::Invalid) -> Self {
        Exit::Usage.because(invalid.to_string())
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // Whoever read the results has had enough, as `head` has: nothing to say, and nobody to say it to.
            std::io::ErrorKind::BrokenPipe => Exit::Failed.because(""),
            _ => Exit::Failed.because(error.to_string()),
        }
    }
}
