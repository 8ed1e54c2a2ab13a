//! Text into tables, in one pass: meaning depends on order, so each declaration is checked where it stands.
//!
//! Decides: grammar (spec 2), meaning (spec 3), and how to go on after a mistake: at the next `;` or `}`. Never stops at
//! the first mistake, never recurses deeper than [`NESTING_MAX`].

mod class;
mod file;
mod keywords;
mod molecule;
mod parameter;
mod switch;
mod value;

use crate::builder::{Builder, KeywordsId};
use crate::code::Code;
use crate::contract::Options;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::lexer::{Lexer, Token};
use crate::limits::{DEFAULT_WEIGHT_MAX, DIAGNOSTICS_MAX, NESTING_MAX, SOURCE_BYTES_MAX};
use crate::literal::Literal;
use crate::names::{Names, Symbol, Word, nearest};
use crate::simple::{Number, Simple, SimpleType};
use crate::source::{Source, Span};
use crate::types::{Parameter, TypeId};
use hashbrown::HashTable;

/// A mistake was reported; the caller goes on where it can.
pub(crate) struct Stop;

/// Text of a field with what surrounds it, in contracts of games.
const BYTES_PER_FIELD: usize = 64;

type Parsed<T> = Result<T, Stop>;

pub(crate) struct Parser<'a> {
    options: &'a Options,
    lexer: Lexer<'a>,
    builder: Builder,
    diagnostics: Vec<Diagnostic>,
    token: Token,
    span: Span,
    /// End of the token before the current one, for mistakes of the kind "something is missing here".
    last: Span,
    depth: u16,
    /// Bodies of classes and structs around the current token: a method may be a switch key only inside one.
    bodies: u16,
    /// Parameters of the methods around the current token, the innermost last.
    parameters: Vec<Parameter>,
    /// Lists of keywords read so far, by what was mentioned in which order; void when a keyword is declared.
    keyword_lists: HashTable<KeywordsId>,
    /// The keywords of the field that is being read.
    mentioned: Vec<Symbol>,
    /// The decorations of the parameter that is being read, and the ranges of one of them.
    decorated: SimpleType,
    ranges: Vec<(Number, Number)>,
    /// The default that is being packed.
    packed: Vec<u8>,
}

/// Reads all sources in order.
pub(crate) fn parse(sources: &[Source], options: &Options) -> Result<Builder, Diagnostics> {
    let bytes = sources.iter().map(|source| source.text.len()).sum();
    let mut parser = Parser::new(options, Lexer::new(0, b""), bytes);
    for (index, source) in sources.iter().enumerate() {
        if source.text.len() > SOURCE_BYTES_MAX {
            let span = Span { file: index as u32, ..Span::default() };
            let message = format!("a source may have {SOURCE_BYTES_MAX} bytes, not {}", source.text.len());
            parser.diagnostics.push(Diagnostic::new(Code::Limit, span, message));
            continue;
        }
        if parser.diagnostics.len() >= DIAGNOSTICS_MAX {
            break;
        }
        parser.lexer.open(index as u32, &source.text);
        parser.advance();
        parser.file();
    }
    if parser.diagnostics.is_empty() {
        Ok(parser.builder)
    } else {
        parser.diagnostics.truncate(DIAGNOSTICS_MAX);
        Err(Diagnostics::new(parser.diagnostics, sources))
    }
}

/// Reads one value that stands alone.
pub(crate) fn parse_value(source: &Source) -> Result<Literal, Diagnostics> {
    let options = Options::default();
    let mut parser = Parser::new(&options, Lexer::new(0, &source.text), 0);
    if source.text.len() > SOURCE_BYTES_MAX {
        let message = format!("a value may have {SOURCE_BYTES_MAX} bytes of text");
        parser.report(Diagnostic::new(Code::Limit, Span::default(), message));
    } else {
        parser.advance();
        if let Ok(literal) = parser.value() {
            if parser.token != Token::End {
                parser.unexpected("the end of the value");
            }
            if parser.diagnostics.is_empty() {
                return Ok(literal);
            }
        }
    }
    Err(Diagnostics::new(parser.diagnostics, std::slice::from_ref(source)))
}

impl<'a> Parser<'a> {
    /// `bytes` of text are to be read: the tables begin with room for what so many usually declare.
    fn new(options: &'a Options, lexer: Lexer<'a>, bytes: usize) -> Self {
        let declarations = bytes.min(SOURCE_BYTES_MAX) / BYTES_PER_FIELD;
        Parser {
            options,
            lexer,
            builder: Builder::new(declarations),
            diagnostics: Vec::new(),
            token: Token::End,
            span: Span::default(),
            last: Span::default(),
            depth: 0,
            bodies: 0,
            parameters: Vec::new(),
            keyword_lists: HashTable::new(),
            mentioned: Vec::new(),
            decorated: SimpleType::new(Simple::Int8),
            ranges: Vec::new(),
            packed: Vec::new(),
        }
    }
}

