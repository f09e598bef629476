//! Floor 10: the command line, one file a command. PROTOCOL.md section 11 says what each does.
//!
//! Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage,
//! 3 not found, 4 timed out.

mod args;
mod bench;
mod config;
mod connector;
mod connector_args;
mod dead_letter;
mod demo;
mod endpoint;
mod exit;
mod export;
mod input;
mod output;
mod publish;
mod read;
mod receipts;
mod repair;
mod serve;
mod service;
mod status;
mod subscribe;
mod subscriber;
mod top;
mod verify;

use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
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
            // A fault stays what it is where it cannot be said; an answer that nobody gets is one.
            return if printed.is_ok() || error.use_stderr() { code.into() } else { Exit::Failed.into() };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(Box::pin(run(arguments)));
            // A command that ended has waited for what matters; a disk that hangs must not hold the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Exit::Failed.because(format!("the runtime does not start: {error}"))),
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(fault) => {
            if !fault.message.is_empty() {
                output::say(&fault.message);
            }
            fault.exit.into()
        }
    }
}

async fn run(arguments: Arguments) -> Outcome {
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
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
        Command::Top(top) => top::run(&top).await,
        Command::Bench(bench) => bench::run(bench).await,
        Command::Demo => demo::run().await,
        Command::Config(command) => config::run(command),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "stentor", &mut script);
    output::bytes(&script)
}
