//! Figures, as SVG or PNG. What differs has a line style or a shade of its own, so that it can be told
//! apart in black and white. The font is part of the program.

pub mod bars;
pub mod curves;
pub mod traces;

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::failure::{Failure, Outcome};

/// Panels in rows and columns below a legend.
pub trait Picture {
    fn panels(&self) -> usize;
    fn draw_legend<B: DrawingBackend>(&self, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static;
    fn draw_panel<B: DrawingBackend>(&self, index: usize, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static;
}

pub type Area<B> = DrawingArea<B, Shift>;
pub type Drawn = Result<(), Box<dyn Error>>;

/// Where a figure goes.
#[derive(Clone)]
pub struct FigureFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    Svg,
    Png,
}

impl FigureFile {
    /// The format follows from the name.
    pub fn parse(path: &str) -> Result<FigureFile, String> {
        let path = PathBuf::from(path);
        let extension = path.extension().and_then(|extension| extension.to_str());
        let format = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Format::Svg,
            Some("png") => Format::Png,
            _ => return Err("expected a name that ends in .svg or .png".into()),
        };
        Ok(FigureFile { path, format })
    }

    pub fn write(&self, picture: &impl Picture) -> Outcome {
        let bytes = match self.format {
            Format::Svg => svg(picture).map(String::into_bytes),
            Format::Png => png(picture),
        };
        let path = &self.path;
        let bytes = bytes.map_err(|error| Failure::Run(format!("{}: {error}", path.display())))?;
        Ok(fgi::write_whole(path, |file| file.write_all(&bytes))?)
    }
}

/// The sizes of a figure in pixels, each a multiple of the scale.
#[derive(Clone, Copy)]
pub struct Layout {
    columns: usize,
    rows: usize,
    scale: u32,
}

const PANEL: (u32, u32) = (400, 280);
/// The strip above the panels that says which line is which.
const LEGEND: u32 = 34;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(20, 20, 20);
const GRADIENT: RGBColor = RGBColor(190, 40, 20);
const GRID: RGBColor = RGBColor(225, 225, 225);
const AXIS: RGBColor = RGBColor(110, 110, 110);
/// How many pixels of the drawing a pixel of the picture is the mean of, in each direction.
const SMOOTHING: u32 = 2;

/// The text of a figure.
pub fn svg(picture: &impl Picture) -> Result<String, Box<dyn Error>> {
    let layout = Layout::new(picture.panels(), 1);
    let mut text = String::new();
    draw(SVGBackend::with_string(&mut text, layout.size()).into_drawing_area(), picture, layout)?;
    Ok(text)
}

/// Twice the size of the SVG's.
fn png(picture: &impl Picture) -> Result<Vec<u8>, Box<dyn Error>> {
    let layout = Layout::new(picture.panels(), 2 * SMOOTHING);
    let (width, height) = layout.size();
    let mut pixels = vec![0; 3 * width as usize * height as usize];
    let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
    draw(backend.into_drawing_area(), picture, layout)?;
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

    /// A length in pixels of the drawing.
    pub fn px(self, length: u32) -> i32 {
        (length * self.scale) as i32
    }

    pub fn font(self, size: u32, colour: &RGBColor) -> TextStyle<'static> {
        (FONT, f64::from(size * self.scale)).into_font().color(colour)
    }

    pub fn line(self, colour: RGBColor, width: u32) -> ShapeStyle {
        colour.stroke_width(width * self.scale)
    }
}

fn draw<B: DrawingBackend>(area: Area<B>, picture: &impl Picture, layout: Layout) -> Drawn
where
    B::ErrorType: 'static,
{
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the font cannot be read")?;
    area.fill(&WHITE)?;
    let (legend, figure) = area.split_vertically(layout.px(LEGEND));
    picture.draw_legend(&legend, layout)?;
    let places = figure.split_evenly((layout.rows, layout.columns));
    for (index, place) in places.iter().enumerate().take(picture.panels()) {
        picture.draw_panel(index, place, layout)?;
    }
    area.present()?;
    Ok(())
}

/// What a legend shows before a name.
#[derive(Clone, Copy)]
pub enum Mark {
    Line,
    Dashed,
    Dot,
}

/// The names of what is drawn, each after its mark, from left to right.
pub fn draw_legend<B: DrawingBackend>(
    area: &Area<B>,
    layout: Layout,
    entries: &[(&str, Mark)],
) -> Drawn
where
    B::ErrorType: 'static,
{
    let (middle, length) = (layout.px(LEGEND) / 2 + layout.px(3), layout.px(36));
    let text = layout.font(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
    let mut start = layout.px(20);
    for (name, mark) in entries {
        let line = vec![(start, middle), (start + length, middle)];
        let (dash, gap) = (layout.px(7), layout.px(4));
        match mark {
            Mark::Line => area.draw(&PathElement::new(line, layout.line(INK, 2)))?,
            Mark::Dashed => {
                let style = layout.line(GRADIENT, 2);
                area.draw(&DashedPathElement::new(line, dash, gap, style))?;
            }
            Mark::Dot => area.draw(&dot((start + length / 2, middle), layout))?,
        }
        area.draw(&Text::new(*name, (start + length + layout.px(8), middle), text.clone()))?;
        start += length + layout.px(16 + 7 * name.len() as u32);
    }
    Ok(())
}

/// The mark of a spike.
pub fn dot<C>(at: C, layout: Layout) -> Circle<C, i32> {
    Circle::new(at, layout.px(3), GRADIENT.filled())
}

pub type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A panel's axes, with its title and the name of what varies.
pub fn chart<'a, B: DrawingBackend>(
    area: &'a Area<B>,
    layout: Layout,
    [title, variable]: [&str; 2],
    x: Range<f64>,
    y: Range<f64>,
) -> Result<Chart<'a, B>, Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let mut chart = ChartBuilder::on(area)
        .caption(title, layout.font(15, &INK))
        .margin(layout.px(8))
        .margin_right(layout.px(16))
        .x_label_area_size(layout.px(34))
        .y_label_area_size(layout.px(46))
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_labels(7)
        .y_labels(6)
        .bold_line_style(layout.line(GRID, 1))
        .light_line_style(TRANSPARENT)
        .axis_style(layout.line(AXIS, 1))
        .label_style(layout.font(12, &INK))
        .axis_desc_style(layout.font(13, &INK))
        .x_desc(variable)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .draw()?;
    Ok(chart)
}

/// A number without the digits that rounding left.
fn short(number: &f64) -> String {
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "−") }
}
