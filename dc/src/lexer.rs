//! Bytes into tokens (spec 1), with nom.
//!
//! Decides: where a token ends and what number or text it stands for. Never decides whether it may stand there, nor
//! whether a name is a keyword at that moment.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::names::{Names, Symbol, Word, WordKind};
use crate::simple::Simple;
use crate::source::Span;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_until, take_while};
use nom::character::complete::{digit0, digit1, one_of};
use nom::combinator::{opt, recognize, rest};
use nom::{IResult, Parser};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token {
    End,
    Name(Symbol),
    Word(Word),
    Type(Simple),
    Mark(u8),
    Uint(u64),
    Signed(i64),
    Real(f64),
    /// Its span holds the quotes; [`decode_text`] gives the bytes.
    Text,
    /// Its span holds the angle brackets; [`decode_hex`] gives the bytes.
    Hex,
    /// Starts no token; a diagnostic has said so.
    Bad,
}

type Scan<'a> = IResult<&'a [u8], &'a [u8], ()>;

fn line_comment(input: &[u8]) -> Scan<'_> {
    recognize((tag("//"), alt((take_until("\n"), rest)))).parse(input)
}

fn block_comment(input: &[u8]) -> Scan<'_> {
    recognize((tag("/*"), take_until("*/"), tag("*/"))).parse(input)
}

/// What a byte begins where a token may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    Nothing,
    Word,
    Mark,
    /// A comment, or the mark of a divisor.
    Slash,
    Number,
    Text,
    Hex,
}

/// One look per byte tells what to read: most tokens are words and marks, and most of the rest is blank.
const BEGINS: [Begins; 256] = {
    let mut table = [Begins::Nothing; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Begins::Word,
            b'{' | b'}' | b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'=' | b'%' | b'*' => Begins::Mark,
            b'/' => Begins::Slash,
            b'0'..=b'9' | b'+' | b'-' | b'.' => Begins::Number,
            b'"' | b'\'' => Begins::Text,
            b'<' => Begins::Hex,
            _ => Begins::Nothing,
        };
        byte += 1;
    }
    table
};

/// Which bytes a name may hold.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

/// By hand: half of all bytes are in names, and `take_while1` makes a call of every one of them (a tenth of the time).
#[inline]
fn name(input: &[u8]) -> Scan<'_> {
    let end = input.iter().position(|byte| !IN_NAME[usize::from(*byte)]).unwrap_or(input.len());
    match input.split_at(end) {
        ([], _) => Err(nom::Err::Error(())),
        (found, rest) => Ok((rest, found)),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[inline]
fn blanks(input: &[u8]) -> usize {
    // Between most tokens there is one, or none.
    match input {
        [first, ..] if !is_blank(*first) => 0,
        [_, second, ..] if !is_blank(*second) => 1,
        _ => input.iter().position(|byte| !is_blank(*byte)).unwrap_or(input.len()),
    }
}

fn hex_number(input: &[u8]) -> Scan<'_> {
    recognize((tag("0x"), take_while(|byte: u8| byte.is_ascii_hexdigit()))).parse(input)
}

fn real(input: &[u8]) -> Scan<'_> {
    let digits = alt((recognize((digit1, tag("."), digit0)), recognize((digit0, tag("."), digit1))));
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    recognize((opt(one_of("+-")), digits, opt(exponent))).parse(input)
}

fn signed(input: &[u8]) -> Scan<'_> {
    recognize((one_of("+-"), digit1)).parse(input)
}

fn unsigned(input: &[u8]) -> Scan<'_> {
    digit1(input)
}

/// Up to the closing quote; a backslash keeps the byte after it from ending the text.
fn text(input: &[u8]) -> Scan<'_> {
    let quote = input[0];
    let mut at = 1;
    while let Some(byte) = input.get(at) {
        match *byte {
            b'\\' => at += 2,
            b'\n' => break,
            byte if byte == quote => return Ok((&input[at + 1..], &input[..=at])),
            _ => at += 1,
        }
    }
    Err(nom::Err::Error(()))
}

fn hex_bytes(input: &[u8]) -> Scan<'_> {
    recognize((tag("<"), take_while(|byte: u8| byte.is_ascii_hexdigit()), tag(">"))).parse(input)
}

/// A token and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub token: Token,
    pub span: Span,
}

