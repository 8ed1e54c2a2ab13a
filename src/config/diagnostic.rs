//! Faults of a configuration file, and how they are shown: place, source line, offending text, what is expected.
//!
//! Collects; never decides whether something is a fault.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

/// One refusal.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Bytes of the text that are wrong, or beside which something is missing.
    pub span: Range<usize>,
    /// What is wrong, naming the key and the value.
    pub message: String,
    /// What is expected instead; stands beside the carets.
    pub expected: String,
}

/// The refusals of one reading, in the order found.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    pub fn push(&self, span: Range<usize>, message: impl Into<String>, expected: impl Into<String>) {
        self.0.borrow_mut().push(Fault { span, message: message.into(), expected: expected.into() });
    }

    /// All of them in the order of the file, or nothing if there are none.
    pub fn render(self, path: &Path, text: &str) -> Option<String> {
        let mut faults = self.0.into_inner();
        if faults.is_empty() {
            return None;
        }
        faults.sort_by_key(|fault| fault.span.start);
        let rendered: Vec<String> = faults.iter().map(|fault| render(fault, path, text)).collect();
        Some(rendered.join("\n\n"))
    }
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor_boundary(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn render(fault: &Fault, path: &Path, text: &str) -> String {
    let start = floor_boundary(text, fault.span.start);
    let (line, column) = position(text, start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let source = text[line_start..line_end].trim_end();
    // Tabs stay tabs, so that the carets stand below the text whatever the width of a tab.
    let indent: String =
        text[line_start..start].chars().map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
    let end = floor_boundary(text, fault.span.end).clamp(start, (line_start + source.len()).max(start));
    let carets = "^".repeat(text[start..end].chars().count().max(1));
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(out, "{}:{line}:{column}: {}", path.display(), fault.message);
    let _ = writeln!(out, "{gutter} |");
    let _ = writeln!(out, "{number} | {source}");
    let _ = write!(out, "{gutter} | {indent}{carets} {}", fault.expected);
    out.truncate(out.trim_end().len());
    out
}

/// What `word` may have been meant to be.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR_ENOUGH: f64 = 0.8;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), candidate), candidate))
        .filter(|&(similarity, _)| similarity >= SIMILAR_ENOUGH)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_below_the_offending_text() {
        let text = "a = 1\n\tbé = \"xyz\"\n";
        let offset = text.find("\"xyz\"").expect("is there");
        let faults = Faults::default();
        faults.push(offset..offset + 5, "`bé`: no number", "expected a number");
        assert_eq!(
            faults.render(Path::new("dir/x.toml"), text).expect("one fault"),
            "dir/x.toml:2:7: `bé`: no number\n  |\n2 | \tbé = \"xyz\"\n  | \t     ^^^^^ expected a number"
        );
    }

    #[test]
    fn faults_are_sorted_and_spans_beyond_the_text_are_clipped() {
        let faults = Faults::default();
        faults.push(100..200, "late", "");
        faults.push(0..1, "early", "x");
        assert_eq!(
            faults.render(Path::new("x"), "a\nb").expect("two"),
            "x:1:1: early\n  |\n1 | a\n  | ^ x\n\nx:2:2: late\n  |\n2 | b\n  |  ^"
        );
    }

    #[test]
    fn near_words_are_proposed_and_far_ones_are_not() {
        assert_eq!(did_you_mean("bnd", ["bind", "allow"]), Some("bind"));
        assert_eq!(did_you_mean("databse_server", ["database_server", "dbss"]), Some("database_server"));
        assert_eq!(did_you_mean("colour", ["bind", "allow"]), None);
    }
}
