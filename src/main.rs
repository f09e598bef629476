//! Starts the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    stentor::cli::main()
}
