//! Neurons and a step of current: a panel for each, with the potential as a full line, the threshold dashed, and spikes as
//! dots along the upper edge.

use fgi_compiler::report::trace::Trace;
use plotters::prelude::*;

use super::{Area, Drawn, GRADIENT, INK, Layout, Mark, Picture, chart, dot, draw_legend};

/// A panel for each neuron, by name.
pub struct Traces(pub Vec<(String, Trace)>);

impl Picture for Traces {
    fn panels(&self) -> usize {
        self.0.len()
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let marks = [("potential", Mark::Line), ("threshold", Mark::Dashed), ("spikes", Mark::Dot)];
        draw_legend(area, layout, &marks)
    }

    fn draw_panel<B: DrawingBackend>(&self, index: usize, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let (name, trace) = &self.0[index];
        let numbers = trace.potential.iter().chain(&trace.threshold).copied();
        let finite = numbers.filter(|number| number.is_finite());
        let (low, high) = finite.fold((0f64, 0f64), |(low, high), x| (low.min(x), high.max(x)));
        let room = 0.12 * (high - low).max(1e-9);
        let (low, top) = (low - room, high + 2.0 * room);
        let caption = format!("{name} (current {})", trace.current);
        let steps = 0f64..trace.potential.len() as f64;
        let mut chart = chart(area, layout, [&caption, "step"], steps, low..top)?;
        let points = |numbers: &[f64]| -> Vec<(f64, f64)> {
            let points = numbers.iter().enumerate().map(|(step, x)| (step as f64, *x));
            points.filter(|(_, x)| x.is_finite()).collect()
        };
        chart.draw_series(LineSeries::new(points(&trace.potential), layout.line(INK, 2)))?;
        let (dash, gap) = (layout.px(7), layout.px(4));
        let threshold = points(&trace.threshold);
        chart.draw_series(DashedLineSeries::new(threshold, dash, gap, layout.line(GRADIENT, 2)))?;
        let fired = points(&trace.spikes).into_iter().filter(|(_, z)| *z != 0.0);
        chart.draw_series(fired.map(|(step, _)| dot((step, high + room), layout)))?;
        Ok(())
    }
}
