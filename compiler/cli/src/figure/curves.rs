//! Functions of one variable: a panel for each, with the value as a full line and the gradient dashed.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Drawn, INK, LEGEND, Layout, Picture};

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

const GRADIENT: RGBColor = RGBColor(190, 40, 20);
const GRID: RGBColor = RGBColor(225, 225, 225);
const AXIS: RGBColor = RGBColor(110, 110, 110);

impl Picture for Curves {
    fn panels(&self) -> usize {
        self.0.len()
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let (middle, length) = (layout.px(LEGEND) / 2 + layout.px(3), layout.px(36));
        let text = layout.font(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
        let mut start = layout.px(20);
        for (name, is_dashed) in [("value", false), ("gradient received", true)] {
            let line = vec![(start, middle), (start + length, middle)];
            match is_dashed {
                false => area.draw(&PathElement::new(line, layout.line(INK, 2)))?,
                true => area.draw(&DashedPathElement::new(
                    line,
                    layout.px(7),
                    layout.px(4),
                    layout.line(GRADIENT, 2),
                ))?,
            }
            area.draw(&Text::new(name, (start + length + layout.px(8), middle), text.clone()))?;
            start += length + layout.px(70);
        }
        Ok(())
    }

    fn draw_panel<B: DrawingBackend>(&self, index: usize, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let panel = &self.0[index];
        let (low, high) = limits(panel);
        let ends = panel.x.first().copied().zip(panel.x.last().copied());
        let (first, last) = ends.ok_or("there are no points")?;
        let mut chart = ChartBuilder::on(area)
            .caption(&panel.name, layout.font(15, &INK))
            .margin(layout.px(8))
            .margin_right(layout.px(16))
            .x_label_area_size(layout.px(34))
            .y_label_area_size(layout.px(46))
            .build_cartesian_2d(first..last, low..high)?;
        chart
            .configure_mesh()
            .x_labels(7)
            .y_labels(6)
            .bold_line_style(layout.line(GRID, 1))
            .light_line_style(TRANSPARENT)
            .axis_style(layout.line(AXIS, 1))
            .label_style(layout.font(12, &INK))
            .axis_desc_style(layout.font(13, &INK))
            .x_desc(&panel.variable)
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .draw()?;
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

/// A number without the digits that rounding left.
fn short(number: &f64) -> String {
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "−") }
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