/// Tokens that are read ahead of the parser: reading many in a row is quicker than to turn from one to the other at each.
const AHEAD: usize = 128;

pub(crate) struct Lexer<'a> {
    file: u32,
    text: &'a [u8],
    /// Where the next token is looked for.
    at: usize,
    ahead: Vec<Placed>,
    /// How many of them were given out.
    given: usize,
    /// What is wrong with the last one that was read; those behind it are read when it was given out.
    mistake: Option<Box<Diagnostic>>,
}

impl<'a> Lexer<'a> {
    pub fn new(file: u32, text: &'a [u8]) -> Self {
        Lexer { file, text, at: 0, ahead: Vec::with_capacity(AHEAD), given: 0, mistake: None }
    }

    /// Reads another text from here on.
    pub fn open(&mut self, file: u32, text: &'a [u8]) {
        (self.file, self.text, self.at) = (file, text, 0);
        self.forget();
    }

    /// No token follows.
    pub fn finish(&mut self) {
        self.at = self.text.len();
        self.forget();
    }

    fn forget(&mut self) {
        self.ahead.clear();
        self.given = 0;
        self.mistake = None;
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    pub fn slice(&self, span: Span) -> &'a [u8] {
        &self.text[span.start as usize..span.end as usize]
    }

    /// The next token. After [`Token::Bad`], or [`Token::End`], there may be a [`Lexer::mistake`].
    #[inline]
    pub fn next(&mut self, names: &mut Names) -> Placed {
        if self.given >= self.ahead.len() {
            self.read_ahead(names);
        }
        let next = self.ahead[self.given];
        self.given += 1;
        next
    }

    /// What is wrong with the token that was given out last.
    pub fn mistake(&mut self) -> Option<Diagnostic> {
        self.mistake.take().map(|mistake| *mistake)
    }

    /// Up to the end, a mistake, or as far as there is room; at least one token.
    fn read_ahead(&mut self, names: &mut Names) {
        self.forget();
        let text = self.text;
        let mut at = self.at;
        while self.ahead.len() < AHEAD {
            at += blanks(&text[at..]);
            let start = at;
            let Some(first) = text.get(at) else {
                self.ahead.push(Placed { token: Token::End, span: self.span(at, at) });
                break;
            };
            // One look per byte tells what to read. Each kind of token is moved by itself: one written in parts and then
            // moved as a whole makes the processor wait.
            match BEGINS[usize::from(*first)] {
                Begins::Word => {
                    let rest = &text[at..];
                    let length = name(rest).map_or(1, |(_, found)| found.len());
                    at += length;
                    let span = self.span(start, at);
                    let symbol = names.intern(rest, length);
                    match Names::kind(symbol) {
                        WordKind::Name => self.ahead.push(Placed { token: Token::Name(symbol), span }),
                        WordKind::Word(word) => self.ahead.push(Placed { token: Token::Word(word), span }),
                        WordKind::Type(simple) => self.ahead.push(Placed { token: Token::Type(simple), span }),
                    }
                }
                Begins::Mark => {
                    at += 1;
                    self.ahead.push(Placed { token: Token::Mark(*first), span: self.span(start, at) });
                }
                Begins::Slash => {
                    if let Some(length) = comment(&text[at..]) {
                        at += length;
                    } else if text[at..].starts_with(b"/*") {
                        self.mistake = Some(Box::new(unclosed_comment(self.span(at, at + 2))));
                        at = text.len();
                    } else {
                        at += 1;
                        self.ahead.push(Placed { token: Token::Mark(b'/'), span: self.span(start, at) });
                    }
                }
                begins => {
                    let (length, token) = rarer(begins, &text[at..]);
                    at += length;
                    let span = self.span(start, at);
                    match token {
                        Ok(token) => self.ahead.push(Placed { token, span }),
                        Err((code, message, help)) => {
                            self.mistake = Some(Box::new(Diagnostic::new(code, span, message).help_if(help)));
                            self.ahead.push(Placed { token: Token::Bad, span });
                            break;
                        }
                    }
                }
            }
        }
        self.at = at;
    }
}

#[cold]
fn unclosed_comment(span: Span) -> Diagnostic {
    Diagnostic::new(Code::UnclosedComment, span, "this comment is never closed").help("end it with */")
}

