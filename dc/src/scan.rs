//! How far a run of blanks or a name goes, found eight bytes at a look: one branch per look instead of one per byte,
//! which a processor would guess wrongly at the end of many a word.
//!
//! Decides: which bytes are blank, and which a name may hold. Never decides what a run means.

const LOOK: usize = 8;

/// Every byte of a word of eight.
const fn every(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; LOOK])
}

const HIGH: u64 = every(0x80);

/// The high bit of each byte from the first to the last one; the others are of no meaning. All bytes are below 0x80, and
/// so are these, so that nothing is carried from one byte to the next.
#[inline]
const fn between(bytes: u64, first: u8, last: u8) -> u64 {
    bytes.wrapping_add(every(0x80 - first)) & !bytes.wrapping_add(every(0x7f - last))
}

/// The high bit of each byte that is no blank, and nothing else.
#[inline]
const fn not_blank(bytes: u64) -> u64 {
    let low = bytes & !HIGH;
    let blank = between(low, b' ', b' ') | between(low, b'\t', b'\n') | between(low, b'\r', b'\r');
    (!blank | bytes) & HIGH
}

/// The high bit of each byte that no name holds, and nothing else.
#[inline]
const fn not_in_name(bytes: u64) -> u64 {
    let low = bytes & !HIGH;
    let name = between(low | every(0x20), b'a', b'z') | between(low, b'0', b'9') | between(low, b'_', b'_');
    (!name | bytes) & HIGH
}

pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(crate) const fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many blanks the text begins with.
#[inline]
pub(crate) fn blanks(text: &[u8]) -> usize {
    // Between most tokens there is one, or none.
    match text {
        [first, ..] if !is_blank(*first) => 0,
        [_, second, ..] if !is_blank(*second) => 1,
        _ => run(text, not_blank, is_blank),
    }
}

/// How many bytes of a name the text begins with.
#[inline]
pub(crate) fn name(text: &[u8]) -> usize {
    run(text, not_in_name, is_in_name)
}

/// Up to the first byte that is none of these.
#[inline]
fn run(text: &[u8], others: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> usize {
    let mut rest = text;
    while let Some((look, after)) = rest.split_first_chunk::<LOOK>() {
        let others = others(u64::from_le_bytes(*look));
        if others != 0 {
            return text.len() - rest.len() + others.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    text.len() - rest.len() + rest.iter().take_while(|byte| is(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of every length up to forty, ended by every byte and followed by more of the run.
    fn every_run_ends_where(scan: fn(&[u8]) -> usize, is: fn(u8) -> bool) {
        let members: Vec<u8> = (0..=255).filter(|byte| is(*byte)).collect();
        for length in 0..40 {
            for end in 0..=255u8 {
                let run = members.iter().cycle().skip(usize::from(end)).take(length).copied();
                let text: Vec<u8> = run.chain([end]).chain(members.iter().copied().take(20)).collect();
                let expected = text.iter().take_while(|byte| is(**byte)).count();
                assert_eq!(scan(&text), expected, "{length} bytes before {end:#04x}");
                let expected = expected.min(length);
                assert_eq!(scan(&text[..length]), expected, "{length} bytes before the end");
            }
        }
    }

    #[test]
    fn blanks_end_where_the_first_other_byte_stands() {
        every_run_ends_where(blanks, is_blank);
    }

    #[test]
    fn names_end_where_the_first_other_byte_stands() {
        every_run_ends_where(name, is_in_name);
    }
}
