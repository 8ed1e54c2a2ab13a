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
use nom::bytes::complete::{tag, take_until, take_while, take_while1};
use nom::character::complete::{digit0, digit1, one_of};
use nom::combinator::{opt, recognize};
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
    recognize((tag("//"), take_while(|byte| byte != b'\n'))).parse(input)
}

fn block_comment(input: &[u8]) -> Scan<'_> {
    recognize((tag("/*"), take_until("*/"), tag("*/"))).parse(input)
}

/// What a byte begins where a token may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    Nothing,
    Blank,
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
            b' ' | b'\t' | b'\r' | b'\n' => Begins::Blank,
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

#[inline]
fn name(input: &[u8]) -> Scan<'_> {
    take_while1(|byte: u8| IN_NAME[usize::from(byte)]).parse(input)
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

pub(crate) struct Lexer<'a> {
    file: u32,
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(file: u32, text: &'a [u8]) -> Self {
        Lexer { file, text, at: 0 }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    pub fn slice(&self, span: Span) -> &'a [u8] {
        &self.text[span.start as usize..span.end as usize]
    }

    /// No token follows.
    pub fn finish(&mut self) {
        self.at = self.text.len();
    }

    /// The next token and its place; a mistake is told to `report` and yields [`Token::Bad`].
    #[inline]
    pub fn next(&mut self, names: &mut Names, report: &mut impl FnMut(Diagnostic)) -> (Token, Span) {
        loop {
            let start = self.at;
            let Some(first) = self.text.get(start) else {
                return (Token::End, self.span(start, start));
            };
            let token = match BEGINS[usize::from(*first)] {
                Begins::Blank => {
                    self.at += 1;
                    continue;
                }
                Begins::Word => self.word(names),
                Begins::Mark => {
                    self.at += 1;
                    Token::Mark(*first)
                }
                Begins::Slash if matches!(self.text.get(start + 1), Some(b'/' | b'*')) => {
                    self.comment(report);
                    continue;
                }
                Begins::Slash => {
                    self.at += 1;
                    Token::Mark(b'/')
                }
                begins => self.rarer(begins, report),
            };
            return (token, self.span(start, self.at));
        }
    }

    #[inline]
    fn word(&mut self, names: &mut Names) -> Token {
        let rest = &self.text[self.at..];
        let length = name(rest).map_or(1, |(_, found)| found.len());
        self.at += length;
        let symbol = names.intern(rest, length);
        match Names::kind(symbol) {
            WordKind::Name => Token::Name(symbol),
            WordKind::Word(word) => Token::Word(word),
            WordKind::Type(simple) => Token::Type(simple),
        }
    }

    /// Past a comment; past the end of the text if it is never closed.
    fn comment(&mut self, report: &mut impl FnMut(Diagnostic)) {
        let rest = &self.text[self.at..];
        match alt((line_comment, block_comment)).parse(rest) {
            Ok((_, comment)) => self.at += comment.len(),
            Err(_) => {
                let span = self.span(self.at, self.at + 2);
                let unclosed = Diagnostic::new(Code::UnclosedComment, span, "this comment is never closed");
                report(unclosed.help("end it with */"));
                self.finish();
            }
        }
    }

    fn rarer(&mut self, begins: Begins, report: &mut impl FnMut(Diagnostic)) -> Token {
        let start = self.at;
        let rest = &self.text[start..];
        let (length, token) = match begins {
            Begins::Number => number(rest),
            Begins::Text => quoted(rest),
            Begins::Hex => hex(rest),
            _ => strange(rest),
        };
        self.at += length;
        token.unwrap_or_else(|(code, message, help)| {
            report(Diagnostic::new(code, self.span(start, self.at), message).help_if(help));
            Token::Bad
        })
    }
}

type Lexed = (usize, Result<Token, (Code, String, Option<&'static str>)>);

fn number(rest: &[u8]) -> Lexed {
    let too_large = |what: &str, limits: &str| {
        let message = format!("{what} does not fit 64 bits");
        let message = format!("{message}: {limits}");
        Err((Code::NumberTooLarge, message, None))
    };
    // Most numbers are a few digits and nothing else.
    if let Ok((after, digits)) = unsigned(rest)
        && !matches!(after.first(), Some(b'.' | b'x'))
        && digits.len() < 19
    {
        let value = digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        return (digits.len(), Ok(Token::Uint(value)));
    }
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
    let is_strange =
        |byte: &&u8| !(**byte == b'\t' || **byte == b'\n' || **byte == b'\r' || (b' '..0x7f).contains(*byte));
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
