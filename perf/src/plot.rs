//! Figures as pictures: charts with axes, units and a legend, below each other in one SVG file.
//!
//! Draws what it is given; where the points come from is the caller's.

use crate::failure::Failure;
use hdrhistogram::Histogram;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::path::Path;

const WIDTH: u32 = 960;
/// Of one chart.
const HEIGHT: u32 = 380;
/// Above all charts; as many characters of a title fit in one line of it.
const TITLE_HEIGHT: u32 = 30;
const TITLE_CHARACTERS: usize = 110;
const FONT: &str = "sans-serif";
/// Told apart by those who see colours differently, too (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

/// How the values of an axis are laid out and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Equal distances, from zero.
    Linear,
    /// A decade takes the same place everywhere.
    Logarithmic,
    /// Quantiles, as `1 / (1 - quantile)` on a logarithmic scale: 90 %, 99 % and 99.9 % are equally far apart.
    Quantiles,
}

/// What an axis shows, with its unit.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub label: String,
    pub scale: Scale,
}

impl Axis {
    pub(crate) fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale }
    }

    fn name(&self, value: f64) -> String {
        match self.scale {
            Scale::Linear | Scale::Logarithmic => readable(value),
            Scale::Quantiles => format!("{} %", readable(100.0 * (1.0 - 1.0 / value))),
        }
    }
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Joined by a line, or each by itself.
    pub is_line: bool,
}

/// One picture.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub caption: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

impl Chart {
    /// The distribution of latencies in nanoseconds, up to the quantile that still stands for some values.
    pub(crate) fn of_latencies(caption: &str, curves: &[(String, &Histogram<u64>)]) -> Self {
        let series = curves.iter().filter(|(_, histogram)| !histogram.is_empty()).map(|(name, histogram)| {
            let last = (histogram.len() as f64).max(2.0);
            let steps = (last.log10() * 16.0).ceil().max(1.0);
            let points = (0..=steps as u32).map(|step| {
                let beyond = last.powf(f64::from(step) / steps);
                (beyond, histogram.value_at_quantile(1.0 - 1.0 / beyond).max(1) as f64 / 1e6)
            });
            Series { name: name.clone(), points: points.collect(), is_line: true }
        });
        Self {
            caption: caption.to_owned(),
            x: Axis::new("share of the values that are not above", Scale::Quantiles),
            y: Axis::new("latency, ms", Scale::Logarithmic),
            series: series.collect(),
        }
    }

    fn values(&self, of: impl Fn(&(f64, f64)) -> f64) -> impl Iterator<Item = f64> {
        self.series.iter().flat_map(|series| &series.points).map(of).filter(|value| value.is_finite())
    }

    /// From where to where an axis goes.
    fn range(axis: &Axis, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let shown = values.filter(|&value| axis.scale == Scale::Linear || value > 0.0);
        let (least, most) = shown.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        match axis.scale {
            _ if least > most => (0.1, 1.0),
            // A little room above the highest point.
            Scale::Linear => (least.min(0.0), if most > 0.0 { most * 1.05 } else { 1.0 }),
            Scale::Logarithmic => (10_f64.powf(least.log10().floor()), 10_f64.powf((most * 1.05).log10().ceil())),
            Scale::Quantiles => (1.0, most.max(10.0) * 1.1),
        }
    }
}

/// Three significant digits, thousands apart.
pub(crate) fn readable(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let digits_before = value.abs().log10().floor() as i32 + 1;
    let decimals = (3 - digits_before).clamp(0, 9) as usize;
    if decimals == 0 {
        return grouped(value);
    }
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number, thousands apart.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value <= -0.5 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes charts below each other into a file, below a title.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, title: &str, charts: &[Chart]) -> Result<(), Failure> {
    let svg = draw(title, charts).map_err(|error| Failure::new(format!("a plot cannot be drawn: {error}")))?;
    std::fs::write(path, svg).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// The text of the file.
fn draw(title: &str, charts: &[Chart]) -> Drawn<String> {
    let mut svg = String::new();
    let lines = title_lines(title);
    let head = TITLE_HEIGHT * lines.len() as u32;
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, head + HEIGHT * charts.len() as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let (above, below) = root.split_vertically(head);
        for (number, line) in lines.iter().enumerate() {
            let style = (FONT, 16).into_font().color(&BLACK);
            above.draw_text(line, &style, (12, 8 + (TITLE_HEIGHT as usize * number) as i32))?;
        }
        for (area, chart) in below.split_evenly((charts.len().max(1), 1)).iter().zip(charts) {
            let x = Chart::range(&chart.x, chart.values(|point| point.0));
            let y = Chart::range(&chart.y, chart.values(|point| point.1));
            let (linear_x, linear_y) = (chart.x.scale == Scale::Linear, chart.y.scale == Scale::Linear);
            match (linear_x, linear_y) {
                (true, true) => body(area, chart, x.0..x.1, y.0..y.1)?,
                (true, false) => body(area, chart, x.0..x.1, (y.0..y.1).log_scale())?,
                (false, true) => body(area, chart, (x.0..x.1).log_scale(), y.0..y.1)?,
                (false, false) => body(area, chart, (x.0..x.1).log_scale(), (y.0..y.1).log_scale())?,
            }
        }
        root.present()?;
    }
    Ok(svg)
}

