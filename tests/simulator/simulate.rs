//! `cargo run --release --example simulate -- --seed N --states 10000000`: the simulator, as much of it as is asked for.
//!
//! Prints what was tried and which branches of recovery were reached; ends with 1 at the first broken promise, with
//! its story. The same seed gives the same trace.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "what cannot go on fails")]

#[path = "mod.rs"]
mod simulator;

use simulator::chains::Chains;
use simulator::images::Tries;
use simulator::rot::Rot;
use simulator::workload::{Base, STEPS};
use std::process::ExitCode;
use std::thread;
use stentor::fs::Choices;
use stentor::log::branches;
use tokio::runtime::Runtime;

struct Asked {
    seed: u64,
    /// Crash states, about.
    states: u64,
    /// Every workload up to so many steps comes first.
    steps: usize,
    /// Of so many crash states one has its recovery interrupted three times.
    chain_every: u64,
    /// Turned bits and wrong reads.
    rot: u64,
    threads: u64,
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { seed: 1, states: 100_000, steps: 4, chain_every: 8, rot: 20_000, threads: 2 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
        let number: u64 = value.replace('_', "").parse().map_err(|_| format!("{word}: '{value}' is not a number"))?;
        match word.as_str() {
            "--seed" => asked.seed = number,
            "--states" => asked.states = number,
            "--steps" => asked.steps = number as usize,
            "--chain-every" => asked.chain_every = number.max(1),
            "--rot" => asked.rot = number,
            "--threads" => asked.threads = number.max(1),
            _ => return Err(format!("{word} is none of --seed --states --steps --chain-every --rot --threads")),
        }
    }
    Ok(asked)
}

/// What one thread did.
#[derive(Default)]
struct Done {
    states: u64,
    points: u64,
    not_all: u64,
    chains: u64,
    interrupted: [u64; 3],
    rot: [u64; 4],
    trace: u64,
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("simulate: {error}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}, {} states, every workload to {} steps", asked.seed, asked.states, asked.steps);
    let done: Vec<Option<Done>> = thread::scope(|scope| {
        let runs: Vec<_> = (0..asked.threads)
            .map(|n| {
                scope.spawn({
                    let asked = &asked;
                    move || run(asked, n)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().ok()).collect()
    });
    let violated = done.iter().any(Option::is_none);
    let all: Vec<Done> = done.into_iter().flatten().collect();
    let sum = |of: fn(&Done) -> u64| all.iter().map(of).sum::<u64>();
    println!("crash points       {:>12}", sum(|d| d.points));
    println!("crash states       {:>12}", sum(|d| d.states));
    println!("  of points not in all their versions {:>4}", sum(|d| d.not_all));
    println!(
        "recovery chains    {:>12}, starts interrupted at depth 1, 2, 3: {} {} {}",
        sum(|d| d.chains),
        sum(|d| d.interrupted[0]),
        sum(|d| d.interrupted[1]),
        sum(|d| d.interrupted[2])
    );
    println!(
        "bits and reads     {:>12}: {} refused, {} told, {} harmless",
        sum(|d| d.rot[0]),
        sum(|d| d.rot[1]),
        sum(|d| d.rot[2]),
        sum(|d| d.rot[3])
    );
    println!("branches of recovery");
    for (name, times) in branches() {
        println!("  {times:>12}  {name}{}", if times == 0 { "  NOT REACHED" } else { "" });
    }
    println!("trace              {:016x}", all.iter().fold(0, |trace, done| trace ^ done.trace));
    println!("violations         {:>12}", u64::from(violated));
    ExitCode::from(u8::from(violated))
}

/// One thread's share: the first goes through every small workload, all draw larger ones, each from a seed of its own.
fn run(asked: &Asked, number: u64) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seed = asked.seed.wrapping_add(number << 32);
    let mut tries = Tries::new(seed, 4_096, asked.states / asked.threads);
    tries.chains = Some(Chains::new(seed, asked.chain_every));
    tries.share = (number, asked.threads);
    tries.every_workload(&runtime, asked.steps);
    tries.in_order = 64;
    tries.drawn_workloads(&runtime);
    let rot = rot(&runtime, seed, asked.rot / asked.threads);
    let chains = tries.chains.take().unwrap();
    Done {
        states: tries.states.get(),
        points: tries.points.get(),
        not_all: tries.not_all.get(),
        chains: chains.tried.get(),
        interrupted: chains.interrupted.each_ref().map(|depth| depth.get()),
        rot: [rot.tried.get(), rot.refused.get(), rot.told.get(), rot.harmless.get()],
        trace: tries.trace.get(),
    }
}

fn rot(runtime: &Runtime, seed: u64, tries: u64) -> Rot {
    let rot = Rot::default();
    let mut draw = Choices::seeded(seed);
    let mut base = Base::first(runtime);
    while rot.tried.get() < tries {
        if draw.pick(40) == 0 || base.count > 60 {
            base = Base::first(runtime);
        }
        base = base.after(runtime, STEPS[draw.pick(STEPS.len())]);
        for n in 0..8 {
            let story = || format!("seed {seed}, try {n} after {} events", base.count);
            rot.turn_a_bit(runtime, &base, &mut draw, &story);
            rot.read_wrong(runtime, &base, &mut draw, &story);
            rot.take_away(runtime, &base, &mut draw, &story);
            rot.several(runtime, &base, &mut draw, &story);
        }
    }
    rot
}
