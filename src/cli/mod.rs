//! Floor 10: the command line, one file a command. PROTOCOL.md section 11 says what each does.
//!
//! Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage,
//! 3 not found, 4 timed out.

mod args;
mod connector;
mod connector_args;
mod dead_letter;
mod demo;
mod exit;
mod export;
mod input;
mod output;
mod publish;
mod read;
mod receipts;
mod repair;
mod serve;
mod status;
mod subscribe;
mod subscriber;
mod verify;

use args::{Arguments, Command};
use clap::Parser;
use exit::{Exit, Outcome};
use std::process::ExitCode;

/// Reads the command line, does what it says, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not faults.
            let printed = error.print();
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return if printed.is_ok() { code.into() } else { Exit::Failed.into() };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(arguments))),
        Err(error) => Err(Exit::Failed.because(format!("the runtime does not start: {error}"))),
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(fault) => {
            if !fault.message.is_empty() {
                anstream::eprintln!("stentor: {}", fault.message);
            }
            fault.exit.into()
        }
    }
}

async fn run(arguments: Arguments) -> Outcome {
    match arguments.command.unwrap_or_default() {
        Command::Serve(serve) => serve::run(serve).await,
        Command::Publish(publish) => publish::run(publish).await,
        Command::Subscribe(subscribe) => subscribe::run(subscribe).await,
        Command::Read(read) => read::run(read).await,
        Command::Subscriber(subscriber) => subscriber::run(subscriber).await,
        Command::Connector(connector) => connector::run(connector).await,
        Command::DeadLetter(command) => dead_letter::run(command).await,
        Command::Receipts(receipts) => receipts::run(receipts).await,
        Command::Export(export) => export::run(export).await,
        Command::Verify(verify) => verify::run(&verify),
        Command::Repair(repair) => repair::run(&repair),
        Command::Status(connection) => status::run(&connection).await,
        Command::Demo => demo::run().await,
    }
}
