//! The plot: one panel of bars for each figure worth seeing, in one SVG. The door to plotters.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Color, DrawingArea, IntoDrawingArea, RGBColor, Rectangle, SVGBackend, Text,
        WHITE,
    },
};

/// A panel of bars.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it shows, with the unit.
    pub title: String,
    /// Names and numbers; own ones are drawn in colour.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Beside it.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// Whether it is of Siltstone.
    pub own: bool,
}

const WIDTH: u32 = 900;
const BAR_HEIGHT: u32 = 26;
const TITLE_HEIGHT: u32 = 60;
const OWN: RGBColor = RGBColor(0x1f, 0x6f, 0x8b);
const OTHER: RGBColor = RGBColor(0xb0, 0xb4, 0xb8);

/// Part of the width that is left free for names, beside the longest bar.
const NAMES_SHARE: f64 = 0.9;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the panels below each other; those without bars are left out.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(path: &Path, panels: &[Panel]) -> Result<()> {
    let panels: Vec<&Panel> = panels.iter().filter(|panel| !panel.bars.is_empty()).collect();
    let heights: Vec<u32> = panels.iter().map(|panel| height(panel)).collect();
    let mut text = String::new();
    {
        let size = (WIDTH, heights.iter().sum::<u32>().max(TITLE_HEIGHT));
        let mut rest = SVGBackend::with_string(&mut text, size).into_drawing_area();
        rest.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
        for (panel, height) in panels.into_iter().zip(heights) {
            let (area, below) = rest.split_vertically(height);
            draw_panel(&area, panel).with_context(|| format!("cannot plot '{}'", panel.title))?;
            rest = below;
        }
        rest.present().map_err(|error| anyhow!("{error}"))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn height(panel: &Panel) -> u32 {
    TITLE_HEIGHT + BAR_HEIGHT * u32::try_from(panel.bars.len()).unwrap_or(1)
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Result<()> {
    let most = panel.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let count = u32::try_from(panel.bars.len()).context("so many bars")?;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 16))
        .margin(8)
        .build_cartesian_2d(0.0..most * (1.0 + NAMES_SHARE), f64::from(count)..0.0)
        .map_err(|error| anyhow!("{error}"))?;
    for (place, bar) in (0..count).map(f64::from).zip(&panel.bars) {
        let colour = if bar.own { OWN } else { OTHER };
        let mut shape = Rectangle::new([(0.0, place), (bar.value, place + 1.0)], colour.filled());
        shape.set_margin(3, 3, 0, 0);
        chart.draw_series([shape]).map_err(|error| anyhow!("{error}"))?;
        let label = format!("{:.2}  {}", bar.value, bar.name);
        let at = (bar.value + most * 0.01, place + 0.25);
        let text = Text::new(label, at, ("sans-serif", 13));
        chart.draw_series([text]).map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_drawn_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        let bar = |name: &str, value, own| Bar { name: name.to_owned(), value, own };
        let bars = vec![bar("siltstone", 2.0, true), bar("a peer", 0.0, false)];
        let panel = Panel { title: "GB/s".to_owned(), bars };
        let empty = Panel { title: "left out".to_owned(), bars: Vec::new() };
        draw(&path, &[panel, empty]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["<svg", "GB/s", "2.00  siltstone", "0.00  a peer", "#1F6F8B"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(!text.contains("left out"));
    }
}
