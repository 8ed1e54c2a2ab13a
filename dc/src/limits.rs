//! Our own limits, where the language has none. Each refuses a contract that no real world needs, so that neither
//! a file nor a value can make this crate recurse without bound or allocate more than a stated amount.

/// Bytes of one source. Real contracts stay below one megabyte.
pub const SOURCE_BYTES_MAX: usize = 64 << 20;
/// Levels of types inside types, and of brackets inside brackets: what every recursive walk here is bounded by.
pub const NESTING_MAX: u16 = 100;
/// Items that one `value * count` may stand for.
pub const REPETITION_MAX: u64 = 1 << 20;
/// Bytes and items of the default of one type. It bounds fixed array sizes as well: the default has every element.
pub const DEFAULT_WEIGHT_MAX: u64 = 1 << 20;
/// The same for all defaults of a contract together, since all are kept packed.
pub const DEFAULT_WEIGHT_TOTAL_MAX: u64 = 64 << 20;
/// Bytes that one packed value may have.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Items that one unpacked value may have.
pub const VALUE_ITEMS_MAX: usize = 8 << 20;
/// Members in all cases of one switch: members fall through into every open case, which is quadratic.
pub const SWITCH_MEMBERS_MAX: usize = 1 << 16;
/// Fields and bases that all classes together inherit: a chain of classes repeats them, which is quadratic.
pub const INHERITED_MAX: usize = 4 << 20;
/// Classes and structs, and fields: their numbers travel in 16 bits. 65,535 is kept free to mean "no number".
pub const NUMBERS_MAX: usize = 65_535;
/// Errors reported in one run; after that the rest is noise.
pub const DIAGNOSTICS_MAX: usize = 100;

const _: () = assert!(SOURCE_BYTES_MAX < u32::MAX as usize, "spans hold 32-bit offsets");
const _: () = assert!(NUMBERS_MAX <= u16::MAX as usize, "a number must fit 16 bits and leave 65,535 free");
const _: () = assert!(DEFAULT_WEIGHT_MAX < u32::MAX as u64, "a fixed array within the limit has a 32-bit size");
