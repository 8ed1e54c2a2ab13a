//! Switches: a key, cases, and members that fall through (spec 3.10).

use super::{Parsed, Parser};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::lexer::Token;
use crate::limits::SWITCH_MEMBERS_MAX;
use crate::names::{Symbol, Word};
use crate::source::Span;
use crate::types::{Case, Parameter, Shape, SwitchType, TypeId};
use hashbrown::HashMap;

/// A case while its switch is being read.
struct OpenCase {
    /// None for the default.
    value: Option<Box<[u8]>>,
    members: Vec<Parameter>,
    names: HashMap<Symbol, Span>,
}

#[derive(Default)]
struct Body {
    cases: Vec<OpenCase>,
    by_value: HashMap<Box<[u8]>, Span>,
    default: Option<Span>,
    /// Cases from here on take members; none after a break.
    open_from: usize,
    members: usize,
}

impl Parser<'_> {
    pub(super) fn switch_in_place(&mut self) -> Parsed<TypeId> {
        let name = match self.token {
            Token::Mark(b'(') => None,
            _ => Some(self.name("the name of a switch, or `(`")?.0),
        };
        self.enter()?;
        let ty = self.switch_body(name);
        self.leave();
        ty
    }

    /// From the key's parenthesis to the closing brace.
    pub(super) fn switch_body(&mut self, name: Option<Symbol>) -> Parsed<TypeId> {
        let start = self.span;
        self.expect(b'(', "before the key of a switch")?;
        let key = self.switch_key()?;
        self.expect(b')', "after the one key of a switch")?;
        self.expect(b'{', "to open the body of a switch")?;
        let mut body = Body::default();
        loop {
            if self.accept(b'}') {
                break;
            }
            if self.token == Token::End {
                return Err(self.unexpected("`}` to close the switch"));
            }
            if let Token::Word(Word::Dclass | Word::Typedef | Word::Keyword | Word::Import | Word::From) = self.token {
                return Err(self.unexpected("`}` to close the switch"));
            }
            if self.case_item(&mut body, &key).is_err() {
                self.recover_in_body();
            }
        }
        let switch = self.finish(name.unwrap_or(Symbol::EMPTY), key, body);
        let ty = self.builder.types.add(Shape::Switch(Box::new(switch)));
        Ok(self.check_type(ty, start))
    }

    fn switch_key(&mut self) -> Parsed<Parameter> {
        let start = self.span;
        let read = if let Token::Name(_) = self.token {
            let (name, span) = self.name("the key of a switch")?;
            if self.at(b'(') {
                return self.method_key(name, span);
            }
            let ty = self.named_type(name, span);
            self.rest_of_parameter(ty, start)?
        } else {
            self.parameter("a type for the key of a switch")?
        };
        if self.at(b'=') {
            let diagnostic = Diagnostic::new(Code::SwitchKey, self.span, "the key of a switch takes no default")
                .help("the first case is the default of a switch");
            return Err(self.report(diagnostic));
        }
        if let Token::Name(name) = self.token
            && self.is_keyword(name)
        {
            let message = "the key of a switch takes no keywords";
            return Err(self.error(Code::KeywordNotAllowed, self.span, message));
        }
        Ok(Parameter { name: read.name, ty: read.ty, default: None })
    }

    fn method_key(&mut self, name: Symbol, span: Span) -> Parsed<Parameter> {
        if self.bodies == 0 {
            let message = "a method can be a switch key only inside a class or struct";
            self.error(Code::SwitchKey, span, message);
        }
        let ty = self.method_parameters(span)?;
        Ok(Parameter { name, ty, default: None })
    }

    fn case_item(&mut self, body: &mut Body, key: &Parameter) -> Parsed<()> {
        match self.token {
            Token::Mark(b';') => self.advance(),
            Token::Word(Word::Case) => {
                self.advance();
                let literal = self.value()?;
                self.expect(b':', "after the value of a case")?;
                let mut value = Vec::new();
                if !self.pack_literal(key.ty, key.name, &literal, &mut value) {
                    value.clear();
                }
                let value: Box<[u8]> = value.into();
                if let Some(earlier) = body.by_value.get(&value) {
                    let diagnostic = Diagnostic::new(Code::DuplicateCase, literal.span, "this case is there already")
                        .also(*earlier, "the same packed key")
                        .help("cases are compared packed, after divisor, modulus and rounding");
                    // A value that did not pack was reported; its empty stand-in says nothing about repeats.
                    if self.diagnostics.is_empty() {
                        self.report(diagnostic);
                    }
                } else {
                    body.by_value.insert(value.clone(), literal.span);
                }
                body.cases.push(OpenCase::new(Some(value)));
            }
            Token::Word(Word::Default) => {
                let span = self.span;
                self.advance();
                self.expect(b':', "after `default`")?;
                if let Some(earlier) = body.default.replace(span) {
                    let diagnostic = Diagnostic::new(Code::DuplicateCase, span, "a second default")
                        .also(earlier, "the first is here");
                    self.report(diagnostic);
                } else {
                    body.cases.push(OpenCase::new(None));
                }
            }
            Token::Word(Word::Break) => {
                self.advance();
                self.expect(b';', "after `break`")?;
                body.open_from = body.cases.len();
            }
            _ => return self.switch_member(body, key.name),
        }
        Ok(())
    }

    fn switch_member(&mut self, body: &mut Body, key_name: Symbol) -> Parsed<()> {
        let start = self.span;
        let read = if let Token::Name(_) = self.token {
            let (name, span) = self.name("a type")?;
            if self.at(b'(') || self.at(b':') {
                let message = "a switch holds data fields only, no methods and no molecules";
                return Err(self.error(Code::SwitchMember, span, message));
            }
            let ty = self.named_type(name, span);
            self.rest_of_parameter(ty, start)?
        } else {
            self.parameter("a case, `default`, `break` or a member")?
        };
        let default = self.default_value(read.ty, read.name)?;
        if let Token::Name(name) = self.token
            && self.is_keyword(name)
        {
            let message = "a member of a switch takes no keywords";
            return Err(self.error(Code::KeywordNotAllowed, self.span, message));
        }
        self.expect(b';', "after the member of a switch")?;
        let open = body.cases.len() - body.open_from;
        if open == 0 {
            let diagnostic = Diagnostic::new(Code::SwitchMember, read.span, "this member belongs to no case")
                .help("put it after a `case` or `default`, before the `break`");
            self.report(diagnostic);
            return Ok(());
        }
        body.members += open;
        if body.members > SWITCH_MEMBERS_MAX {
            let message = format!("the cases of a switch may hold {SWITCH_MEMBERS_MAX} members together");
            return Err(self.error(Code::Limit, read.span, message));
        }
        if !read.name.is_empty() {
            self.check_member_name(body, read.name, read.name_span, key_name);
        }
        for case in &mut body.cases[body.open_from..] {
            case.members.push(Parameter { name: read.name, ty: read.ty, default });
        }
        Ok(())
    }

    fn finish(&mut self, name: Symbol, key: Parameter, body: Body) -> SwitchType {
        let mut switch = SwitchType { name, key, cases: Vec::new(), by_value: HashMap::new(), default: None };
        for case in body.cases {
            let members = self.builder.types.add_members(case.members);
            match case.value {
                Some(value) => {
                    switch.by_value.insert(value.clone(), switch.cases.len() as u32);
                    switch.cases.push(Case { value, members });
                }
                None => switch.default = Some(members),
            }
        }
        switch
    }

    fn check_member_name(&mut self, body: &mut Body, name: Symbol, span: Span, key_name: Symbol) {
        if key_name == name {
            let message = format!("the member `{}` is named like the key of its switch", self.text(name));
            self.error(Code::DuplicateField, span, message);
        }
        let mut earlier = None;
        for case in &mut body.cases[body.open_from..] {
            earlier = earlier.or(case.names.insert(name, span));
        }
        if let Some(earlier) = earlier {
            let message = format!("two members named `{}` in one case", self.text(name));
            let diagnostic = Diagnostic::new(Code::DuplicateField, span, message)
                .also(earlier, "the first is here")
                .help("without a `break`, a member belongs to all cases above it");
            self.report(diagnostic);
        }
    }
}

impl OpenCase {
    fn new(value: Option<Box<[u8]>>) -> Self {
        OpenCase { value, members: Vec::new(), names: HashMap::new() }
    }
}
