//! Line charts as SVG.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::FontFamily;

/// A chart whose axes both are logarithmic.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) across: &'static str,
    pub(crate) up: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// One line of a chart; no point is 0.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(u64, u64)>,
}

/// Pixels.
const SIZE: (u32, u32) = (720, 420);

/// How many times the highest value the chart reaches, so that the names of the lines hide none of them.
const ROOM_FOR_NAMES: u64 = 10;

const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x7f, 0x7f, 0x7f),
];

impl Plot {
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn draw(&self, path: &Path) -> anyhow::Result<()> {
        // The library's errors borrow the file's name.
        self.try_draw(path).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
    }

    fn try_draw(&self, path: &Path) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (across, up) = (span(points().map(|point| point.0)), span(points().map(|point| point.1)));
        let up = up.start..up.end * ROOM_FOR_NAMES;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, (FontFamily::SansSerif, 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(across.log_scale(), up.log_scale())?;
        chart.configure_mesh().x_desc(self.across).y_desc(self.up).light_line_style(TRANSPARENT).draw()?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(
                    LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)).point_size(3),
                )?
                .label(line.name.as_str())
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()
    }
}

/// From the least to somewhat above the greatest.
fn span(values: impl Iterator<Item = u64> + Clone) -> std::ops::Range<u64> {
    let (least, most) = (values.clone().min().unwrap_or(1).max(1), values.max().unwrap_or(1));
    least..most.max(least + 1) * 5 / 4 + 1
}

#[cfg(test)]
mod tests {
    use super::{Line, Plot};

    #[test]
    fn a_plot_shows_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        let line = |name: &str, factor| Line {
            name: name.to_owned(),
            points: [1, 10, 100].map(|across| (across, across * factor)).to_vec(),
        };
        let lines = vec![line("one", 1), line("two", 2)];
        Plot { title: "Title", across: "callers", up: "calls/s", lines }.draw(&path).unwrap();
        let drawn = std::fs::read_to_string(&path).unwrap();
        for text in ["Title", "callers", "calls/s", "one", "two"] {
            assert!(drawn.contains(text), "{text}");
        }
    }
}
