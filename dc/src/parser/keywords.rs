//! The keywords after a field: which they are, what they mean, and what of them is hashed (spec 3.4).

use super::{Parsed, Parser};
use crate::builder::{HashedKeywords, KeywordList, KeywordsId};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::keywords::Keywords;
use crate::lexer::Token;
use crate::names::{HISTORICAL, Names, Symbol};
use crate::number_hasher::mixed;

impl Parser<'_> {
    /// Keywords up to the `;`.
    pub(super) fn keywords(&mut self, is_struct: bool) -> Parsed<KeywordsId> {
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
        Ok(self.mentioned_list())
    }

    /// The list of the keywords that were mentioned, made at its first use.
    fn mentioned_list(&mut self) -> KeywordsId {
        let lists = &self.builder.keyword_lists;
        let hash = spread(&self.mentioned);
        if let Some(known) = self.keyword_lists.find(hash, |id| lists[id.0 as usize].names == self.mentioned) {
            return *known;
        }
        let list = self.keyword_list(&self.mentioned);
        let id = KeywordsId(lists.len() as u32);
        self.builder.keyword_lists.push(list);
        let lists = &self.builder.keyword_lists;
        self.keyword_lists.insert_unique(hash, id, |id| spread(&lists[id.0 as usize].names));
        id
    }

    /// Where keywords seem to belong and do not.
    pub(super) fn refuse_keyword(&mut self, message: &str, help: &str) -> Parsed<()> {
        match self.token {
            Token::Name(name) if self.is_keyword(name) => {
                Err(self.report(Diagnostic::new(Code::KeywordNotAllowed, self.span, message).help(help)))
            }
            _ => Ok(()),
        }
    }

    fn know_keyword(&mut self, name: Symbol) {
        // Others became known when they were declared.
        let bit = Names::historical_bit(name).unwrap_or(0);
        if bit & !self.builder.known_historical != 0 {
            self.builder.known_historical |= bit;
            self.builder.known_keywords.push(name);
        }
    }

    fn keyword_list(&self, symbols: &[Symbol]) -> KeywordList {
        let mut meaning = Keywords::NONE;
        let mut all_have_bits = true;
        for symbol in symbols {
            let bit = Names::historical_bit(*symbol);
            meaning |= Keywords(bit.unwrap_or(0));
            // Declared again, a historical keyword loses its bit in the hash from here on, not its meaning.
            all_have_bits &= bit.is_some() && !self.builder.declared_keywords.contains(*symbol);
        }
        let hashed = if all_have_bits {
            HashedKeywords::Bits(meaning.0)
        } else {
            let mut sorted = symbols.to_vec();
            sorted.sort_unstable_by_key(|symbol| self.text(*symbol));
            HashedKeywords::Names(sorted)
        };
        KeywordList { meaning, names: symbols.to_vec(), hashed }
    }

    fn undeclared_keyword(&mut self, name: Symbol) {
        let text = self.text(name);
        let declared = self.builder.known_keywords.iter().map(|name| self.text(*name));
        let hint = Self::did_you_mean(text, HISTORICAL.into_iter().chain(declared));
        let hint =
            hint.unwrap_or_else(|| format!("declare it with `keyword {text};`, or remove it: a field has one name"));
        let message = format!("`{text}` is not a declared keyword");
        let diagnostic = Diagnostic::new(Code::UndeclaredKeyword, self.span, message).help(hint);
        self.report(diagnostic);
    }
}

fn spread(list: &[Symbol]) -> u64 {
    list.iter().fold(0, |spread, symbol| mixed(spread ^ u64::from(symbol.0)))
}
