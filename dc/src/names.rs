//! Names, each kept once, all in one text, and compared as numbers.
//!
//! Decides: which words are reserved or historical keywords (by their place at the front of the table). Never decides
//! whether a name may stand somewhere: that is the parser's.

use crate::slots::{Slots, Table};
use hashbrown::DefaultHashBuilder;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Symbol(pub u32);

/// The nine keywords that need no declaration, in the order of their bits.
pub(crate) const HISTORICAL: [&str; 9] =
    ["required", "broadcast", "ownrecv", "ram", "db", "clsend", "clrecv", "ownsend", "airecv"];

/// Reserved words: first those of declarations, then the type names in the order of [`crate::simple::Simple::ALL`].
pub(crate) const DECLARATION_WORDS: [&str; 10] =
    ["dclass", "struct", "from", "import", "keyword", "typedef", "switch", "case", "default", "break"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Dclass,
    Struct,
    From,
    Import,
    Keyword,
    Typedef,
    Switch,
    Case,
    Default,
    Break,
}

const WORDS: [Word; 10] = [
    Word::Dclass,
    Word::Struct,
    Word::From,
    Word::Import,
    Word::Keyword,
    Word::Typedef,
    Word::Switch,
    Word::Case,
    Word::Default,
    Word::Break,
];

const FIRST_WORD: u32 = HISTORICAL.len() as u32;
const FIRST_TYPE: u32 = FIRST_WORD + DECLARATION_WORDS.len() as u32;
const FIRST_FREE: u32 = FIRST_TYPE + crate::simple::Simple::ALL.len() as u32;

/// What a word of the text is before anything was declared.
pub(crate) enum WordKind {
    Name,
    Word(Word),
    Type(crate::simple::Simple),
}

/// Every table of names begins with these.
static RESERVED: LazyLock<Names> = LazyLock::new(|| {
    let mut slots = Slots::default();
    let table = slots.table(FIRST_FREE as usize + 1);
    let mut names = Names {
        slots,
        table,
        keys: Vec::new(),
        text: Text::Growing(Vec::new()),
        ends: vec![0],
        hasher: Default::default(),
    };
    let types = crate::simple::Simple::ALL.iter().map(|simple| simple.name());
    for text in HISTORICAL.into_iter().chain(DECLARATION_WORDS).chain(types) {
        names.intern(text.as_bytes(), text.len());
    }
    let empty = names.intern(b"", 0);
    assert_eq!(empty, Symbol::EMPTY);
    names
});

#[derive(Clone)]
pub(crate) struct Names {
    /// Symbols, by their keys.
    slots: Slots,
    table: Table,
    keys: Vec<Key>,
    /// All names, one behind the other.
    text: Text,
    /// Where each ends in it, which is where the next begins; the first is a 0 in front of them.
    ends: Vec<u32>,
    hasher: DefaultHashBuilder,
}

/// ASCII alone. To tell a reader of strings so costs more than to add a name, and is done once for all of them.
#[derive(Clone)]
enum Text {
    Growing(Vec<u8>),
    Whole(String),
}

impl Text {
    fn len(&self) -> usize {
        self.bytes().len()
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Text::Growing(bytes) => bytes,
            Text::Whole(text) => text.as_bytes(),
        }
    }

    fn growing(&mut self) -> &mut Vec<u8> {
        if let Text::Whole(text) = self {
            *self = Text::Growing(std::mem::take(text).into_bytes());
        }
        match self {
            Text::Growing(bytes) => bytes,
            Text::Whole(_) => unreachable!("made to grow above"),
        }
    }

    fn settle(&mut self) {
        if let Text::Growing(bytes) = self {
            *self = Text::Whole(String::from_utf8(std::mem::take(bytes)).expect("words are ASCII"));
        }
    }

    #[inline]
    fn get(&self, range: Range<usize>) -> &str {
        match self {
            Text::Growing(bytes) => std::str::from_utf8(&bytes[range]).expect("a word is ASCII"),
            Text::Whole(text) => &text[range],
        }
    }
}

/// What a name is found by. Most names are short enough to be their own key: their bytes, and zeros behind them, which
/// no name holds. A longer one has its hash and a bit that no ASCII text sets, and must then be compared itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(u64, u64);

