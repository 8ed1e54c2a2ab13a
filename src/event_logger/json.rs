//! One packet to one line of JSON (`protocol-md-ca-el.md` §4.2, column REC, and §4.3).
//!
//! Pure. Packets are hostile: depth and size of what they become are bounded, every length is checked against the
//! bytes that are there, and a refused packet leaves nothing behind. It never decides where a line goes.

use rmp::Marker;
use std::fmt::Write as _;

/// Containers within containers, the packet's own map included.
pub const DEPTH_MAX: usize = 64;
/// Bytes of a line without its newline. The largest UDP packet (65,507 bytes) stays below it however it is escaped
/// once: six characters for a byte. Only keys that are containers themselves can go beyond, as they are quoted at
/// every level.
pub const LINE_BYTES_MAX: usize = 512 * 1024;

const _: () = assert!(LINE_BYTES_MAX > 6 * 65_507 + 1024);

/// Why a packet adds no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the packet is empty or ends inside a value")]
    Truncated,
    #[error("bytes follow the value")]
    Trailing,
    #[error("the value is not a map")]
    NotAMap,
    #[error("0xc1 is no MessagePack value")]
    Invalid,
    #[error("more than {DEPTH_MAX} containers within each other")]
    TooDeep,
    #[error("the line would be longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

/// The line of a packet, without a newline: `_time` first, then the packet's members in their order.
///
/// # Errors
/// [`Refusal`], if the packet is not exactly one MessagePack map within the limits.
pub fn line(packet: &[u8], time: &str) -> Result<String, Refusal> {
    let mut input = Input { bytes: packet };
    let members = match input.marker()? {
        Marker::FixMap(length) => length.into(),
        Marker::Map16 => input.number::<2>()? as u32,
        Marker::Map32 => input.number::<4>()? as u32,
        Marker::Reserved => return Err(Refusal::Invalid),
        _ => return Err(Refusal::NotAMap),
    };
    let mut out = String::with_capacity(packet.len() + packet.len() / 4 + 64);
    out.push_str("{\"_time\": ");
    quote(time.as_bytes(), &mut out)?;
    if members > 0 {
        out.push_str(", ");
    }
    members_of_map(&mut input, members, 1, &mut out)?;
    out.push('}');
    if !input.bytes.is_empty() {
        return Err(Refusal::Trailing);
    }
    Ok(out)
}

struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Refusal::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn marker(&mut self) -> Result<Marker, Refusal> {
        Ok(Marker::from_u8(self.take(1)?[0]))
    }

    /// An unsigned big-endian number of `N` bytes.
    fn number<const N: usize>(&mut self) -> Result<u64, Refusal> {
        Ok(self.take(N)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A signed big-endian number of `N` bytes.
    fn signed<const N: usize>(&mut self) -> Result<i64, Refusal> {
        let unused_bits = 64 - 8 * N as u32;
        Ok((self.number::<N>()? << unused_bits) as i64 >> unused_bits)
    }
}

fn members_of_map(input: &mut Input<'_>, members: u32, depth: usize, out: &mut String) -> Result<(), Refusal> {
    for member in 0..members {
        if member > 0 {
            out.push_str(", ");
        }
        key(input, depth, out)?;
        out.push_str(": ");
        value(input, depth, out)?;
    }
    Ok(())
}

/// A key is a string in JSON: what is none is written as the text of its value.
fn key(input: &mut Input<'_>, depth: usize, out: &mut String) -> Result<(), Refusal> {
    let start = out.len();
    value(input, depth, out)?;
    if !out[start..].starts_with('"') {
        let text = out.split_off(start);
        quote(text.as_bytes(), out)?;
    }
    Ok(())
}

/// `depth` is that of the container around the value.
fn value(input: &mut Input<'_>, depth: usize, out: &mut String) -> Result<(), Refusal> {
    match input.marker()? {
        Marker::Null => out.push_str("null"),
        Marker::True => out.push_str("true"),
        Marker::False => out.push_str("false"),
        Marker::FixPos(number) => show(number, out),
        Marker::FixNeg(number) => show(number, out),
        Marker::U8 => show(input.number::<1>()?, out),
        Marker::U16 => show(input.number::<2>()?, out),
        Marker::U32 => show(input.number::<4>()?, out),
        Marker::U64 => show(input.number::<8>()?, out),
        Marker::I8 => show(input.signed::<1>()?, out),
        Marker::I16 => show(input.signed::<2>()?, out),
        Marker::I32 => show(input.signed::<4>()?, out),
        Marker::I64 => show(input.signed::<8>()?, out),
        // serde_json writes the shortest decimal that reads back as the same number, and null for NaN and infinities.
        Marker::F32 => show_float(serde_json::to_string(&f32::from_bits(input.number::<4>()? as u32)), out),
        Marker::F64 => show_float(serde_json::to_string(&f64::from_bits(input.number::<8>()?)), out),
        Marker::FixStr(length) => quote(input.take(length.into())?, out)?,
        Marker::Str8 | Marker::Bin8 => sized_text::<1>(input, out)?,
        Marker::Str16 | Marker::Bin16 => sized_text::<2>(input, out)?,
        Marker::Str32 | Marker::Bin32 => sized_text::<4>(input, out)?,
        Marker::FixArray(length) => array(input, length.into(), depth, out)?,
        Marker::Array16 => {
            let length = input.number::<2>()?;
            array(input, length as u32, depth, out)?;
        }
        Marker::Array32 => {
            let length = input.number::<4>()?;
            array(input, length as u32, depth, out)?;
        }
        Marker::FixMap(length) => map(input, length.into(), depth, out)?,
        Marker::Map16 => {
            let length = input.number::<2>()?;
            map(input, length as u32, depth, out)?;
        }
        Marker::Map32 => {
            let length = input.number::<4>()?;
            map(input, length as u32, depth, out)?;
        }
        Marker::FixExt1 => extension(input, 1, out)?,
        Marker::FixExt2 => extension(input, 2, out)?,
        Marker::FixExt4 => extension(input, 4, out)?,
        Marker::FixExt8 => extension(input, 8, out)?,
        Marker::FixExt16 => extension(input, 16, out)?,
        Marker::Ext8 => {
            let length = input.number::<1>()?;
            extension(input, length as usize, out)?;
        }
        Marker::Ext16 => {
            let length = input.number::<2>()?;
            extension(input, length as usize, out)?;
        }
        Marker::Ext32 => {
            let length = input.number::<4>()?;
            extension(input, length as usize, out)?;
        }
        Marker::Reserved => return Err(Refusal::Invalid),
    }
    check_length(out)
}

fn check_length(out: &str) -> Result<(), Refusal> {
    if out.len() > LINE_BYTES_MAX { Err(Refusal::TooLong) } else { Ok(()) }
}

fn show(number: impl std::fmt::Display, out: &mut String) {
    // Writing to a String does not fail.
    let _ = write!(out, "{number}");
}

fn show_float(text: serde_json::Result<String>, out: &mut String) {
    out.push_str(text.as_deref().unwrap_or("null"));
}

fn sized_text<const N: usize>(input: &mut Input<'_>, out: &mut String) -> Result<(), Refusal> {
    let length = input.number::<N>()?;
    quote(input.take(length as usize)?, out)
}

fn deeper(depth: usize) -> Result<usize, Refusal> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Refusal::TooDeep) }
}

fn array(input: &mut Input<'_>, length: u32, depth: usize, out: &mut String) -> Result<(), Refusal> {
    let depth = deeper(depth)?;
    out.push('[');
    for index in 0..length {
        if index > 0 {
            out.push_str(", ");
        }
        value(input, depth, out)?;
    }
    out.push(']');
    Ok(())
}

fn map(input: &mut Input<'_>, members: u32, depth: usize, out: &mut String) -> Result<(), Refusal> {
    let depth = deeper(depth)?;
    out.push('{');
    members_of_map(input, members, depth, out)?;
    out.push('}');
    Ok(())
}

fn extension(input: &mut Input<'_>, length: usize, out: &mut String) -> Result<(), Refusal> {
    let kind = input.signed::<1>()?;
    let _ = write!(out, "{{\"ext\": {kind}, \"data\": ");
    quote(input.take(length)?, out)?;
    out.push('}');
    Ok(())
}

