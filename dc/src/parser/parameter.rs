//! Parameters: types, their decorations, brackets, names.

use super::{Parsed, Parser, Stop};
use crate::builder::{Thing, Typedef};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::lexer::{Token, decode_text};
use crate::names::{Symbol, Word};
use crate::simple::{Number, Refusal, Simple, overlapping};
use crate::source::Span;
use crate::types::{Brackets, Counts, TypeId, Types};

/// A parameter as it was read, before its default.
pub(super) struct ReadParameter {
    /// Empty if it has none.
    pub name: Symbol,
    pub name_span: Span,
    pub ty: TypeId,
    pub span: Span,
}

impl Parser<'_> {
    /// Reads a parameter; `what` says what a type is expected for.
    pub(super) fn parameter(&mut self, what: &str) -> Parsed<ReadParameter> {
        let start = self.span;
        if let Token::Type(simple) = self.token {
            self.advance();
            return self.simple_parameter(simple, start);
        }
        let ty = match self.token {
            Token::Word(Word::Struct) => {
                self.advance();
                self.struct_in_place()?
            }
            Token::Word(Word::Switch) => {
                self.advance();
                self.switch_in_place()?
            }
            Token::Name(_) => {
                let (name, span) = self.name("a type")?;
                self.named_type(name, span)
            }
            _ => return Err(self.unexpected(what)),
        };
        self.rest_of_parameter(ty, start)
    }

    /// What follows the name of a type that was read already.
    pub(super) fn rest_of_parameter(&mut self, ty: TypeId, start: Span) -> Parsed<ReadParameter> {
        // A misspelt type word was reported; what decorates it is no second mistake.
        while ty == TypeId::INVALID && self.at_decoration() {
            self.decorated.reset(Simple::Float64);
            self.decoration(true)?;
        }
        self.refuse_decoration("a decoration belongs to a type word such as int16, inside the typedef or struct")?;
        let mut brackets = Brackets::new();
        self.brackets(&mut brackets)?;
        self.refuse_decoration("a decoration stands before the brackets")?;
        let (name, name_span) = self.parameter_name(start)?;
        if !name.is_empty() {
            self.refuse_decoration("a decoration belongs to a type word such as int16, inside the typedef or struct")?;
            self.brackets(&mut brackets)?;
            self.refuse_decoration("a decoration stands before the brackets")?;
        }
        let ty = self.arrays(ty, &brackets, start);
        Ok(ReadParameter { name, name_span, ty, span: start.to(self.last) })
    }

    fn simple_parameter(&mut self, simple: Simple, start: Span) -> Parsed<ReadParameter> {
        let mut decorated = false;
        while self.at_decoration() {
            self.decorate(simple, &mut decorated);
            self.decoration(true)?;
        }
        let mut brackets = Brackets::new();
        self.brackets(&mut brackets)?;
        self.refuse_decoration("a decoration stands before the brackets")?;
        let (name, name_span) = self.parameter_name(start)?;
        if !name.is_empty() {
            while brackets.is_empty() && (self.at(b'/') || self.at(b'%')) {
                self.decorate(simple, &mut decorated);
                self.decoration(false)?;
            }
            self.refuse_decoration("a range stands before the name, a decoration before the brackets")?;
            self.brackets(&mut brackets)?;
            self.refuse_decoration("a decoration stands before the brackets")?;
        }
        let ty = if decorated && !self.decorated.is_plain() {
            let ty = self.builder.types.add_simple(&self.decorated);
            self.check_type(ty, start)
        } else {
            Types::plain(simple)
        };
        let ty = self.arrays(ty, &brackets, start);
        Ok(ReadParameter { name, name_span, ty, span: start.to(self.last) })
    }

    #[inline]
    fn at_decoration(&self) -> bool {
        matches!(self.token, Token::Mark(b'(' | b'/' | b'%'))
    }

    /// Before the first decoration of a type word.
    fn decorate(&mut self, simple: Simple, decorated: &mut bool) {
        if !std::mem::replace(decorated, true) {
            self.decorated.reset(simple);
        }
    }

    fn arrays(&mut self, ty: TypeId, brackets: &[Counts], span: Span) -> TypeId {
        if brackets.is_empty() || ty == TypeId::INVALID {
            return ty;
        }
        let ty = self.builder.types.add_arrays(ty, brackets);
        self.check_type(ty, span)
    }

    fn parameter_name(&mut self, start: Span) -> Parsed<(Symbol, Span)> {
        match self.token {
            Token::Name(_) => self.name("a name"),
            Token::Word(_) | Token::Type(_) => Err(self.name("a name").err().unwrap_or(Stop)),
            _ => Ok((Symbol::EMPTY, start)),
        }
    }

    #[inline]
    fn refuse_decoration(&mut self, help: &str) -> Parsed<()> {
        if self.at_decoration() { Err(self.misplaced_decoration(help)) } else { Ok(()) }
    }

    #[cold]
    fn misplaced_decoration(&mut self, help: &str) -> Stop {
        let what = match self.token {
            Token::Mark(b'(') => "a range",
            Token::Mark(b'/') => "a divisor",
            _ => "a modulus",
        };
        let diagnostic = Diagnostic::new(Code::Decoration, self.span, format!("{what} cannot stand here")).help(help);
        self.report(diagnostic)
    }

    /// A type called by name: typedefs first, then classes, structs and switches.
    pub(super) fn named_type(&mut self, name: Symbol, span: Span) -> TypeId {
        if let Some(found) = self.builder.typedefs.get(&name) {
            return found.ty;
        }
        let Some((thing, _)) = self.builder.things.get(&name) else {
            self.unknown_type(name, span);
            return TypeId::INVALID;
        };
        let ty = match *thing {
            Thing::Class(class) => self.builder.class_type(class),
            Thing::Switch(ty) => ty,
        };
        let ty = self.check_type(ty, span);
        let typedef = Typedef { ty, span, implicit: true };
        self.builder.typedefs.insert(name, typedef);
        ty
    }

    fn unknown_type(&mut self, name: Symbol, span: Span) {
        // The rest of the word starts no token, which was reported.
        if self.token == Token::Bad {
            return;
        }
        let text = self.text(name).to_owned();
        let candidates = self
            .builder
            .typedefs
            .keys()
            .chain(self.builder.things.keys())
            .map(|name| self.text(*name))
            .chain(Simple::ALL.iter().map(|simple| simple.name()));
        let hint = match &*text {
            "float32" | "float" | "double" => {
                Some("real numbers are float64, or integers with a divisor such as int16/10".to_owned())
            }
            "bool" => Some("write uint8(0,1)".to_owned()),
            _ => Self::did_you_mean(&text, candidates),
        };
        let hint = hint.unwrap_or_else(|| "declare it above this line; order matters".to_owned());
        let message = format!("the type `{text}` is not declared");
        let diagnostic =
            Diagnostic::new(Code::UnknownType, span, message).label("not declared before this line").help(hint);
        self.report(diagnostic);
    }

    /// One more decoration of the type word whose decorations are being read.
    fn decoration(&mut self, before_name: bool) -> Parsed<()> {
        let start = self.span;
        let result: Result<(), Refusal> = if self.accept(b'(') {
            self.read_ranges()?;
            self.decorated.set_ranges(&self.ranges)
        } else if self.accept(b'/') {
            match self.token {
                Token::Uint(divisor) => {
                    self.advance();
                    self.decorated.set_divisor(divisor, before_name)
                }
                Token::Signed(_) | Token::Real(_) => {
                    let found = self.describe();
                    let message = format!("a divisor is a whole number from 1 to 4294967295, not {found}");
                    return Err(self.error(Code::Divisor, self.span, message));
                }
                _ => return Err(self.unexpected("a divisor")),
            }
        } else {
            self.advance();
            let Some(modulus) = self.number() else {
                return Err(self.unexpected("a modulus"));
            };
            self.advance();
            self.decorated.set_modulus(modulus)
        };
        if let Err((code, message, help)) = result {
            let diagnostic = Diagnostic::new(code, start.to(self.last), message).help_if(help);
            self.report(diagnostic);
        }
        Ok(())
    }

    fn number(&self) -> Option<Number> {
        match self.token {
            Token::Uint(value) => Some(Number::Int(value.into())),
            Token::Signed(value) => Some(Number::Int(value.into())),
            Token::Real(value) => Some(Number::Real(value)),
            _ => None,
        }
    }

    /// Ranges up to the closing parenthesis, the opening one being read.
    fn read_ranges(&mut self) -> Parsed<()> {
        self.ranges.clear();
        if !self.at(b')') && !self.at(b',') {
            self.range()?;
        }
        while self.accept(b',') {
            self.range()?;
        }
        self.expect(b')', "to close the range").map_err(|stop| self.hint_at_range(stop))
    }

    /// The two spellings that look right and are not (spec 3.6).
    fn hint_at_range(&mut self, stop: Stop) -> Stop {
        let is_range = matches!(self.token, Token::Signed(_) | Token::Name(_) | Token::Uint(_));
        if is_range && let Some(diagnostic) = self.diagnostics.pop() {
            self.diagnostics.push(diagnostic.help("write blanks around the hyphen of a range: (-5 - 0), (0x1 - 0xf)"));
        }
        stop
    }

    fn range(&mut self) -> Parsed<()> {
        let start = self.span;
        let low = self.bound()?;
        let high = match self.token {
            Token::Mark(b'-') => {
                self.advance();
                self.bound()?
            }
            Token::Signed(value) if value < 0 => {
                self.advance();
                Number::Int(-i128::from(value))
            }
            Token::Real(value) if value < 0.0 => {
                self.advance();
                Number::Real(-value)
            }
            _ => low,
        };
        self.add_range(low, high, start.to(self.last));
        Ok(())
    }

    fn add_range(&mut self, low: Number, high: Number, span: Span) {
        if high.less_than(low) {
            let message = format!("this range runs backwards, from {low} to {high}");
            let diagnostic = Diagnostic::new(Code::Range, span, message).help(format!("write {high} - {low}"));
            self.report(diagnostic);
        } else if let Some((other_low, other_high)) = overlapping(&self.ranges, low, high) {
            let message = format!("this range shares values with the earlier range {other_low} to {other_high}");
            self.error(Code::Range, span, message);
        } else {
            self.ranges.push((low, high));
        }
    }

    fn bound(&mut self) -> Parsed<Number> {
        let value = match (self.number(), self.token) {
            (Some(value), _) => value,
            (None, Token::Text) => Number::Int(self.character_bound()?.into()),
            _ => return Err(self.unexpected("a bound: a number or one quoted character")),
        };
        self.advance();
        Ok(value)
    }

    fn character_bound(&mut self) -> Parsed<u8> {
        match decode_text(self.lexer.slice(self.span))[..] {
            [byte] => Ok(byte),
            ref bytes => {
                let message = format!("a quoted bound is one character, not {}", bytes.len());
                Err(self.error(Code::Syntax, self.span, message))
            }
        }
    }

    fn brackets(&mut self, brackets: &mut Brackets) -> Parsed<()> {
        while self.accept(b'[') {
            if brackets.len() >= usize::from(crate::limits::NESTING_MAX) {
                let message = format!("more than {} brackets", crate::limits::NESTING_MAX);
                return Err(self.error(Code::Limit, self.last, message));
            }
            self.ranges.clear();
            if !self.at(b']') && !self.at(b',') {
                self.size()?;
            }
            while self.accept(b',') {
                self.size()?;
            }
            self.expect(b']', "to close the array size")?;
            // Both bounds were checked to fit 32 bits.
            let whole = |number: Number| number.as_real() as u32;
            brackets.push(self.ranges.iter().map(|(low, high)| (whole(*low), whole(*high))).collect());
        }
        Ok(())
    }

    fn size(&mut self) -> Parsed<()> {
        let start = self.span;
        let low = self.size_bound()?;
        let high = match self.token {
            Token::Mark(b'-') => {
                self.advance();
                self.size_bound()?
            }
            Token::Signed(value) if value < 0 => {
                self.advance();
                i128::from(value).unsigned_abs()
            }
            _ => low,
        };
        let span = start.to(self.last);
        let greatest = u128::from(u32::MAX);
        if low > greatest || high > greatest {
            let message = format!("an array size is at most {greatest}");
            self.error(Code::ArraySize, span, message);
            return Ok(());
        }
        self.add_range(Number::Int(low as i128), Number::Int(high as i128), span);
        Ok(())
    }

    fn size_bound(&mut self) -> Parsed<u128> {
        let value = match self.token {
            Token::Uint(value) => value.into(),
            Token::Text => self.character_bound()?.into(),
            Token::Signed(_) | Token::Real(_) => {
                let found = self.describe();
                let message = format!("an array size is a whole number without a sign, not {found}");
                return Err(self.error(Code::ArraySize, self.span, message));
            }
            _ => return Err(self.unexpected("an array size")),
        };
        self.advance();
        Ok(value)
    }
}