/// The length of the comment that the text begins with, if it begins with one that is closed.
#[inline(never)]
fn comment(text: &[u8]) -> Option<usize> {
    alt((line_comment, block_comment)).parse(text).ok().map(|(_, comment)| comment.len())
}

#[inline(never)]
fn rarer(begins: Begins, rest: &[u8]) -> Lexed {
    match begins {
        Begins::Number => match small_number(rest) {
            Some((length, token)) => (length, Ok(token)),
            None => number(rest),
        },
        Begins::Text => quoted(rest),
        Begins::Hex => hex(rest),
        _ => strange(rest),
    }
}

type Lexed = (usize, Result<Token, (Code, String, Option<&'static str>)>);

/// A number of a few digits, with a sign or without, that nothing makes a real or hexadecimal one, as most are.
#[inline]
fn small_number(rest: &[u8]) -> Option<(usize, Token)> {
    let unsigned_part = match rest {
        [b'+' | b'-', after @ ..] => after,
        _ => rest,
    };
    let (after, digits) = unsigned(unsigned_part).ok()?;
    if digits.len() >= 19 || matches!(after.first(), Some(b'.' | b'x')) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, digit| value.wrapping_mul(10).wrapping_add((digit - b'0').into()));
    let token = match rest[0] {
        b'+' => Token::Signed(value),
        b'-' => Token::Signed(-value),
        _ => Token::Uint(value as u64),
    };
    Some((rest.len() - after.len(), token))
}

fn number(rest: &[u8]) -> Lexed {
    let too_large = |what: &str, limits: &str| {
        let message = format!("{what} does not fit 64 bits");
        let message = format!("{message}: {limits}");
        Err((Code::NumberTooLarge, message, None))
    };
    if let Ok((_, digits)) = hex_number(rest) {
        let value = digits[2..].iter().try_fold(0u64, |value, digit| {
            let digit = u64::from((*digit as char).to_digit(16).unwrap_or(0));
            value.checked_mul(16)?.checked_add(digit)
        });
        let token = value.map_or_else(
            || too_large("this hexadecimal number", "at most 0xffffffffffffffff"),
            |value| Ok(Token::Uint(value)),
        );
        return (digits.len(), token);
    }
    // Few numbers are real: look for the dot before asking nom about all the parts of one.
    let digits_end = rest.iter().skip(1).position(|byte| !byte.is_ascii_digit()).map_or(rest.len(), |at| at + 1);
    if (rest[0] == b'.' || rest.get(digits_end) == Some(&b'.'))
        && let Ok((_, digits)) = real(rest)
    {
        return (digits.len(), Ok(Token::Real(real_value(digits))));
    }
    if let Ok((_, digits)) = unsigned(rest) {
        let value = decimal(digits).and_then(|value| u64::try_from(value).ok());
        let token = value
            .map_or_else(|| too_large("this number", "at most 18446744073709551615"), |value| Ok(Token::Uint(value)));
        return (digits.len(), token);
    }
    if let Ok((_, digits)) = signed(rest) {
        let value = decimal(&digits[1..]).map(|value| if digits[0] == b'-' { -value } else { value });
        let token = value.and_then(|value| i64::try_from(value).ok()).map_or_else(
            || too_large("this signed number", "from -9223372036854775808 to 9223372036854775807"),
            |value| Ok(Token::Signed(value)),
        );
        return (digits.len(), token);
    }
    match rest[0] {
        b'+' => (
            1,
            Err((
                Code::Character,
                "a plus sign that belongs to no number".to_owned(),
                Some("a sign must touch the digits after it"),
            )),
        ),
        mark => (1, Ok(Token::Mark(mark))),
    }
}

fn decimal(digits: &[u8]) -> Option<i128> {
    digits.iter().try_fold(0i128, |value, digit| value.checked_mul(10)?.checked_add(i128::from(digit - b'0')))
}

/// As Panda3D converts, and not correctly rounded: the value reaches the hash through a modulus (spec 1).
pub(crate) fn real_value(literal: &[u8]) -> f64 {
    let negative = literal.first() == Some(&b'-');
    let mut bytes = literal.iter().copied().skip_while(|byte| matches!(byte, b'+' | b'-'));
    let mut value = 0.0f64;
    let mut factor = 1.0f64;
    let mut in_fraction = false;
    for byte in bytes.by_ref() {
        match byte {
            b'0'..=b'9' if in_fraction => {
                factor *= 0.1;
                value += f64::from(byte - b'0') * factor;
            }
            b'0'..=b'9' => value = value * 10.0 + f64::from(byte - b'0'),
            b'.' => in_fraction = true,
            _ => break,
        }
    }
    let mut exponent = 0.0f64;
    let mut divide = false;
    let mut has_exponent = false;
    for byte in bytes {
        has_exponent = true;
        match byte {
            b'-' => divide = true,
            b'+' => {}
            digit => exponent = exponent * 10.0 + f64::from(digit - b'0'),
        }
    }
    if has_exponent {
        let power = 10f64.powf(exponent);
        value = if divide { value / power } else { value * power };
    }
    if negative { -value } else { value }
}

fn quoted(rest: &[u8]) -> Lexed {
    if let Ok((_, found)) = text(rest) {
        return (found.len(), Ok(Token::Text));
    }
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let message = "this quoted text is not closed on its line".to_owned();
    (line.max(1), Err((Code::UnclosedText, message, Some("write a newline inside text as \\n"))))
}

fn hex(rest: &[u8]) -> Lexed {
    let refuse = |length: usize, message: &str| {
        let help = Some("hex bytes are pairs of hex digits without blanks, such as <00ff>");
        (length, Err((Code::MalformedHex, message.to_owned(), help)))
    };
    match hex_bytes(rest) {
        Ok((_, found)) if found.len() % 2 == 0 => (found.len(), Ok(Token::Hex)),
        Ok((_, found)) => refuse(found.len(), "an odd number of hex digits"),
        Err(_) => {
            // Up to the bracket that was meant to close it, so that one mistake gives one message.
            let stop = |byte: &u8| matches!(byte, b'>' | b'\n' | b';');
            let end = rest.iter().position(stop).unwrap_or(rest.len());
            let closed = rest.get(end) == Some(&b'>');
            refuse(end + usize::from(closed), "hex bytes that are not closed or hold something else")
        }
    }
}

fn strange(rest: &[u8]) -> Lexed {
    if rest.starts_with(b"\xef\xbb\xbf") {
        let message = "a byte order mark is no token".to_owned();
        return (3, Err((Code::Character, message, Some("save the file without a byte order mark"))));
    }
    let is_strange = |byte: &&u8| !is_blank(**byte) && !(b' '..0x7f).contains(*byte);
    let run = rest.iter().take_while(is_strange).count().max(1);
    let message = match rest[0] {
        byte @ 0x21..=0x7e => format!("the character {:?} starts no token", byte as char),
        byte => format!("the byte {byte:#04x} may stand only in quoted text and comments"),
    };
    (run, Err((Code::Character, message, None)))
}

/// The bytes that a text token stands for.
pub(crate) fn decode_text(token: &[u8]) -> Vec<u8> {
    let inner = &token[1..token.len() - 1];
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while at < inner.len() {
        if inner[at] != b'\\' {
            out.push(inner[at]);
            at += 1;
            continue;
        }
        let escaped = inner.get(at + 1).copied().unwrap_or(b'\\');
        at += 2;
        let (byte, used) = match escaped {
            b'a' => (0x07, 0),
            b'n' => (b'\n', 0),
            b'r' => (b'\r', 0),
            b't' => (b'\t', 0),
            b'x' => digits(&inner[at.min(inner.len())..], 16, 2, |byte| byte.is_ascii_hexdigit()),
            b'0' => digits(&inner[at.min(inner.len())..], 8, 3, |byte| matches!(byte, b'0'..=b'6')),
            b'1'..=b'9' => digits(&inner[at.min(inner.len())..], 10, 3, |byte| byte.is_ascii_digit()),
            other => (other, 0),
        };
        out.push(byte);
        at += used;
    }
    out
}

fn digits(rest: &[u8], base: u32, most: usize, is_digit: impl Fn(u8) -> bool) -> (u8, usize) {
    let used = rest.iter().take(most).take_while(|byte| is_digit(**byte)).count();
    let value = rest[..used].iter().fold(0, |value, digit| value * base + (*digit as char).to_digit(16).unwrap_or(0));
    (value as u8, used)
}

pub(crate) fn decode_hex(token: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    token[1..token.len() - 1].chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