const SHORT_MAX: usize = 16;
const LONG: u64 = 1 << 63;

/// The bits of the first so many bytes.
const FIRST_BYTES: [u128; SHORT_MAX + 1] = {
    let mut masks = [0; SHORT_MAX + 1];
    let mut length = 1;
    while length <= SHORT_MAX {
        masks[length] = masks[length - 1] << 8 | 0xff;
        length += 1;
    }
    masks
};

impl Key {
    /// Of the first bytes of a text.
    #[inline]
    fn new(text: &[u8], length: usize, hasher: &DefaultHashBuilder) -> Key {
        if length > SHORT_MAX {
            return Key(hasher.hash_one(&text[..length]), LONG | length as u64);
        }
        let bytes = match text.first_chunk::<SHORT_MAX>() {
            Some(chunk) => u128::from_le_bytes(*chunk),
            None => text.iter().rev().fold(0, |bytes, byte| bytes << 8 | u128::from(*byte)),
        };
        let name = bytes & FIRST_BYTES[length];
        Key(name as u64, (name >> 64) as u64)
    }

    #[inline]
    fn is_long(self) -> bool {
        self.1 & LONG != 0
    }

    #[inline]
    fn hash(self, hasher: &DefaultHashBuilder) -> u32 {
        let mut state = hasher.build_hasher();
        state.write_u64(self.0);
        state.write_u64(self.1);
        state.finish() as u32
    }
}

/// A set of symbols, one bit for each.
#[derive(Default)]
pub(crate) struct SymbolSet(Vec<u64>);

impl SymbolSet {
    fn place(symbol: Symbol) -> (usize, u64) {
        (symbol.0 as usize / 64, 1 << (symbol.0 % 64))
    }