/// A title broken at spaces.
fn title_lines(title: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in title.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > TITLE_CHARACTERS {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn body<X, Y>(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, chart: &Chart, x: X, y: Y) -> Drawn<()>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut builder = ChartBuilder::on(area);
    builder.caption(&chart.caption, (FONT, 15)).margin(10).x_label_area_size(46).y_label_area_size(78);
    let mut context = builder.build_cartesian_2d(x, y)?;
    context
        .configure_mesh()
        .x_desc(&chart.x.label)
        .y_desc(&chart.y.label)
        .x_label_formatter(&|value| chart.x.name(*value))
        .y_label_formatter(&|value| chart.y.name(*value))
        .label_style((FONT, 13))
        .light_line_style(WHITE.mix(0.0))
        .draw()?;
    for (number, series) in chart.series.iter().enumerate() {
        let color = COLORS[number % COLORS.len()].to_rgba();
        // What a logarithm cannot show is left out.
        let is_shown = |&(x, y): &(f64, f64)| {
            [(&chart.x, x), (&chart.y, y)].iter().all(|(axis, v)| axis.scale == Scale::Linear || *v > 0.0)
        };
        let points = series.points.iter().copied().filter(is_shown);
        let annotation = if series.is_line {
            context.draw_series(LineSeries::new(points, color.stroke_width(2)))?
        } else {
            context.draw_series(points.map(|point| Circle::new(point, 4, color.filled())))?
        };
        annotation
            .label(&series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    if chart.series.len() > 1 {
        let mut labels = context.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
        labels.label_font((FONT, 13)).draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::latencies;

    #[test]
    fn numbers_are_readable() {
        let shown = [0.0, 0.001_234, 0.5, 67.24, 1000.0, 12_345_678.4, -1234.0].map(readable);
        assert_eq!(shown, ["0", "0.00123", "0.5", "67.2", "1,000", "12,345,678", "-1,234"]);
        assert_eq!(Axis::new("", Scale::Quantiles).name(1000.0), "99.9 %");
    }

    #[test]
    fn long_titles_are_broken_between_words() {
        let title = ["--option 1000"; 30].join(" ");
        let lines = title_lines(&title);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= TITLE_CHARACTERS), "{lines:?}");
        assert_eq!(lines.join(" "), title);
    }

    /// A file says what its axes are, in which unit, and holds a point for every decade.
    #[test]
    fn a_plot_of_latencies_has_title_axes_units_and_legend() {
        let (mut fast, mut slow) = (latencies(), latencies());
        (1..=10_000).for_each(|number| fast.saturating_record(number * 100));
        (1..=10_000).for_each(|number| slow.saturating_record(number * 10_000));
        let curves = [("updates".to_owned(), &fast), ("moves & more".to_owned(), &slow)];
        let chart = Chart::of_latencies("Latency", &curves);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        write(&path, "donet-perf players --clients 10 <x>", &[chart.clone(), chart]).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        let wanted = [
            "--clients 10 &lt;x&gt;",
            "latency, ms",
            "share of the values",
            "99.9 %",
            "updates",
            "moves &amp; more",
            "polyline",
        ];
        for text in wanted {
            assert!(svg.contains(text), "no {text} in\n{svg}");
        }
        assert!(write(Path::new("/nowhere/at/all.svg"), "", &[]).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn charts_without_points_are_drawn_all_the_same() {
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Quantiles] {
            let empty = Chart {
                caption: "nothing".to_owned(),
                x: Axis::new("x", scale),
                y: Axis::new("y", scale),
                series: vec![Series { name: "none".to_owned(), points: Vec::new(), is_line: true }],
            };
            assert!(draw("title", &[empty]).unwrap().contains("nothing"));
        }
    }
}
