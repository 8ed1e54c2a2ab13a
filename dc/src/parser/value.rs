//! Values in DC syntax, and the defaults that they give.

use super::{Parsed, Parser};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::lexer::{Token, decode_hex, decode_text};
use crate::limits::{DEFAULT_WEIGHT_TOTAL_MAX, REPETITION_MAX};
use crate::literal::{Literal, LiteralNode};
use crate::names::Symbol;
use crate::source::Span;
use crate::types::{Packed, TypeId};

impl Parser<'_> {
    /// `= value` after a parameter, packed; none if there is no `=`, or if it cannot be packed (which is reported).
    pub(super) fn default_value(&mut self, ty: TypeId, name: Symbol) -> Parsed<Option<Packed>> {
        if !self.accept(b'=') {
            return Ok(None);
        }
        let literal = self.value()?;
        let mut bytes = std::mem::take(&mut self.packed);
        bytes.clear();
        let is_packed = self.pack_literal(ty, name, &literal, &mut bytes);
        let packed = if is_packed { self.keep_default(&bytes, literal.span).map(Some) } else { Ok(None) };
        self.packed = bytes;
        packed
    }

    fn keep_default(&mut self, bytes: &[u8], span: Span) -> Parsed<Packed> {
        if (self.builder.types.packed_bytes() + bytes.len()) as u64 > DEFAULT_WEIGHT_TOTAL_MAX {
            let message = format!("all defaults together may have {DEFAULT_WEIGHT_TOTAL_MAX} bytes");
            let stop = self.error(Code::Limit, span, message);
            self.give_up();
            return Err(stop);
        }
        Ok(self.builder.types.add_packed(bytes))
    }

    /// Packs, and reports what cannot be; the bytes are then of no use.
    pub(super) fn pack_literal(&mut self, ty: TypeId, name: Symbol, literal: &Literal, bytes: &mut Vec<u8>) -> bool {
        // Only labels and messages need the name.
        if literal.label.is_none() && self.builder.types.pack(ty, "", literal, bytes).is_ok() {
            return true;
        }
        bytes.clear();
        match self.builder.types.pack(ty, self.text(name), literal, bytes) {
            Ok(()) => true,
            Err(fault) => {
                let diagnostic = Diagnostic::new(fault.code, fault.item.span, fault.message);
                self.report(diagnostic);
                false
            }
        }
    }

    pub(super) fn value(&mut self) -> Parsed<Literal> {
        let start = self.span;
        let mut label = None;
        if let Token::Name(_) = self.token {
            let (name, span) = self.name("the label of a value")?;
            if !self.accept(b'=') {
                let message = format!("the bare word `{}` is not a value", self.text(name));
                let diagnostic = Diagnostic::new(Code::Syntax, span, message)
                    .help("a value is a number, quoted text, hex bytes such as <00ff>, or a list");
                return Err(self.report(diagnostic));
            }
            label = Some(self.text(name).into());
        }
        let (node, repeatable) = self.plain_value()?;
        let mut repeat = 1;
        if self.at(b'*') {
            if !repeatable {
                let message = "only numbers and hex bytes can be repeated";
                let diagnostic = Diagnostic::new(Code::Syntax, self.span, message).help("write the items one by one");
                return Err(self.report(diagnostic));
            }
            self.advance();
            let Token::Uint(count) = self.token else {
                return Err(self.unexpected("a count after `*`"));
            };
            if count > REPETITION_MAX {
                let message = format!("a value may be repeated {REPETITION_MAX} times, not {count}");
                return Err(self.error(Code::Limit, self.span, message));
            }
            repeat = count;
            self.advance();
        }
        Ok(Literal { span: start.to(self.last), label, node, repeat })
    }

    /// The value itself, and whether `*` may follow.
    fn plain_value(&mut self) -> Parsed<(LiteralNode, bool)> {
        let text = self.lexer.slice(self.span);
        let node = match self.token {
            Token::Uint(value) => (LiteralNode::Int(value.into()), true),
            Token::Signed(value) => (LiteralNode::Int(value.into()), true),
            Token::Real(value) => (LiteralNode::Real(value), true),
            Token::Hex => (LiteralNode::Packed(decode_hex(text)), true),
            Token::Text => (LiteralNode::Text(decode_text(text)), false),
            Token::Mark(open @ (b'{' | b'[' | b'(')) => {
                self.enter()?;
                let items = self.list(open);
                self.leave();
                return Ok((LiteralNode::List(items?), false));
            }
            Token::Mark(b'-') => {
                let diagnostic = Diagnostic::new(Code::Syntax, self.span, "a sign that touches no number")
                    .help("a sign must touch the digits after it");
                return Err(self.report(diagnostic));
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.advance();
        Ok(node)
    }

    fn list(&mut self, open: u8) -> Parsed<Vec<Literal>> {
        let opening = self.span;
        let close = match open {
            b'{' => b'}',
            b'[' => b']',
            _ => b')',
        };
        self.advance();
        let mut items = Vec::new();
        if self.accept(b',') {
            if !self.at(close) {
                return Err(self.unexpected(&format!("`{}` (a comma alone means an empty list)", close as char)));
            }
        } else {
            while !self.at(close) {
                items.push(self.value()?);
                if !self.accept(b',') {
                    break;
                }
            }
        }
        if self.accept(close) {
            return Ok(items);
        }
        if self.token != Token::Bad {
            let message = format!("expected `,` or `{}`, found {}", close as char, self.describe());
            let diagnostic = Diagnostic::new(Code::Syntax, self.span, message)
                .label(format!("expected `,` or `{}`", close as char))
                .also(opening, "the list opens here");
            return Err(self.report(diagnostic));
        }
        Err(super::Stop)
    }
}
