//! Classes and structs: bases, bodies, fields, molecules, keywords.

use super::parameter::ReadParameter;
use super::{Parsed, Parser};
use crate::builder::{ClassEntry, FieldEntry, FieldKind, HashedKeywords, Thing};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::keywords::Keywords;
use crate::lexer::Token;
use crate::limits::{INHERITED_FIELDS_MAX, NUMBERS_MAX};
use crate::names::{HISTORICAL, Names, Symbol, Word};
use crate::source::Span;
use crate::types::{Parameter, RecordType, Shape, TypeId};
use hashbrown::HashMap;
use std::sync::Arc;

/// A field as it was read, before it has a number.
struct NewField {
    name: Option<(Symbol, Span)>,
    kind: FieldKind,
    ty: TypeId,
    default: Option<Arc<[u8]>>,
    keywords: ReadKeywords,
    parts: Vec<u32>,
    span: Span,
}

struct ReadKeywords {
    meaning: Keywords,
    names: Vec<Arc<str>>,
    hashed: HashedKeywords,
}

impl ReadKeywords {
    fn none() -> Self {
        ReadKeywords { meaning: Keywords::NONE, names: Vec::new(), hashed: HashedKeywords::Bits(0) }
    }
}

impl Parser<'_> {
    pub(super) fn file_class(&mut self, is_struct: bool) -> Parsed<()> {
        let what = if is_struct { "the name of a struct" } else { "the name of a class" };
        let name = self.class_name(what)?;
        if let Some((name, span)) = name {
            self.check_free(name, span);
        }
        let class = self.class_body(name, is_struct)?;
        if self.builder.class_list.len() >= NUMBERS_MAX {
            let message = format!("a contract may have {NUMBERS_MAX} classes and structs: their numbers have 16 bits");
            return Err(self.error(Code::Limit, self.last, message));
        }
        if !is_struct {
            self.builder.classes[class as usize].number = Some(self.builder.class_list.len() as u16);
        }
        self.builder.class_list.push(class);
        if let Some((name, span)) = name {
            self.builder.things.entry(name).or_insert((Thing::Class(class), span));
        }
        Ok(())
    }

    pub(super) fn struct_in_place(&mut self) -> Parsed<TypeId> {
        let name = self.class_name("the name of a struct")?;
        let span = self.last;
        self.enter()?;
        let class = self.class_body(name, true);
        self.leave();
        let ty = self.builder.class_type(class?);
        Ok(self.check_type(ty, span))
    }

    fn class_name(&mut self, what: &str) -> Parsed<Option<(Symbol, Span)>> {
        if self.at(b'{') || self.at(b':') {
            return Ok(None);
        }
        self.name(what).map(Some)
    }

    /// From the colon or brace after the name to the closing brace.
    fn class_body(&mut self, name: Option<(Symbol, Span)>, is_struct: bool) -> Parsed<u32> {
        let mut bases = Vec::new();
        if self.accept(b':') {
            loop {
                self.base(name, is_struct, &mut bases)?;
                if !self.accept(b',') {
                    break;
                }
            }
        }
        let opening = self.span;
        self.expect(b'{', "to open the body")?;
        let class = self.builder.classes.len() as u32;
        let text = name.map_or(self.builder.empty_name.clone(), |(name, _)| self.names.text(name).clone());
        self.builder.classes.push(ClassEntry {
            symbol: name.map(|(name, _)| name),
            name: text,
            is_struct,
            bases,
            own: Vec::new(),
            own_by_name: HashMap::new(),
            constructor: None,
            inherited: Vec::new(),
            number: None,
            ty: None,
            span: name.map_or(opening, |(_, span)| span),
        });
        self.bodies += 1;
        let closed = self.fields(class, is_struct, opening);
        self.bodies -= 1;
        closed?;
        self.builder.close_class(class, self.options);
        if self.builder.inherited_total > INHERITED_FIELDS_MAX {
            let message = format!("all classes together may inherit {INHERITED_FIELDS_MAX} fields");
            let stop = self.error(Code::Limit, opening, message);
            self.give_up();
            return Err(stop);
        }
        Ok(class)
    }

    fn base(&mut self, name: Option<(Symbol, Span)>, is_struct: bool, bases: &mut Vec<u32>) -> Parsed<()> {
        let (base, span) = self.name("the name of a base")?;
        let text = self.names.text(base).clone();
        let found = match self.builder.things.get(&base) {
            Some((Thing::Class(class), _)) => *class,
            other => {
                let kind = if is_struct { "struct" } else { "class" };
                let message = match other {
                    Some(_) => format!("the switch `{text}` cannot be a base"),
                    None => format!("the base {kind} `{text}` is not declared"),
                };
                let hint = if name.is_some_and(|(name, _)| name == base) {
                    Some(format!("a {kind} cannot derive from itself"))
                } else {
                    let candidates = self.builder.class_list.iter().map(|class| &self.builder.classes[*class as usize]);
                    let candidates = candidates.filter(|class| class.is_struct == is_struct).map(|class| &*class.name);
                    Self::did_you_mean(&text, candidates)
                };
                let hint =
                    hint.unwrap_or_else(|| "declare it above this line, in an earlier file if need be".to_owned());
                let diagnostic =
                    Diagnostic::new(Code::UnknownBase, span, message).label("not declared before this line").help(hint);
                self.report(diagnostic);
                return Ok(());
            }
        };
        let entry = &self.builder.classes[found as usize];
        if entry.is_struct != is_struct {
            let (kind, other) = if is_struct { ("struct", "class") } else { ("class", "struct") };
            let message = format!("a {kind} cannot derive from the {other} `{text}`");
            let diagnostic = Diagnostic::new(Code::WrongBase, span, message).also(entry.span, "declared here");
            self.report(diagnostic);
            return Ok(());
        }
        if !self.options.multiple_inheritance && !is_struct && !bases.is_empty() {
            let diagnostic =
                Diagnostic::new(Code::SeveralBases, span, "a second base, and multiple inheritance is off")
                    .help("switch multiple inheritance on, as Panda3D does, or keep one base");
            self.report(diagnostic);
            return Ok(());
        }
        bases.push(found);
        Ok(())
    }

    fn fields(&mut self, class: u32, is_struct: bool, opening: Span) -> Parsed<()> {
        loop {
            match self.token {
                Token::Mark(b';') => self.advance(),
                Token::Mark(b'}') => {
                    self.advance();
                    return Ok(());
                }
                Token::End => {
                    let diagnostic =
                        Diagnostic::new(Code::Syntax, opening, "this body is never closed").help("end it with `}`");
                    return Err(self.report(diagnostic));
                }
                Token::Word(Word::Dclass | Word::Typedef | Word::Keyword | Word::Import | Word::From) => {
                    let word = self.describe();
                    let message = format!("{word} cannot stand inside a class or struct");
                    let diagnostic = Diagnostic::new(Code::Syntax, self.span, message)
                        .also(opening, "this body is still open")
                        .help("is a `}` missing?");
                    return Err(self.report(diagnostic));
                }
                _ => {
                    if self.field(class, is_struct).is_err() {
                        self.recover_in_body();
                    }
                }
            }
        }
    }

    fn field(&mut self, class: u32, is_struct: bool) -> Parsed<()> {
        let start = self.span;
        let read = if let Token::Name(_) = self.token {
            let (name, span) = self.name("a field")?;
            if self.at(b'(') {
                return self.method(class, is_struct, name, span);
            }
            if self.at(b':') {
                return self.molecule(class, name, span);
            }
            if self.at(b';') {
                let text = self.names.text(name).clone();
                let message = format!("`{text}` alone is no field");
                let diagnostic = Diagnostic::new(Code::UnnamedField, span, message)
                    .help("a method has parentheses, a data field a type and a name");
                // Of a struct it may be a member without a name.
                if !is_struct {
                    return Err(self.report(diagnostic));
                }
            }
            let ty = self.named_type(name, span);
            self.rest_of_parameter(ty, start)?
        } else {
            self.parameter("a field")?
        };
        self.data_field(class, is_struct, read)
    }

    fn data_field(&mut self, class: u32, is_struct: bool, read: ReadParameter) -> Parsed<()> {
        if self.at(b'(') && read.name.is_some() {
            let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a method has no return type")
                .help("remove the type before its name");
            return Err(self.report(diagnostic));
        }
        let default = self.default_value(read.ty, read.name)?;
        let keywords = self.keywords(is_struct)?;
        self.expect(b';', "after the field")?;
        if read.name.is_none() && !is_struct {
            let diagnostic = Diagnostic::new(Code::UnnamedField, read.span, "a data field of a class needs a name")
                .help("only members of structs and switches may lack one");
            self.report(diagnostic);
            return Ok(());
        }
        self.add_field(
            class,
            NewField {
                name: read.name.map(|name| (name, read.name_span)),
                kind: FieldKind::Data,
                ty: read.ty,
                default,
                keywords,
                parts: Vec::new(),
                span: read.span,
            },
        );
        Ok(())
    }

    fn method(&mut self, class: u32, is_struct: bool, name: Symbol, span: Span) -> Parsed<()> {
        let ty = self.method_parameters(span)?;
        if self.at(b'=') {
            let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a method has no default of its own")
                .help("give each of its parameters one");
            return Err(self.report(diagnostic));
        }
        let keywords = self.keywords(is_struct)?;
        self.expect(b';', "after the method")?;
        self.add_field(
            class,
            NewField {
                name: Some((name, span)),
                kind: FieldKind::Atomic,
                ty,
                default: None,
                keywords,
                parts: Vec::new(),
                span,
            },
        );
        Ok(())
    }

    /// The parameters of a method with their parentheses, as one type.
    pub(super) fn method_parameters(&mut self, span: Span) -> Parsed<TypeId> {
        self.expect(b'(', "before the parameters")?;
        let mut members = Vec::new();
        if !self.at(b')') {
            loop {
                self.enter()?;
                let member = self.method_parameter();
                self.leave();
                members.push(member?);
                if !self.accept(b',') {
                    break;
                }
            }
        }
        if let Token::Name(name) = self.token
            && self.is_keyword(name)
        {
            let diagnostic = Diagnostic::new(Code::KeywordNotAllowed, self.span, "a parameter takes no keywords")
                .help("keywords stand after the closing parenthesis");
            return Err(self.report(diagnostic));
        }
        self.expect(b')', "after the parameters")?;
        let record = RecordType { class: None, name: None, members: members.into() };
        let ty = self.builder.types.add(Shape::Record(record));
        Ok(self.check_type(ty, span))
    }

    fn method_parameter(&mut self) -> Parsed<Parameter> {
        let read = self.parameter("the type of a parameter")?;
        let default = self.default_value(read.ty, read.name)?;
        let name = read.name.map_or(self.builder.empty_name.clone(), |name| self.names.text(name).clone());
        Ok(Parameter { name, ty: read.ty, default })
    }

    fn molecule(&mut self, class: u32, name: Symbol, span: Span) -> Parsed<()> {
        self.advance();
        let mut parts: Vec<(u32, Span)> = Vec::new();
        loop {
            let (part, part_span) = self.name("a part of the molecule")?;
            if let Some(field) = self.part(class, part, part_span) {
                parts.push((field, part_span));
            }
            if !self.accept(b',') {
                break;
            }
        }
        if let Token::Name(name) = self.token
            && self.is_keyword(name)
        {
            let diagnostic = Diagnostic::new(Code::KeywordNotAllowed, self.span, "a molecule takes no keywords")
                .help("it has those of its parts");
            return Err(self.report(diagnostic));
        }
        self.expect(b';', "after the molecule")?;
        self.check_part_keywords(&parts);
        let Some((first, _)) = parts.first() else { return Ok(()) };
        let first = &self.builder.fields[*first as usize];
        let keywords = ReadKeywords {
            meaning: first.keywords,
            names: first.keyword_names.clone(),
            hashed: first.hashed_keywords.clone(),
        };
        let mut members = Vec::new();
        for (part, _) in &parts {
            if let Shape::Record(record) = self.builder.types.shape(self.builder.fields[*part as usize].ty) {
                members.extend(record.members.iter().cloned());
            }
        }
        let record = RecordType { class: None, name: None, members: members.into() };
        let ty = self.builder.types.add(Shape::Record(record));
        let ty = self.check_type(ty, span);
        self.add_field(
            class,
            NewField {
                name: Some((name, span)),
                kind: FieldKind::Molecular,
                ty,
                default: None,
                keywords,
                parts: parts.into_iter().map(|(part, _)| part).collect(),
                span,
            },
        );
        Ok(())
    }

    fn part(&mut self, class: u32, part: Symbol, span: Span) -> Option<u32> {
        let text = self.names.text(part).clone();
        let Some(index) = self.builder.find_field(class, part) else {
            let entry = &self.builder.classes[class as usize];
            let inherited = entry.bases.iter().flat_map(|base| &self.builder.classes[*base as usize].inherited);
            let names = entry.own.iter().chain(inherited).map(|field| &self.builder.fields[*field as usize]);
            let names = names.filter(|field| field.kind == FieldKind::Atomic).map(|field| &*field.name);
            let hint = Self::did_you_mean(&text, names);
            let hint = hint.unwrap_or_else(|| "declare the method above, here or in a base".to_owned());
            let message = format!("the molecule's part `{text}` is not declared");
            let diagnostic = Diagnostic::new(Code::UnknownPart, span, message).help(hint);
            self.report(diagnostic);
            return None;
        };
        let field = &self.builder.fields[index as usize];
        if field.kind == FieldKind::Atomic {
            return Some(index);
        }
        let kind = if field.kind == FieldKind::Data { "data field" } else { "molecule" };
        let message = format!("the {kind} `{text}` cannot be part of a molecule");
        let diagnostic =
            Diagnostic::new(Code::WrongPart, span, message).also(field.span, "declared here").help("only methods can");
        self.report(diagnostic);
        None
    }

    fn check_part_keywords(&mut self, parts: &[(u32, Span)]) {
        let sorted = |field: &FieldEntry| {
            let mut names: Vec<Arc<str>> = field.keyword_names.clone();
            names.sort();
            names
        };
        let Some((first, rest)) = parts.split_first() else {
            return;
        };
        let first_keywords = sorted(&self.builder.fields[first.0 as usize]);
        for (part, span) in rest {
            let keywords = sorted(&self.builder.fields[*part as usize]);
            if keywords != first_keywords {
                let message = format!(
                    "the parts of a molecule have the same keywords; this one has {}, the first {}",
                    listed(&keywords),
                    listed(&first_keywords)
                );
                let diagnostic =
                    Diagnostic::new(Code::DifferentKeywords, *span, message).also(first.1, "the first part");
                self.report(diagnostic);
                return;
            }
        }
    }

    /// Keywords up to the `;`.
    fn keywords(&mut self, is_struct: bool) -> Parsed<ReadKeywords> {
        if !matches!(self.token, Token::Name(_)) {
            return Ok(ReadKeywords::none());
        }
        let mut symbols: Vec<Symbol> = Vec::new();
        while let Token::Name(name) = self.token {
            if !self.is_keyword(name) {
                self.undeclared_keyword(name);
            } else if is_struct {
                let diagnostic =
                    Diagnostic::new(Code::KeywordNotAllowed, self.span, "a member of a struct takes no keywords")
                        .help("keywords belong to the field of the class that uses the struct");
                self.report(diagnostic);
            } else if !symbols.contains(&name) {
                symbols.push(name);
                self.know_keyword(name);
            }
            self.advance();
            if self.at(b',') {
                let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a comma between keywords")
                    .help("keywords are separated by blanks");
                return Err(self.report(diagnostic));
            }
        }
        Ok(self.read_keywords(&symbols))
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

    fn read_keywords(&self, symbols: &[Symbol]) -> ReadKeywords {
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
        ReadKeywords { meaning, names, hashed }
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

    fn add_field(&mut self, class: u32, new: NewField) {
        let entry = &self.builder.classes[class as usize];
        let is_struct = entry.is_struct;
        if let Some((name, span)) = new.name {
            let text = self.names.text(name).clone();
            if entry.symbol == Some(name) {
                return self.add_constructor(class, new, &text, span);
            }
            if let Some(earlier) = entry.own_by_name.get(&name) {
                let earlier = self.builder.fields[*earlier as usize].span;
                let message = format!("two fields named `{text}`");
                let diagnostic = Diagnostic::new(Code::DuplicateField, span, message)
                    .label("declared again here")
                    .also(earlier, "first declared here")
                    .help("methods cannot be overloaded");
                self.report(diagnostic);
                return;
            }
        }
        let number = self.builder.next_number(class, self.options);
        if number.is_some_and(|number| number >= NUMBERS_MAX) {
            let message = format!("a contract may have {NUMBERS_MAX} fields: their numbers have 16 bits");
            self.error(Code::Limit, new.span, message);
            return;
        }
        debug_assert!(is_struct || number.is_some());
        let index = self.push_field(new, number.map(|number| number as u16));
        let entry = &mut self.builder.classes[class as usize];
        entry.own.push(index);
        if let Some(symbol) = self.builder.fields[index as usize].symbol {
            entry.own_by_name.insert(symbol, index);
        }
    }

    fn add_constructor(&mut self, class: u32, new: NewField, text: &str, span: Span) {
        let entry = &self.builder.classes[class as usize];
        if new.kind != FieldKind::Atomic {
            let kind = if entry.is_struct { "struct" } else { "class" };
            let message = format!("the field `{text}` is named like its {kind}");
            let diagnostic = Diagnostic::new(Code::NamedLikeItsClass, span, message).help("give it another name");
            self.report(diagnostic);
        } else if !entry.is_struct {
            let message = format!("`{text}` would be a constructor, and a dclass has none");
            let diagnostic = Diagnostic::new(Code::Constructor, span, message).help("give the method another name");
            self.report(diagnostic);
        } else if let Some(earlier) = entry.constructor {
            let earlier = self.builder.fields[earlier as usize].span;
            let diagnostic = Diagnostic::new(Code::Constructor, span, format!("a second constructor of `{text}`"))
                .also(earlier, "the first is here");
            self.report(diagnostic);
        } else {
            let index = self.push_field(new, None);
            self.builder.classes[class as usize].constructor = Some(index);
        }
    }

    fn push_field(&mut self, new: NewField, number: Option<u16>) -> u32 {
        let name = match new.name {
            Some((name, _)) => self.names.text(name).clone(),
            None => self.builder.empty_name.clone(),
        };
        self.builder.fields.push(FieldEntry {
            symbol: new.name.map(|(name, _)| name),
            name,
            number,
            kind: new.kind,
            ty: new.ty,
            default: new.default,
            keywords: new.keywords.meaning,
            keyword_names: new.keywords.names,
            hashed_keywords: new.keywords.hashed,
            parts: new.parts,
            span: new.span,
        });
        self.builder.fields.len() as u32 - 1
    }
}

fn listed(keywords: &[Arc<str>]) -> String {
    if keywords.is_empty() { "none".to_owned() } else { keywords.join(" ") }
}
