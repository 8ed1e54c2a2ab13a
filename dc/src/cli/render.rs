//! Diagnostics with source lines and carets, drawn by miette.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Source;
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource, SourceCode, SourceSpan, SpanContents,
};
use std::fmt;
use std::io::IsTerminal;

/// Characters of a source line that are drawn whole; longer lines (a file in one line) are shown cut.
const LINE_BYTES_MAX: usize = 400;

pub(super) fn render(errors: &Diagnostics, sources: &[Source]) -> String {
    let terminal = std::io::stderr().is_terminal();
    let theme = match (terminal, std::env::var_os("NO_COLOR").is_some()) {
        (true, false) => GraphicalTheme::unicode(),
        (true, true) => GraphicalTheme::unicode_nocolor(),
        (false, _) => GraphicalTheme::none(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_context_lines(1);
    let mut text = String::new();
    for error in errors {
        let drawn = sources
            .get(error.labels()[0].span.file as usize)
            .filter(|source| can_draw(source, error))
            .and_then(|source| {
                let mut drawn = String::new();
                let report = Report { error, sources, source: NamedSource::new(error.file(), drawable(&source.text)) };
                handler.render_report(&mut drawn, &report).ok().map(|()| drawn)
            });
        text.push_str(&drawn.unwrap_or_else(|| format!("{error}\n")));
    }
    text
}

/// A line of a megabyte says less than its place.
fn can_draw(source: &Source, error: &Diagnostic) -> bool {
    let start = (error.labels()[0].span.start as usize).min(source.text.len());
    let newline = |byte: &u8| *byte == b'\n';
    let before = source.text[..start].iter().rev().position(newline).unwrap_or(start);
    let after = source.text[start..].iter().position(newline).unwrap_or(source.text.len() - start);
    before + after <= LINE_BYTES_MAX
}

/// Text that can be drawn, of the same length, so that offsets stay right.
fn drawable(text: &[u8]) -> String {
    match std::str::from_utf8(text) {
        Ok(text) => text.to_owned(),
        Err(_) => text.iter().map(|byte| if byte.is_ascii() { *byte as char } else { '?' }).collect(),
    }
}

struct Report<'a> {
    error: &'a Diagnostic,
    sources: &'a [Source],
    source: NamedSource<String>,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error.message())
    }
}

impl std::error::Error for Report<'_> {}

impl SourceCode for Report<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        self.source.read_span(span, before, after)
    }
}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.error.code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let file = self.error.labels()[0].span.file;
        let mut lines: Vec<String> = self.error.help_text().map(str::to_owned).into_iter().collect();
        // What lies in another file cannot be drawn beside this one.
        for label in self.error.labels().iter().filter(|label| label.span.file != file) {
            if let Some(source) = self.sources.get(label.span.file as usize) {
                let (line, column) = crate::source::line_and_column(&source.text, label.span.start as usize);
                lines.push(format!("{}:{line}:{column}: {}", source.name, label.text));
            }
        }
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let file = self.error.labels()[0].span.file;
        let labels = self.error.labels().iter().filter(move |label| label.span.file == file);
        Some(Box::new(labels.map(|label| {
            let (start, end) = (label.span.start as usize, label.span.end as usize);
            let text = Some(label.text.clone()).filter(|text| !text.is_empty());
            LabeledSpan::new(text, start, end.saturating_sub(start).max(1))
        })))
    }
}
