//! Declarations at file level: imports, keywords, typedefs, and the way to classes and switches.

use super::{Parsed, Parser, starts_declaration};
use crate::builder::{Import, Thing, Typedef};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::lexer::Token;
use crate::names::{Names, Symbol, Word};
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn file(&mut self) {
        while self.token != Token::End {
            if self.declaration().is_err() {
                self.recover_in_file();
            }
        }
    }

    fn declaration(&mut self) -> Parsed<()> {
        let Token::Word(word) = self.token else {
            if self.accept(b';') {
                return Ok(());
            }
            let stop = self.unexpected("a declaration (dclass, struct, switch, typedef, keyword, import or from)");
            self.advance();
            return Err(stop);
        };
        if !starts_declaration(word) {
            let stop = self.unexpected("a declaration");
            self.advance();
            return Err(stop);
        }
        self.advance();
        match word {
            Word::Dclass => self.file_class(false),
            Word::Struct => self.file_class(true),
            Word::Switch => self.file_switch(),
            Word::Import => self.import(false),
            Word::From => self.import(true),
            Word::Typedef => self.typedef(),
            _ => self.keywords_declaration(),
        }
    }

    fn file_switch(&mut self) -> Parsed<()> {
        let name = match self.token {
            Token::Name(_) | Token::Word(_) | Token::Type(_) => Some(self.name("the name of a switch")?),
            _ => None,
        };
        if let Some((name, span)) = name {
            self.check_free(name, span);
        }
        let ty = self.switch_body(name.map(|(name, _)| name))?;
        if let Some((name, span)) = name {
            self.builder.things.entry(name).or_insert((Thing::Switch(ty), span));
        }
        Ok(())
    }

    /// Reports a file-level name that is taken.
    pub(super) fn check_free(&mut self, name: Symbol, span: Span) {
        if let Some((_, earlier)) = self.builder.things.get(&name) {
            let earlier = *earlier;
            let message = format!("`{}` is declared twice", self.text(name));
            let diagnostic = Diagnostic::new(Code::DuplicateName, span, message)
                .label("declared again here")
                .also(earlier, "first declared here")
                .help("classes, structs and switches share one name space");
            self.report(diagnostic);
        }
    }

    fn import(&mut self, from: bool) -> Parsed<()> {
        let mut module = self.import_symbol()?;
        while self.accept(b'.') {
            module.push('.');
            module.push_str(&self.import_symbol()?);
        }
        let mut symbols = Vec::new();
        if from {
            if self.token != Token::Word(Word::Import) {
                return Err(self.unexpected("`import`"));
            }
            self.advance();
            if self.accept(b'*') {
                symbols.push("*".to_owned());
            } else {
                symbols.push(self.import_symbol()?);
                while self.accept(b',') {
                    symbols.push(self.import_symbol()?);
                }
            }
        }
        self.builder.imports.push(Import { module, symbols });
        Ok(())
    }

    fn import_symbol(&mut self) -> Parsed<String> {
        let (name, _) = self.name("an imported name")?;
        let mut text = self.text(name).to_string();
        while self.accept(b'/') {
            let (suffix, _) = self.name("a suffix such as AI")?;
            text.push('/');
            text.push_str(self.text(suffix));
        }
        Ok(text)
    }

    fn keywords_declaration(&mut self) -> Parsed<()> {
        loop {
            match self.token {
                Token::Name(name) => {
                    let bit = Names::historical_bit(name).unwrap_or(0);
                    let is_new = self.builder.declared_keywords.insert(name);
                    if is_new {
                        self.keyword_lists.clear();
                    }
                    if is_new && bit & self.builder.known_historical == 0 {
                        self.builder.known_keywords.push(name);
                        self.builder.known_historical |= bit;
                    }
                    self.advance();
                }
                Token::Type(_) => {
                    self.name("a keyword")?;
                }
                Token::Mark(b',') => {
                    let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a comma between keywords")
                        .help("keywords are separated by blanks");
                    return Err(self.report(diagnostic));
                }
                _ => return Ok(()),
            }
        }
    }

    fn typedef(&mut self) -> Parsed<()> {
        let parsed = self.parameter("a type")?;
        let default = self.default_value(parsed.ty, parsed.name)?;
        let ty = match default {
            Some(packed) => self.builder.types.with_default(parsed.ty, packed),
            None => parsed.ty,
        };
        let name = parsed.name;
        if name.is_empty() {
            if let Some(earlier) = self.builder.unnamed_typedef.replace(parsed.span) {
                let diagnostic =
                    Diagnostic::new(Code::DuplicateTypedef, parsed.span, "a second typedef without a name")
                        .also(earlier, "the first is here")
                        .help("name it after its type, or leave it out");
                self.report(diagnostic);
            }
            self.builder.typedef_names.push(name);
            return Ok(());
        }
        if let Some(earlier) = self.builder.typedefs.get(&name) {
            let text = self.text(name);
            let (message, note) = if earlier.implicit {
                (
                    format!("`{text}` was already used as a type"),
                    "first used here, as the class, struct or switch of that name",
                )
            } else {
                (format!("the typedef `{text}` is declared twice"), "first declared here")
            };
            let diagnostic =
                Diagnostic::new(Code::DuplicateTypedef, parsed.name_span, message).also(earlier.span, note);
            self.report(diagnostic);
            return Ok(());
        }
        let entry = Typedef { ty, span: parsed.name_span, implicit: false };
        self.builder.typedefs.insert(name, entry);
        self.builder.typedef_names.push(name);
        Ok(())
    }
}
