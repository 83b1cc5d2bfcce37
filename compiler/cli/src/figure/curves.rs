//! Functions of one variable: a panel for each, with the value as a full line and the gradient dashed.

use plotters::prelude::*;

use super::{Area, Drawn, GRADIENT, INK, Layout, Mark, Picture, chart, draw_legend};

/// A function of one variable at its points.
pub struct Panel {
    pub name: String,
    pub variable: String,
    pub x: Vec<f64>,
    pub value: Vec<f64>,
    pub gradient: Vec<f64>,
}

/// A panel for each function.
pub struct Curves(pub Vec<Panel>);

impl Picture for Curves {
    fn panels(&self) -> usize {
        self.0.len()
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        draw_legend(area, layout, &[("value", Mark::Line), ("gradient received", Mark::Dashed)])
    }

    fn draw_panel<B: DrawingBackend>(&self, index: usize, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let panel = &self.0[index];
        let (low, high) = limits(panel);
        let ends = panel.x.first().copied().zip(panel.x.last().copied());
        let (first, last) = ends.ok_or("there are no points")?;
        let mut chart =
            chart(area, layout, [&panel.name, &panel.variable], first..last, low..high)?;
        for piece in pieces(&panel.x, &panel.value, low, high) {
            chart.draw_series(LineSeries::new(piece, layout.line(INK, 2)))?;
        }
        for piece in pieces(&panel.x, &panel.gradient, low, high) {
            let (dash, gap) = (layout.px(7), layout.px(4));
            chart.draw_series(DashedLineSeries::new(piece, dash, gap, layout.line(GRADIENT, 2)))?;
        }
        Ok(())
    }
}

/// The range of the panel's vertical axis: all that both lines show, but for a few values that are far
/// greater than the others.
fn limits(panel: &Panel) -> (f64, f64) {
    let mut low = 0.0f64;
    let mut high = 0.0f64;
    for line in [&panel.value, &panel.gradient] {
        let mut sorted: Vec<f64> = line.iter().copied().filter(|y| y.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { continue };
        let (few_low, few_high) = (sorted[last / 100], sorted[last - last / 100]);
        let usual = 10.0 * (few_high - few_low).max(1e-30);
        low = low.min(sorted[0].max(few_low - usual));
        high = high.max(sorted[last].min(few_high + usual));
    }
    if high - low < 1e-30 {
        return (-1.0, 1.0);
    }
    let margin = 0.06 * (high - low);
    (low - margin, high + margin)
}

/// The line without the points that do not exist or are far off the panel.
fn pieces(x: &[f64], y: &[f64], low: f64, high: f64) -> Vec<Vec<(f64, f64)>> {
    let height = high - low;
    let points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    let shown = |(_, y): &(f64, f64)| (low - height..high + height).contains(y);
    points
        .split(|point| !shown(point))
        .filter(|piece| !piece.is_empty())
        .map(<[_]>::to_vec)
        .collect()
}
