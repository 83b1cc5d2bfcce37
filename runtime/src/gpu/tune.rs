//! Measuring the variants of a program's shaders.

use std::time::{Duration, Instant};

use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::target::gpu::dispatch::plan;
use fgi_compiler::target::gpu::{Limits, ROWS, Shaders};

use super::{GpuBackend, Pipeline, cache, emitted};
use crate::Error;
use crate::backend::Backend;
use crate::bench::Tuning;

/// The program with so many rows of the batch in a workgroup.
struct Variant {
    rows: u32,
    shaders: Shaders,
    pipelines: Vec<Pipeline>,
    /// The least of all rounds.
    time: Duration,
}

/// Rounds that are counted, as many as fit into a second but at least and at most so many.
const ROUNDS: (u32, u32) = (3, 30);

impl GpuBackend {
    /// Measures the variants, by turns, and goes on with the fastest.
    pub(super) fn tune_rows(&mut self) -> Result<Tuning, Error> {
        let Some(limits) = self.limits else {
            return Err(self.error("an artifact's shaders are as they were built"));
        };
        let mut variants = self.variants(limits)?;
        self.measure(&mut variants)?;
        let measured = variants.iter().map(|v| (v.rows, 1e3 * v.time.as_secs_f64())).collect();
        let fastest = variants.iter_mut().min_by_key(|variant| variant.time);
        let fastest = fastest.ok_or_else(|| self.error("no variant can be dispatched"))?;
        self.exchange(fastest)?;
        let mut tuning = Tuning { variants: measured, rows: fastest.rows, file: None };
        if let Some(caches) = &self.caches {
            tuning.file = cache::keep_rows(caches, &self.info, &self.program, &tuning);
        }
        Ok(tuning)
    }

    /// Those that differ and can be dispatched.
    fn variants(&self, limits: Limits) -> Result<Vec<Variant>, Error> {
        let bindings = &self.bound()?.bindings;
        let mut variants: Vec<Variant> = Vec::new();
        // The fewest first: where no more fit, the number is the true one.
        for rows in ROWS.into_iter().rev() {
            let shaders = emitted(&self.program, Limits { rows: Some(rows), ..limits })?;
            let is_new = variants.iter().all(|variant| variant.shaders != shaders);
            if is_new && plan(&shaders, bindings, self.budget).is_ok() {
                let pipelines = self.pipelines(&shaders, None)?;
                variants.push(Variant { rows, shaders, pipelines, time: Duration::MAX });
            }
        }
        Ok(variants)
    }

    fn measure(&mut self, variants: &mut [Variant]) -> Result<(), Error> {
        let mut start = Instant::now();
        let mut round = 0;
        while round <= ROUNDS.0 || round <= ROUNDS.1 && start.elapsed() < Duration::from_secs(1) {
            let fastest = variants.iter().map(|variant| variant.time).min().unwrap_or_default();
            // What took twice as long will not win.
            let in_question = |variant: &&mut Variant| variant.time / 2 <= fastest;
            for variant in variants.iter_mut().filter(in_question) {
                self.exchange(variant)?;
                let time = self.timed();
                self.exchange(variant)?;
                variant.time = variant.time.min(time?);
            }
            if round == 0 {
                // Drivers compile when something runs first.
                variants.iter_mut().for_each(|variant| variant.time = Duration::MAX);
                start = Instant::now();
            }
            round += 1;
        }
        Ok(())
    }

    fn timed(&mut self) -> Result<Duration, Error> {
        let start = Instant::now();
        self.run(&[Pass::Forward, Pass::Backward])?;
        self.wait()?;
        Ok(start.elapsed())
    }

    /// Takes the shaders of a variant and gives it the own ones.
    fn exchange(&mut self, variant: &mut Variant) -> Result<(), Error> {
        let mut swap = |backend: &mut GpuBackend| {
            std::mem::swap(&mut backend.shaders, &mut variant.shaders);
            std::mem::swap(&mut backend.pipelines, &mut variant.pipelines);
        };
        swap(self);
        let bindings = self.bound()?.bindings.clone();
        let bound = self.bind_again(&bindings);
        if bound.is_err() {
            swap(self);
        }
        bound
    }
}
