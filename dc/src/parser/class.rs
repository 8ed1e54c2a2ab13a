//! Classes and structs: bases, bodies, methods and data fields.

use super::parameter::ReadParameter;
use super::{Parsed, Parser};
use crate::builder::{Bases, FieldEntry, FieldKind, Thing};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::lexer::Token;
use crate::limits::{INHERITED_MAX, NUMBERS_MAX};
use crate::names::{Symbol, Word};
use crate::source::Span;
use crate::types::{Parameter, RecordType, Shape, TypeId};

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
        self.builder.list_class(class);
        self.check_inherited(self.last)?;
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
        let mut bases = Bases::new();
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
        let (name, span) = name.unwrap_or((Symbol::EMPTY, opening));
        let class = self.builder.open_class(name, is_struct, bases, span);
        self.bodies += 1;
        let closed = self.fields(class, is_struct, opening);
        self.bodies -= 1;
        if let Err(stop) = closed {
            self.builder.abandon_class(class);
            return Err(stop);
        }
        self.builder.close_class(class, self.options);
        self.check_inherited(opening)?;
        Ok(class)
    }

    /// Refuses what all classes together take over from their bases, once it is too much.
    fn check_inherited(&mut self, span: Span) -> Parsed<()> {
        if self.builder.inherited_total <= INHERITED_MAX {
            return Ok(());
        }
        let message = format!("all classes together may inherit {INHERITED_MAX} fields and bases");
        let help = "each class counts all fields and bases that it has from others: derive fewer from fewer";
        let stop = self.report(Diagnostic::new(Code::Limit, span, message).help(help));
        self.give_up();
        Err(stop)
    }

    fn base(&mut self, name: Option<(Symbol, Span)>, is_struct: bool, bases: &mut Bases) -> Parsed<()> {
        let (base, span) = self.name("the name of a base")?;
        let found = match self.builder.things.get(&base) {
            Some((Thing::Class(class), _)) => *class,
            other => {
                let text = self.text(base);
                let kind = if is_struct { "struct" } else { "class" };
                let message = match other {
                    Some(_) => format!("the switch `{text}` cannot be a base"),
                    None => format!("the base {kind} `{text}` is not declared"),
                };
                let hint = if name.is_some_and(|(name, _)| name == base) {
                    Some(format!("a {kind} cannot derive from itself"))
                } else {
                    let candidates = self.builder.class_list.iter().map(|class| &self.builder.classes[*class as usize]);
                    let candidates =
                        candidates.filter(|class| class.is_struct == is_struct).map(|class| self.text(class.name));
                    Self::did_you_mean(text, candidates)
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
            let message = format!("a {kind} cannot derive from the {other} `{}`", self.text(base));
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
                let message = format!("`{}` alone is no field", self.text(name));
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
        if self.at(b'(') && !read.name.is_empty() {
            let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a method has no return type")
                .help("remove the type before its name");
            return Err(self.report(diagnostic));
        }
        let default = self.default_value(read.ty, read.name)?;
        let keywords = self.keywords(is_struct)?;
        self.expect(b';', "after the field")?;
        if read.name.is_empty() && !is_struct {
            let diagnostic = Diagnostic::new(Code::UnnamedField, read.span, "a data field of a class needs a name")
                .help("only members of structs and switches may lack one");
            self.report(diagnostic);
            return Ok(());
        }
        let field = FieldEntry::new(class, read.name, FieldKind::Data, read.ty, keywords, read.span);
        self.add_field(FieldEntry { default, ..field }, read.name_span);
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
        self.add_field(FieldEntry::new(class, name, FieldKind::Atomic, ty, keywords, span), span);
        Ok(())
    }

    /// The parameters of a method with their parentheses, as one type.
    pub(super) fn method_parameters(&mut self, span: Span) -> Parsed<TypeId> {
        let outer = self.parameters.len();
        let read = self.method_parameter_list();
        let members = self.builder.types.add_members(self.parameters.drain(outer..));
        read?;
        let record = RecordType { class: None, name: Symbol::EMPTY, members };
        let ty = self.builder.types.add(Shape::Record(record));
        Ok(self.check_type(ty, span))
    }

    /// Leaves the parameters on the stack of them.
    fn method_parameter_list(&mut self) -> Parsed<()> {
        self.expect(b'(', "before the parameters")?;
        if !self.at(b')') {
            loop {
                self.enter()?;
                let member = self.method_parameter();
                self.leave();
                let member = member?;
                self.parameters.push(member);
                if !self.accept(b',') {
                    break;
                }
            }
        }
        self.refuse_keyword("a parameter takes no keywords", "keywords stand after the closing parenthesis")?;
        self.expect(b')', "after the parameters")
    }

    fn method_parameter(&mut self) -> Parsed<Parameter> {
        let read = self.parameter("the type of a parameter")?;
        let default = self.default_value(read.ty, read.name)?;
        Ok(Parameter { name: read.name, ty: read.ty, default })
    }

    pub(super) fn add_field(&mut self, mut field: FieldEntry, name_span: Span) {
        let (class, name) = (field.class, field.name);
        let entry = &self.builder.classes[class as usize];
        let is_struct = entry.is_struct;
        if !name.is_empty() {
            if entry.name == name {
                return self.add_constructor(field, name_span);
            }
            if let Some(earlier) = self.builder.own_field(class, name) {
                let text = self.text(name);
                let earlier = self.builder.fields[earlier as usize].span;
                let message = format!("two fields named `{text}`");
                let diagnostic = Diagnostic::new(Code::DuplicateField, name_span, message)
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
            self.error(Code::Limit, field.span, message);
            return;
        }
        debug_assert!(is_struct || number.is_some());
        field.number = number.map(|number| number as u16);
        self.builder.add_own_field(field);
    }

    fn add_constructor(&mut self, field: FieldEntry, span: Span) {
        let text = self.text(field.name);
        let entry = &self.builder.classes[field.class as usize];
        if field.kind != FieldKind::Atomic {
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
            self.builder.classes[field.class as usize].constructor = Some(self.builder.fields.len() as u32);
            self.builder.fields.push(field);
        }
    }
}
