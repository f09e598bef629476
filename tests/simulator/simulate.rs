//! `cargo run --release --example simulate -- --seed N --states 10000000`: the simulator, as much of it as is asked for.
//!
//! Prints what was tried and which branches of recovery were reached, each minute and at the end; ends with 1 at the
//! first broken promise, with its story. The same seed and part give the same trace. A large run is given in parts
//! (`--part 0 --of 2`), each a process that keeps to one core: `taskset -c 0` spares it the wake-ups between cores,
//! which take five times as long as the work.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "what cannot go on fails; it tells real time"
)]

#[path = "mod.rs"]
mod simulator;

use simulator::chains::Chains;
use simulator::images::Tries;
use simulator::rot::Rot;
use simulator::workload::{Base, STEPS};
use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stentor::fs::Choices;
use stentor::log::{Fill, branches};
use tokio::runtime::Runtime;

struct Asked {
    seed: u64,
    /// Crash states in all parts, about; at least those of the small workloads.
    states: u64,
    /// Every workload up to so many steps comes first.
    steps: usize,
    /// Of so many crash states one has its recovery interrupted three times.
    chain_every: u64,
    /// Turned bits and wrong reads, in all parts.
    rot: u64,
    /// This part, of so many.
    part: u64,
    of: u64,
    /// It ends, and says so, where it takes longer.
    seconds: u64,
}

fn asked() -> Result<Asked, String> {
    let (states, rot) = (100_000, 20_000);
    let mut asked = Asked { seed: 1, states, steps: 4, chain_every: 8, rot, part: 0, of: 1, seconds: u64::MAX };
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
            "--part" => asked.part = number,
            "--of" => asked.of = number.max(1),
            "--seconds" => asked.seconds = number,
            _ => {
                let known = "--seed --states --steps --chain-every --rot --part --of --seconds";
                return Err(format!("{word} is none of {known}"));
            }
        }
    }
    if asked.part >= asked.of {
        return Err(format!("--part {} is not below --of {}; parts count from 0", asked.part, asked.of));
    }
    Ok(asked)
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("simulate: {error}");
            return ExitCode::from(2);
        }
    };
    let (part, of) = (asked.part, asked.of);
    println!(
        "seed {}, {} states, every workload to {} steps, part {part} of {of}",
        asked.seed, asked.states, asked.steps
    );
    let broken = std::panic::catch_unwind(|| run(&asked)).is_err();
    println!("violations         {:>12}", u64::from(broken));
    ExitCode::from(u8::from(broken))
}

/// Every small workload, then drawn ones, then turned bits; each part draws from a seed of its own.
fn run(asked: &Asked) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seed = asked.seed.wrapping_add(asked.part << 32);
    let mut tries = Tries::new(seed, 4_096, asked.states / asked.of);
    tries.chains = Some(Chains::new(seed, asked.chain_every));
    tries.part = (asked.part, asked.of);
    let began = Instant::now();
    let told = Cell::new(began);
    let limit = Duration::from_secs(asked.seconds);
    tries.goes_on = Box::new(move |tries| {
        if told.get().elapsed() >= Duration::from_secs(60) {
            told.set(Instant::now());
            tell(tries, began);
        }
        began.elapsed() < limit
    });
    let exhausted = tries.every_workload(&runtime, asked.steps);
    let points = tries.points.get();
    println!(
        "every workload to {} steps: {points} crash points, {}",
        asked.steps,
        if exhausted { "all of this part" } else { "NOT ALL: out of time" }
    );
    tell(&tries, began);
    tries.in_order = 64;
    tries.drawn_workloads(&runtime);
    tell(&tries, began);
    let rot = rot(&runtime, seed, asked.rot / asked.of);
    println!(
        "bits and reads     {:>12}: {} refused, {} told, {} harmless; {} reads gave other bytes",
        rot.tried.get(),
        rot.refused.get(),
        rot.told.get(),
        rot.harmless.get(),
        rot.misread.get()
    );
    println!("branches of recovery");
    for (name, times) in branches() {
        println!("  {times:>12}  {name}{}", if times == 0 { "  NOT REACHED" } else { "" });
    }
    println!("trace              {:016x}", tries.trace.get());
}

/// What was tried so far.
fn tell(tries: &Tries, began: Instant) {
    let chains = tries.chains.as_ref().unwrap();
    let [once, twice, thrice] = chains.interrupted.each_ref().map(Cell::get);
    println!(
        "after {:>6} s: {} crash points ({} not in all their versions), {} crash states, {} of them different; {} recovery chains, starts \
         interrupted at depth 1, 2, 3: {once} {twice} {thrice}",
        began.elapsed().as_secs(),
        tries.points.get(),
        tries.not_all.get(),
        tries.states.get(),
        tries.different(),
        chains.tried.get(),
    );
}

fn rot(runtime: &Runtime, seed: u64, tries: u64) -> Rot {
    let rot = Rot::default();
    let mut draw = Choices::seeded(seed);
    let mut base = Base::first(runtime, Fill::AtOnce);
    while rot.tried.get() < tries {
        if draw.pick(40) == 0 || base.count > 60 {
            base = Base::first(runtime, if draw.pick(4) == 0 { Fill::Never } else { Fill::AtOnce });
        }
        base = base.after(runtime, STEPS[draw.pick(STEPS.len())]).at_rest(runtime);
        for n in 0..8 {
            let story = || format!("seed {seed}, try {n} after {} events", base.count);
            rot.turn_a_bit(runtime, &base, &mut draw, &story);
            rot.read_wrong(runtime, &base, &mut draw, &story);
            rot.take_away(runtime, &base, &mut draw, &story);
            rot.several(runtime, &base, &mut draw, &story);
            rot.after_a_crash(runtime, &base, &mut draw, &story);
        }
    }
    rot
}