impl Parser<'_> {
    fn advance(&mut self) {
        let next = self.lexer.next(&mut self.builder.types.names);
        self.last = self.span;
        (self.token, self.span) = (next.token, next.span);
        if matches!(next.token, Token::Bad | Token::End) {
            self.report_mistake();
        }
    }

    #[cold]
    fn report_mistake(&mut self) {
        if let Some(mistake) = self.lexer.mistake()
            && self.diagnostics.len() < DIAGNOSTICS_MAX
        {
            self.diagnostics.push(mistake);
        }
    }

    #[cold]
    fn report(&mut self, diagnostic: Diagnostic) -> Stop {
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        }
        if self.diagnostics.len() >= DIAGNOSTICS_MAX {
            self.give_up();
        }
        Stop
    }

    /// Lets the text end here: what follows would only be noise.
    fn give_up(&mut self) {
        self.lexer.finish();
        self.token = Token::End;
    }

    #[cold]
    fn error(&mut self, code: Code, span: Span, message: impl Into<String>) -> Stop {
        self.report(Diagnostic::new(code, span, message))
    }

    #[inline]
    fn at(&self, mark: u8) -> bool {
        matches!(self.token, Token::Mark(found) if found == mark)
    }

    #[inline]
    fn accept(&mut self, mark: u8) -> bool {
        let found = self.at(mark);
        if found {
            self.advance();
        }
        found
    }

    #[inline]
    fn expect(&mut self, mark: u8, purpose: &str) -> Parsed<()> {
        if self.accept(mark) { Ok(()) } else { Err(self.missing(mark, purpose)) }
    }

    #[cold]
    fn missing(&mut self, mark: u8, purpose: &str) -> Stop {
        self.unexpected(&format!("`{}` {purpose}", mark as char))
    }

    /// Reports that something else was expected than what stands here.
    #[cold]
    fn unexpected(&mut self, expected: &str) -> Stop {
        if self.token == Token::Bad {
            return Stop;
        }
        let found = self.describe();
        let message = format!("expected {expected}, found {found}");
        let diagnostic = Diagnostic::new(Code::Syntax, self.span, message).label(format!("expected {expected}"));
        self.report(diagnostic)
    }

    fn describe(&self) -> String {
        match self.token {
            Token::End => "the end of the file".to_owned(),
            Token::Name(name) if self.is_keyword(name) => format!("the keyword `{}`", self.text(name)),
            Token::Text => "quoted text".to_owned(),
            Token::Hex => "hex bytes".to_owned(),
            _ => format!("`{}`", String::from_utf8_lossy(self.lexer.slice(self.span))),
        }
    }

    fn text(&self, name: Symbol) -> &str {
        self.builder.types.name(name)
    }

    #[inline]
    fn is_keyword(&self, name: Symbol) -> bool {
        Names::historical_bit(name).is_some() || self.builder.declared_keywords.contains(name)
    }

    /// A name that is no keyword at this moment.
    fn name(&mut self, what: &str) -> Parsed<(Symbol, Span)> {
        match self.token {
            Token::Name(name) if self.is_keyword(name) => {
                let message = format!("the keyword `{}` cannot be {what}", self.text(name));
                let help = if Names::historical_bit(name).is_some() {
                    "the nine historical keywords are never names"
                } else {
                    "a declared keyword is never a name again"
                };
                let diagnostic = Diagnostic::new(Code::KeywordAsName, self.span, message).help(help);
                Err(self.report(diagnostic))
            }
            Token::Name(name) => {
                let span = self.span;
                self.advance();
                Ok((name, span))
            }
            Token::Word(_) | Token::Type(_) => {
                let word = String::from_utf8_lossy(self.lexer.slice(self.span));
                let message = format!("the reserved word `{word}` cannot be {what}");
                Err(self.error(Code::ReservedWord, self.span, message))
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Counts a level of nesting; the caller calls [`Parser::leave`] when done.
    fn enter(&mut self) -> Parsed<()> {
        if self.depth >= NESTING_MAX {
            let message = format!("nested more than {NESTING_MAX} levels deep");
            self.error(Code::Limit, self.span, message);
            return Err(Stop);
        }
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Refuses types beyond our limits.
    fn check_type(&mut self, ty: TypeId, span: Span) -> TypeId {
        let node = self.builder.types.node(ty);
        let (depth, weight) = (node.depth, node.weight);
        if depth > NESTING_MAX {
            let message = format!("this type is nested more than {NESTING_MAX} levels deep");
            self.error(Code::Limit, span, message);
            return TypeId::INVALID;
        }
        if weight > DEFAULT_WEIGHT_MAX {
            let message = format!("the default of this type needs more than {DEFAULT_WEIGHT_MAX} bytes and items");
            let help = "no such value fits a message; allow fewer elements";
            let diagnostic = Diagnostic::new(Code::Limit, span, message).help(help);
            self.report(diagnostic);
            return TypeId::INVALID;
        }
        ty
    }

    /// Skips to where the next field may begin: past a `;`, or before a `}` or a word that no body holds.
    fn recover_in_body(&mut self) {
        let mut open = 0usize;
        loop {
            match self.token {
                Token::End => return,
                Token::Word(word) if starts_declaration(word) && word != Word::Struct && word != Word::Switch => return,
                Token::Mark(b'{') => open += 1,
                Token::Mark(b'}') if open == 0 => return,
                Token::Mark(b'}') => open -= 1,
                Token::Mark(b';') if open == 0 => {
                    self.advance();
                    return;
                }
                _ => {}
            }
            self.advance();
        }
    }

    /// Skips to where the next declaration may begin.
    fn recover_in_file(&mut self) {
        let mut open = 0usize;
        loop {
            match self.token {
                Token::End => return,
                Token::Word(word) if starts_declaration(word) && open == 0 => return,
                Token::Mark(b'{') => open += 1,
                Token::Mark(b'}') if open > 1 => open -= 1,
                Token::Mark(b'}') | Token::Mark(b';') if open <= 1 => {
                    let closes = self.at(b'}') || open == 0;
                    self.advance();
                    if closes {
                        return;
                    }
                    continue;
                }
                _ => {}
            }
            self.advance();
        }
    }

    fn did_you_mean<'b>(wrong: &str, candidates: impl Iterator<Item = &'b str>) -> Option<String> {
        nearest(wrong, candidates).map(|name| format!("did you mean `{name}`?"))
    }
}

fn starts_declaration(word: Word) -> bool {
    !matches!(word, Word::Case | Word::Default | Word::Break)
}
