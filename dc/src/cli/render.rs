//! Diagnostics with source lines and carets, drawn by annotate-snippets, which draws those of rustc.

use crate::diagnostic::{Diagnostic, Label};
use crate::source::Source;
use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use std::borrow::Cow;
use std::io::IsTerminal;

/// Bytes of a source line that are drawn; of a longer one (a file in one line) the place says more.
const LINE_BYTES_MAX: usize = 400;

/// In colour on a terminal, unless `NO_COLOR` is set.
pub(super) fn render(diagnostics: &[Diagnostic], sources: &[Source]) -> String {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let texts: Vec<Cow<str>> = sources.iter().map(|source| drawable(&source.text)).collect();
    let drawn: Vec<String> =
        diagnostics.iter().map(|diagnostic| draw(diagnostic, sources, &texts, &renderer)).collect();
    drawn.join("\n\n")
}

fn draw(error: &Diagnostic, sources: &[Source], texts: &[Cow<str>], renderer: &Renderer) -> String {
    let primary = &error.labels()[0];
    let readable = |label: &&Label| sources.get(label.span.file as usize).is_some_and(|source| can_draw(source, label));
    if !readable(&primary) {
        return error.to_string();
    }
    let level = if error.kind().is_warning() { Level::WARNING } else { Level::ERROR };
    let mut group =
        level.primary_title(error.message()).id(error.code()).elements(std::iter::empty::<Snippet<Annotation>>());
    let mut files: Vec<u32> = error.labels().iter().filter(readable).map(|label| label.span.file).collect();
    files.dedup();
    for file in files {
        let labels = error.labels().iter().filter(readable).filter(|label| label.span.file == file);
        let annotations = labels.map(|label| {
            let kind = if std::ptr::eq(label, primary) { AnnotationKind::Primary } else { AnnotationKind::Context };
            let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
            kind.span(label.span.start as usize..label.span.end as usize).label(text)
        });
        let snippet = Snippet::source(&*texts[file as usize]).path(sources[file as usize].name.as_str());
        group = group.element(snippet.annotations(annotations));
    }
    if let Some(help) = error.help_text() {
        group = group.element(Level::HELP.message(help));
    }
    renderer.render(&[group])
}

fn can_draw(source: &Source, label: &Label) -> bool {
    let start = (label.span.start as usize).min(source.text.len());
    let newline = |byte: &u8| *byte == b'\n';
    let before = source.text[..start].iter().rev().position(newline).unwrap_or(start);
    let after = source.text[start..].iter().position(newline).unwrap_or(source.text.len() - start);
    before + after <= LINE_BYTES_MAX
}

/// Text that can be drawn, of the same length, so that offsets stay right.
fn drawable(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => text.iter().map(|byte| if byte.is_ascii() { *byte as char } else { '?' }).collect::<String>().into(),
    }
}
