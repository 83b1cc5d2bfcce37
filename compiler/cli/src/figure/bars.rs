//! Times as bars, each of two parts: a panel for each size of the problem, a bar for each program.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Drawn, INK, LEGEND, Layout, Picture};

/// The bars of all panels; the parts of a bar follow each other from left to right.
pub struct Bars {
    pub parts: [&'static str; 2],
    pub unit: &'static str,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// The length of both parts; `None` if it was not measured.
pub struct Bar {
    pub name: String,
    pub parts: Option<[f64; 2]>,
}

const SHADES: [RGBColor; 2] = [RGBColor(70, 70, 70), RGBColor(190, 190, 190)];

impl Picture for Bars {
    fn panels(&self) -> usize {
        self.panels.len()
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let (middle, size) = (layout.px(LEGEND) / 2 + layout.px(3), layout.px(6));
        let text = layout.font(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
        let mut start = layout.px(20);
        for (name, shade) in self.parts.into_iter().zip(SHADES) {
            let corners = [(start, middle - size), (start + 2 * size, middle + size)];
            area.draw(&Rectangle::new(corners, shade.filled()))?;
            let label = format!("{name}, {}", self.unit);
            area.draw(&Text::new(label, (start + 3 * size, middle), text.clone()))?;
            start += layout.px(140);
        }
        Ok(())
    }

    fn draw_panel<B: DrawingBackend>(&self, index: usize, area: &Area<B>, layout: Layout) -> Drawn
    where
        B::ErrorType: 'static,
    {
        let panel = &self.panels[index];
        let (width, height) = area.dim_in_pixel();
        let (top, names, figures) = (layout.px(40), layout.px(130), layout.px(60));
        let row = ((height as i32 - top - layout.px(8)) / panel.bars.len().max(1) as i32)
            .min(layout.px(36));
        let longest = panel.bars.iter().filter_map(Bar::sum).fold(0.0, f64::max).max(1e-12);
        let full = f64::from(width as i32 - names - figures);
        let title = layout.font(15, &INK).pos(Pos::new(HPos::Center, VPos::Center));
        let middle = (width as i32 / 2, layout.px(20));
        area.draw(&Text::new(panel.title.as_str(), middle, title))?;
        for (number, bar) in panel.bars.iter().enumerate() {
            let y = top + row * number as i32 + row / 2;
            let right = layout.font(12, &INK).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(bar.name.as_str(), (names - layout.px(8), y), right))?;
            let mut x = names;
            for (part, shade) in bar.parts.into_iter().flatten().zip(SHADES) {
                let end = x + (full * part / longest) as i32;
                let corners = [(x, y - row / 3), (end, y + row / 3)];
                area.draw(&Rectangle::new(corners, shade.filled()))?;
                x = end;
            }
            let figure = bar.sum().map_or("n.a.".into(), figure);
            let left = layout.font(12, &INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(figure, (x + layout.px(5), y), left))?;
        }
        Ok(())
    }
}

impl Bar {
    fn sum(&self) -> Option<f64> {
        self.parts.map(|parts| parts.iter().sum())
    }
}

/// A number to three digits.
pub fn figure(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
