//! `fgic`, the command line of the fgi language: arguments in, calls to the compiler and the runtime,
//! text out. Each command has a file under `commands`.

mod commands;
mod failure;
mod figure;
mod numbers;
mod optimizer;
mod paper;
mod program;
mod render;
mod warnings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    bench, build, check, completions, cost, devices, doc, eval, explain, fmt, gradcheck, inspect,
    plot, schema, train,
};
use failure::Failure;

/// The fgi compiler: spiking networks with surrogate gradients, from their equations to kernels.
#[derive(Parser)]
#[command(name = "fgic", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0    done
  1    the program has errors, or a check has failed
  2    the command line is wrong
  3    a file, the data or a device made it fail
  130  interrupted, after saving what was asked for";

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Fmt(fmt::Args),
    Explain(explain::Args),
    Eval(eval::Args),
    Train(train::Args),
    Gradcheck(gradcheck::Args),
    Plot(plot::Args),
    Doc(doc::Args),
    Build(build::Args),
    Inspect(inspect::Args),
    Schema(schema::Args),
    Bench(bench::Args),
    Cost(cost::Args),
    Devices(devices::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Gradcheck(args) => gradcheck::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Doc(args) => doc::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Cost(args) => cost::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    done.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