/// A JSON string: valid UTF-8 stays, any other byte becomes `\u00NN`. Nothing that some reader of lines takes for the
/// end of a line (NEL, LS and PS too) is left in it.
fn quote(bytes: &[u8], out: &mut String) -> Result<(), Refusal> {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\u{8}' => out.push_str("\\b"),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\u{c}' => out.push_str("\\f"),
                '\r' => out.push_str("\\r"),
                '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                _ => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\u00{byte:02x}");
        }
        check_length(out)?;
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(packet: &[u8]) -> Result<String, Refusal> {
        let line = line(packet, "T")?;
        assert!(!line.contains('\n'), "{line}");
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("the line is JSON");
        assert!(parsed.get("_time").is_some());
        Ok(line)
    }

    /// A map with the one member `"v"`.
    fn member(value: &[u8]) -> Vec<u8> {
        [b"\x81\xa1v", value].concat()
    }

    #[test]
    fn the_example_of_the_specification() {
        let packet = b"\x82\xa4type\xa3foo\xa3bar\xa3baz";
        assert_eq!(
            line(packet, "2026-11-22 08:33:34+0000").expect("valid"),
            r#"{"_time": "2026-11-22 08:33:34+0000", "type": "foo", "bar": "baz"}"#
        );
    }

    /// The table of §4.2, row by row.
    #[test]
    fn every_type_of_value() {
        let cases: &[(&[u8], &str)] = &[
            (b"\xc0", "null"),
            (b"\xc2", "false"),
            (b"\xc3", "true"),
            (b"\x7f", "127"),
            (b"\xe0", "-32"),
            (b"\xcc\xc8", "200"),
            (b"\xcd\x01\x00", "256"),
            (b"\xce\xff\xff\xff\xff", "4294967295"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xd0\x80", "-128"),
            (b"\xd1\x80\x00", "-32768"),
            (b"\xd2\x80\x00\x00\x00", "-2147483648"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
            (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
            (b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e+308"),
            (b"\xca\x7f\xc0\x00\x00", "null"),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xa3a\"\\", r#""a\"\\""#),
            (b"\xd9\x02\x08\x0c", r#""\b\f""#),
            (b"\xda\x00\x03\t\n\r", r#""\t\n\r""#),
            (b"\xdb\x00\x00\x00\x02\x01\x7f", r#""\u0001\u007f""#),
            (b"\xa2\xc3\xa9", "\"\u{e9}\""),
            (b"\xa3\xff\xc3x", r#""\u00ff\u00c3x""#),
            (b"\xa3\xe2\x80\xa8", r#""\u2028""#),
            (b"\xa2\xc2\x85", r#""\u0085""#),
            (b"\xc4\x02\x80A", r#""\u0080A""#),
            (b"\xc5\x00\x01A", r#""A""#),
            (b"\xc6\x00\x00\x00\x01A", r#""A""#),
            (b"\x90", "[]"),
            (b"\x92\x01\xa1b", r#"[1, "b"]"#),
            (b"\xdc\x00\x01\x01", "[1]"),
            (b"\xdd\x00\x00\x00\x01\x01", "[1]"),
            (b"\x80", "{}"),
            (b"\x82\xa1k\x01\x05\x02", r#"{"k": 1, "5": 2}"#),
            (b"\x82\xc0\x01\xc3\x02", r#"{"null": 1, "true": 2}"#),
            (b"\x81\x92\x01\xa1b\x02", r#"{"[1, \"b\"]": 2}"#),
            (b"\xde\x00\x01\xa1k\x01", r#"{"k": 1}"#),
            (b"\xdf\x00\x00\x00\x01\xa1k\x01", r#"{"k": 1}"#),
            (b"\xd4\xff\x41", r#"{"ext": -1, "data": "A"}"#),
            (b"\xd5\x01AB", r#"{"ext": 1, "data": "AB"}"#),
            (b"\xc7\x00\x07", r#"{"ext": 7, "data": ""}"#),
            (b"\xc8\x00\x01\x07A", r#"{"ext": 7, "data": "A"}"#),
            (b"\xc9\x00\x00\x00\x01\x07A", r#"{"ext": 7, "data": "A"}"#),
        ];
        for (bytes, expected) in cases {
            assert_eq!(of(&member(bytes)), Ok(format!(r#"{{"_time": "T", "v": {expected}}}"#)), "{bytes:02x?}");
        }
    }

    #[test]
    fn an_empty_map_has_no_trailing_comma() {
        assert_eq!(of(b"\x80").as_deref(), Ok(r#"{"_time": "T"}"#));
    }

    #[test]
    fn a_packets_own_time_is_kept_as_a_second_member() {
        assert_eq!(of(b"\x81\xa5_time\x01").as_deref(), Ok(r#"{"_time": "T", "_time": 1}"#));
    }

    #[test]
    fn el_2_what_is_no_map_is_refused() {
        for packet in [&b"\x7b"[..], b"\x93\x01\x02\x03", b"\xa1a", b"\xc0", b"\xcb\0\0\0\0\0\0\0\0"] {
            assert_eq!(of(packet), Err(Refusal::NotAMap), "{packet:02x?}");
        }
        assert_eq!(of(b"\xc1"), Err(Refusal::Invalid));
        assert_eq!(of(&member(b"\xc1")), Err(Refusal::Invalid));
    }

    #[test]
    fn el_3_bytes_after_the_value_are_refused() {
        assert_eq!(of(b"\x81\xa1v\x01\x00"), Err(Refusal::Trailing));
        assert_eq!(of(b"\x80\x80"), Err(Refusal::Trailing));
        assert_eq!(of(b"123"), Err(Refusal::NotAMap));
    }

    #[test]
    fn el_4_every_truncation_is_refused() {
        let packet = b"\x83\xa1a\xcd\x01\x00\xda\x00\x01b\x92\xca\0\0\0\0\xc7\x02\x01AB\xa1c\x81\xa1d\xc0";
        assert!(of(packet).is_ok());
        for length in 0..packet.len() {
            assert_eq!(of(&packet[..length]), Err(Refusal::Truncated), "{length}");
        }
        assert_eq!(of(b"\xdf\xff\xff\xff\xff\xa1a\x01"), Err(Refusal::Truncated));
        assert_eq!(of(&member(b"\xdb\xff\xff\xff\xffx")), Err(Refusal::Truncated));
    }

    #[test]
    fn el_8_many_keys_and_long_strings_are_accepted() {
        let mut packet = vec![0xde, 0, 100];
        for index in 0..100 {
            packet.push(0xa4);
            packet.extend_from_slice(format!("k{index:03}").as_bytes());
            packet.extend_from_slice(&[0xda, 0, 40]);
            packet.extend_from_slice(&[b'x'; 40]);
        }
        let line = of(&packet).expect("valid");
        assert_eq!(line.matches(&"x".repeat(40)).count(), 100);
    }

    #[test]
    fn el_9_the_largest_packet_is_accepted_however_it_is_escaped() {
        let length = 65_507 - 6;
        let mut packet = member(&[0xda, (length >> 8) as u8, length as u8]);
        packet.resize(65_507, 0xff);
        let line = of(&packet).expect("valid");
        assert_eq!(line.matches("\\u00ff").count(), length);
    }

    #[test]
    fn el_10_newlines_never_split_a_line() {
        let line = of(b"\x81\xa3a\nb\xa3\r\n\x0b").expect("valid");
        assert_eq!(line, r#"{"_time": "T", "a\nb": "\r\n\u000b"}"#);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |containers: usize| [vec![0x81, 0xa1, b'v'], vec![0x91; containers], vec![0xc0]].concat();
        assert!(of(&nested(DEPTH_MAX - 1)).is_ok());
        assert_eq!(of(&nested(DEPTH_MAX)), Err(Refusal::TooDeep));
        assert_eq!(of(&nested(60_000)), Err(Refusal::TooDeep));
    }

    /// Each level of quoting doubles the backslashes of the one before.
    #[test]
    fn keys_within_keys_cannot_blow_up() {
        let mut packet = vec![0x81; DEPTH_MAX - 1];
        packet.extend_from_slice(b"\xa1\"\xc0");
        packet.extend(std::iter::repeat_n(0xc0, DEPTH_MAX - 2));
        assert_eq!(of(&packet), Err(Refusal::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_give_json_or_a_refusal(tail in proptest::collection::vec(any::<u8>(), 0..300), members in 0_u8..16) {
            let _ = of(&[vec![0x80 | members], tail.clone()].concat());
            let _ = of(&tail);
        }

        #[test]
        fn strings_come_back(text in "\\PC{0,200}|[\\x00-\\x20\\u{7f}-\\u{a0}\\u{2028}\"\\\\]{0,40}") {
            let mut value = vec![0xda, (text.len() >> 8) as u8, text.len() as u8];
            value.extend_from_slice(text.as_bytes());
            let parsed: serde_json::Value = serde_json::from_str(&of(&member(&value)).expect("valid")).expect("JSON");
            prop_assert_eq!(parsed["v"].as_str(), Some(text.as_str()));
        }
    }
}
