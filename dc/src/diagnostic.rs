//! What is wrong with a DC text, where, and what to do about it.
//!
//! Decides: the plain form of a diagnostic. Never draws source lines: the tool does, with a crate made for it.

use crate::code::Code;
use crate::source::{Source, Span, line_and_column};
use std::fmt;

/// A stretch of source that a diagnostic points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    /// What to say beside it; the first label is the place of the mistake itself.
    pub text: String,
}

/// One mistake in a DC text, or a warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    code: Code,
    message: String,
    labels: Vec<Label>,
    help: Option<String>,
    file: String,
    line: usize,
    column: usize,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            message: message.into(),
            labels: vec![Label { span, text: String::new() }],
            help: None,
            file: String::new(),
            line: 0,
            column: 0,
        }
    }

    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        self.labels[0].text = text.into();
        self
    }

    pub(crate) fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn help_if(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into).or(self.help);
        self
    }

    /// Finds file, line and column of the first label.
    pub(crate) fn locate(&mut self, sources: &[Source]) {
        let span = self.labels[0].span;
        if let Some(source) = sources.get(span.file as usize) {
            (self.line, self.column) = line_and_column(&source.text, span.start as usize);
            self.file = source.name.clone();
        }
    }

    /// The stable code, such as `DC010`.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }

    /// `error` or `warning`.
    pub fn severity(&self) -> &'static str {
        if self.code.is_warning() { "warning" } else { "error" }
    }

    pub fn kind(&self) -> Code {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Never empty; the first is the place of the mistake.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// From 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// From 1, in bytes.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}[{}]: {}",
            self.file,
            self.line,
            self.column,
            self.severity(),
            self.code(),
            self.message
        )?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// All mistakes of one run, in the order of the text; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn new(mut list: Vec<Diagnostic>, sources: &[Source]) -> Self {
        assert!(!list.is_empty(), "a refusal without a reason");
        for diagnostic in &mut list {
            diagnostic.locate(sources);
        }
        Diagnostics(list)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.0
    }

    pub fn first(&self) -> &Diagnostic {
        &self.0[0]
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