    #[inline]
    pub fn contains(&self, symbol: Symbol) -> bool {
        let (word, bit) = SymbolSet::place(symbol);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Whether it was not there before.
    pub fn insert(&mut self, symbol: Symbol) -> bool {
        let (word, bit) = SymbolSet::place(symbol);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

impl Symbol {
    /// The name of what has none.
    pub const EMPTY: Symbol = Symbol(FIRST_FREE);

    pub fn is_empty(self) -> bool {
        self == Symbol::EMPTY
    }
}

impl Names {
    /// With room for so many beside the words that it begins with.
    pub fn new(capacity: usize) -> Self {
        let mut names = RESERVED.clone();
        names.reserve(capacity);
        names
    }

    fn reserve(&mut self, capacity: usize) {
        const USUAL_LENGTH: usize = 12;
        self.text.growing().reserve(capacity * USUAL_LENGTH);
        self.ends.reserve(capacity);
        self.keys.reserve(capacity);
        self.make_table(self.keys.len() + capacity);
    }

    fn make_table(&mut self, capacity: usize) {
        self.slots = Slots::default();
        self.table = self.slots.table(capacity);
        for (index, key) in self.keys.iter().enumerate() {
            self.slots.insert(self.table, key.hash(&self.hasher), index as u32);
        }
    }

    /// The number of the word that a text begins with and that has so many bytes, all of them ASCII.
    #[inline]
    pub fn intern(&mut self, text: &[u8], length: usize) -> Symbol {
        let key = Key::new(text, length, &self.hasher);
        match self.lookup(key, &text[..length]) {
            Some(symbol) => symbol,
            None => self.add(&text[..length], key),
        }
    }

    #[inline]
    fn lookup(&self, key: Key, name: &[u8]) -> Option<Symbol> {
        let is =
            |symbol: u32| self.keys[symbol as usize] == key && (!key.is_long() || self.bytes(Symbol(symbol)) == name);
        self.slots.find(self.table, key.hash(&self.hasher), is).map(Symbol)
    }

    #[inline(never)]
    fn add(&mut self, name: &[u8], key: Key) -> Symbol {
        let symbol = Symbol(self.keys.len() as u32);
        self.text.growing().extend_from_slice(name);
        // A source has less than 4 GiB, and there may be several: beyond that there are no more names.
        self.ends.push(u32::try_from(self.text.len()).expect("all names together have less than 4 GiB"));
        self.keys.push(key);
        if self.keys.len() > self.table.capacity() {
            self.make_table(2 * self.keys.len());
        } else {
            self.slots.insert(self.table, key.hash(&self.hasher), symbol.0);
        }
        symbol
    }

    /// The number of a name that is there.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Symbol> {
        let found = self.lookup(Key::new(name.as_bytes(), name.len(), &self.hasher), name.as_bytes());
        // What is asked for may hold zeros, which a short key does not tell from nothing.
        found.filter(|symbol| self.text(*symbol) == name)
    }

    #[inline]
    pub fn text(&self, symbol: Symbol) -> &str {
        self.text.get(self.range(symbol))
    }

    #[inline]
    pub fn bytes(&self, symbol: Symbol) -> &[u8] {
        &self.text.bytes()[self.range(symbol)]
    }

    #[inline]
    fn range(&self, symbol: Symbol) -> Range<usize> {
        let index = symbol.0 as usize;
        self.ends[index] as usize..self.ends[index + 1] as usize
    }

    /// No more names will come for now: they can be read at no cost.
    pub fn settle(&mut self) {
        self.text.settle();
    }

    /// How many symbols there are: all are below this.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn kind(symbol: Symbol) -> WordKind {
        match symbol.0 {
            FIRST_FREE.. => WordKind::Name,
            index if index < FIRST_WORD => WordKind::Name,
            index if index < FIRST_TYPE => WordKind::Word(WORDS[(index - FIRST_WORD) as usize]),
            index => WordKind::Type(crate::simple::Simple::ALL[(index - FIRST_TYPE) as usize]),
        }
    }

    /// The bit of a historical keyword.
    pub fn historical_bit(symbol: Symbol) -> Option<u16> {
        (symbol.0 < FIRST_WORD).then(|| 1 << symbol.0)
    }
}

/// The candidate most like a misspelt name, if any is like enough to be worth a hint.
pub(crate) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long names are no typing slips, and the distance is quadratic.
    if wrong.len() > 64 {
        return None;
    }
    let allowed = (wrong.len() / 3).clamp(1, 3);
    candidates
        .filter(|candidate| !candidate.is_empty() && candidate.len().abs_diff(wrong.len()) <= allowed)
        .map(|candidate| (distance(wrong.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap neighbours; case alone counts nothing) from one word to the other.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let width = right.len() + 1;
    let mut rows = vec![0usize; width * (left.len() + 1)];
    for (i, cell) in rows.iter_mut().take(width).enumerate() {
        *cell = i;
    }
    for i in 1..=left.len() {
        rows[i * width] = i;
        for j in 1..=right.len() {
            let same = left[i - 1].eq_ignore_ascii_case(&right[j - 1]);
            let mut best = rows[(i - 1) * width + j - 1] + usize::from(!same);
            best = best.min(rows[(i - 1) * width + j] + 1).min(rows[i * width + j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[(i - 2) * width + j - 2] + 1);
            }
            rows[i * width + j] = best;
        }
    }
    rows[width * (left.len() + 1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_whatever_their_length_and_what_follows_them() {
        let text = b"setAll setAllOfIt setAllOfThemAtOnce setAllOfThemAtOnc setAllOfThemAtOnce";
        let mut names = Names::new(0);
        let mut at = 0;
        let mut symbols = Vec::new();
        for word in text.split(|byte| *byte == b' ') {
            symbols.push(names.intern(&text[at..], word.len()));
            assert_eq!(names.text(symbols[symbols.len() - 1]).as_bytes(), word);
            at += word.len() + 1;
        }
        assert_eq!(symbols[2], symbols[4]);
        symbols.truncate(4);
        symbols.dedup();
        assert_eq!(symbols.len(), 4);
        for symbol in symbols {
            assert_eq!(names.find(names.text(symbol)), Some(symbol));
        }
    }

    #[test]
    fn a_name_with_zeros_behind_it_is_another_one() {
        let mut names = Names::new(0);
        let symbol = names.intern(b"x", 1);
        assert_eq!(names.find("x"), Some(symbol));
        assert_eq!(names.find("x\0"), None);
        assert_eq!(names.find("sixteen bytes \u{e9}"), None);
        assert_eq!(names.find(""), Some(Symbol::EMPTY));
    }
}
