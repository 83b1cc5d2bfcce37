use std::io::{self, Write};

use fgi::AdapterKind;

use crate::failure::Outcome;

/// Lists the devices of this machine with the limits that matter
#[derive(clap::Args)]
pub struct Args {
    /// Prints one JSON object a line for each device
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    let mut out = io::stdout();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "device": "cpu", "threads": threads }))?;
    } else {
        writeln!(out, "cpu    {threads} threads")?;
    }
    for gpu in fgi::adapters() {
        if args.json {
            let line = serde_json::json!({
                "device": "gpu",
                "name": gpu.name,
                "backend": gpu.backend,
                "kind": gpu.kind.name(),
                "driver": gpu.driver,
                "max_buffer_bytes": gpu.max_buffer_bytes,
                "max_storage_buffers": gpu.max_storage_buffers,
            });
            writeln!(out, "{line}")?;
            continue;
        }
        writeln!(
            out,
            "gpu    {} ({}, {}, {})",
            gpu.name,
            gpu.kind.name(),
            gpu.backend,
            gpu.driver
        )?;
        writeln!(
            out,
            "       buffers of up to {} MiB, {} in a kernel{}",
            gpu.max_buffer_bytes >> 20,
            gpu.max_storage_buffers,
            if gpu.kind == AdapterKind::Software { "; runs on the processor" } else { "" }
        )?;
    }
    Ok(())
}
