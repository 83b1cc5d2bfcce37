//! Figures of functions: a panel for each, with the value as a full line and the gradient dashed, so
//! that they can be told apart in black and white. The font is part of the program.

use std::error::Error;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

/// A function of one variable at its points.
pub struct Panel {
    pub name: String,
    pub variable: String,
    pub x: Vec<f64>,
    pub value: Vec<f64>,
    pub gradient: Vec<f64>,
}

/// The sizes of a figure in pixels, each a multiple of the scale.
#[derive(Clone, Copy)]
struct Layout {
    columns: usize,
    rows: usize,
    scale: u32,
}

const PANEL: (u32, u32) = (400, 280);
/// The strip above the panels that says which line is which.
const LEGEND: u32 = 34;
const FONT: &str = "sans-serif";
const VALUE: RGBColor = RGBColor(20, 20, 20);
const GRADIENT: RGBColor = RGBColor(190, 40, 20);
const GRID: RGBColor = RGBColor(225, 225, 225);
const AXIS: RGBColor = RGBColor(110, 110, 110);
/// How many pixels of the drawing a pixel of the picture is the mean of, in each direction.
const SMOOTHING: u32 = 2;

pub fn svg(panels: &[Panel]) -> Result<String, Box<dyn Error>> {
    let layout = Layout::new(panels.len(), 1);
    let mut text = String::new();
    draw(SVGBackend::with_string(&mut text, layout.size()).into_drawing_area(), panels, layout)?;
    Ok(text)
}

/// Twice the size of the SVG's.
pub fn png(panels: &[Panel]) -> Result<Vec<u8>, Box<dyn Error>> {
    let layout = Layout::new(panels.len(), 2 * SMOOTHING);
    let (width, height) = layout.size();
    let mut pixels = vec![0; 3 * width as usize * height as usize];
    let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
    draw(backend.into_drawing_area(), panels, layout)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width / SMOOTHING, height / SMOOTHING);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&smooth(&pixels, width as usize))?;
    writer.finish()?;
    Ok(bytes)
}

/// The picture of which each pixel is the mean of a square of pixels.
fn smooth(pixels: &[u8], width: usize) -> Vec<u8> {
    let n = SMOOTHING as usize;
    let mut smooth = Vec::with_capacity(pixels.len() / (n * n));
    for rows in pixels.chunks_exact(3 * width * n) {
        for column in 0..width / n {
            for colour in 0..3 {
                let at = |i: usize| rows[3 * (i / n * width + column * n + i % n) + colour];
                let sum: usize = (0..n * n).map(|i| usize::from(at(i))).sum();
                smooth.push((sum / (n * n)) as u8);
            }
        }
    }
    smooth
}

impl Layout {
    fn new(panels: usize, scale: u32) -> Layout {
        let columns = match panels {
            0..=3 => panels.max(1),
            4 => 2,
            5..=9 => 3,
            _ => 4,
        };
        Layout { columns, rows: panels.div_ceil(columns), scale }
    }

    fn size(self) -> (u32, u32) {
        let (width, height) = (PANEL.0 * self.columns as u32, PANEL.1 * self.rows as u32);
        (self.scale * width, self.scale * (height + LEGEND))
    }

    fn px(self, length: u32) -> i32 {
        (length * self.scale) as i32
    }

    fn font(self, size: u32, colour: &RGBColor) -> TextStyle<'static> {
        (FONT, f64::from(size * self.scale)).into_font().color(colour)
    }

    fn line(self, colour: RGBColor, width: u32) -> ShapeStyle {
        colour.stroke_width(width * self.scale)
    }
}

type Area<B> = DrawingArea<B, Shift>;

fn draw<B: DrawingBackend>(
    area: Area<B>,
    panels: &[Panel],
    layout: Layout,
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the font cannot be read")?;
    area.fill(&WHITE)?;
    let (legend, figure) = area.split_vertically(layout.px(LEGEND));
    draw_legend(&legend, layout)?;
    for (place, panel) in figure.split_evenly((layout.rows, layout.columns)).iter().zip(panels) {
        draw_panel(place, panel, layout)?;
    }
    area.present()?;
    Ok(())
}

fn draw_legend<B: DrawingBackend>(area: &Area<B>, layout: Layout) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let (middle, length) = (layout.px(LEGEND) / 2 + layout.px(3), layout.px(36));
    let text = layout.font(13, &VALUE).pos(Pos::new(HPos::Left, VPos::Center));
    let mut start = layout.px(20);
    for (name, is_dashed) in [("value", false), ("gradient received", true)] {
        let line = vec![(start, middle), (start + length, middle)];
        match is_dashed {
            false => area.draw(&PathElement::new(line, layout.line(VALUE, 2)))?,
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

fn draw_panel<B: DrawingBackend>(
    area: &Area<B>,
    panel: &Panel,
    layout: Layout,
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let (low, high) = limits(panel);
    let ends = panel.x.first().copied().zip(panel.x.last().copied());
    let (first, last) = ends.ok_or("there are no points")?;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.name, layout.font(15, &VALUE))
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
        .label_style(layout.font(12, &VALUE))
        .axis_desc_style(layout.font(13, &VALUE))
        .x_desc(&panel.variable)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .draw()?;
    for piece in pieces(&panel.x, &panel.value, low, high) {
        chart.draw_series(LineSeries::new(piece, layout.line(VALUE, 2)))?;
    }
    for piece in pieces(&panel.x, &panel.gradient, low, high) {
        let (dash, gap) = (layout.px(7), layout.px(4));
        chart.draw_series(DashedLineSeries::new(piece, dash, gap, layout.line(GRADIENT, 2)))?;
    }
    Ok(())
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
