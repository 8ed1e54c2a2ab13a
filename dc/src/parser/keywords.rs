//! The keywords after a field: which they are, what they mean, and what of them is hashed (spec 3.4).

use super::{Parsed, Parser};
use crate::builder::{HashedKeywords, KeywordList};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::keywords::Keywords;
use crate::lexer::Token;
use crate::names::{HISTORICAL, Names, Symbol};
use std::sync::Arc;

impl Parser<'_> {
    /// Keywords up to the `;`.
    pub(super) fn keywords(&mut self, is_struct: bool) -> Parsed<Arc<KeywordList>> {
        self.mentioned.clear();
        while let Token::Name(name) = self.token {
            if !self.is_keyword(name) {
                self.undeclared_keyword(name);
            } else if is_struct {
                let diagnostic =
                    Diagnostic::new(Code::KeywordNotAllowed, self.span, "a member of a struct takes no keywords")
                        .help("keywords belong to the field of the class that uses the struct");
                self.report(diagnostic);
            } else if !self.mentioned.contains(&name) {
                self.mentioned.push(name);
                self.know_keyword(name);
            }
            self.advance();
            if self.at(b',') {
                let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a comma between keywords")
                    .help("keywords are separated by blanks");
                return Err(self.report(diagnostic));
            }
        }
        if let Some(known) = self.keyword_lists.get(&self.mentioned) {
            return Ok(known.clone());
        }
        let list = Arc::new(self.keyword_list(&self.mentioned));
        self.keyword_lists.insert(self.mentioned.clone(), list.clone());
        Ok(list)
    }

    fn know_keyword(&mut self, name: Symbol) {
        // Others became known when they were declared.
        let bit = Names::historical_bit(name).unwrap_or(0);
        if bit & !self.builder.known_historical != 0 {
            self.builder.known_historical |= bit;
            let text = self.names.text(name).clone();
            self.builder.known_keywords.push((name, text));
        }
    }

    fn keyword_list(&self, symbols: &[Symbol]) -> KeywordList {
        let mut meaning = Keywords::NONE;
        let mut all_have_bits = true;
        for symbol in symbols {
            let bit = Names::historical_bit(*symbol);
            meaning |= Keywords(bit.unwrap_or(0));
            // Declared again, a historical keyword loses its bit in the hash from here on, not its meaning.
            all_have_bits &= bit.is_some() && !self.builder.keyword_set.contains(symbol);
        }
        let names: Vec<Arc<str>> = symbols.iter().map(|symbol| self.names.text(*symbol).clone()).collect();
        let hashed = if all_have_bits {
            HashedKeywords::Bits(meaning.0)
        } else {
            let mut sorted = names.clone();
            sorted.sort();
            HashedKeywords::Names(sorted)
        };
        KeywordList { meaning, names, hashed }
    }

    fn undeclared_keyword(&mut self, name: Symbol) {
        let text = self.names.text(name).clone();
        let declared = self.builder.known_keywords.iter().map(|(_, name)| &**name);
        let hint = Self::did_you_mean(&text, HISTORICAL.into_iter().chain(declared));
        let hint =
            hint.unwrap_or_else(|| format!("declare it with `keyword {text};`, or remove it: a field has one name"));
        let message = format!("`{text}` is not a declared keyword");
        let diagnostic = Diagnostic::new(Code::UndeclaredKeyword, self.span, message).help(hint);
        self.report(diagnostic);
    }
}
