//! Names, each kept once, all in one text, and compared as numbers.
//!
//! Decides: which words are reserved or historical keywords (by their place at the front of the table). Never decides
//! whether a name may stand somewhere: that is the parser's.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hasher};
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
    let mut names =
        Names { by_text: HashTable::new(), text: String::new(), ends: vec![0], hasher: DefaultHashBuilder::default() };
    let types = crate::simple::Simple::ALL.iter().map(|simple| simple.name());
    for text in HISTORICAL.into_iter().chain(DECLARATION_WORDS).chain(types) {
        names.intern(text.as_bytes());
    }
    let empty = names.intern(b"");
    assert_eq!(empty, Symbol::EMPTY);
    names
});

#[derive(Clone)]
pub(crate) struct Names {
    by_text: HashTable<Symbol>,
    /// All names, one behind the other.
    text: String,
    /// Where each ends in it, which is where the next begins; the first is a 0 in front of them.
    ends: Vec<usize>,
    hasher: DefaultHashBuilder,
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
        self.text.reserve(capacity * USUAL_LENGTH);
        self.ends.reserve(capacity);
        let (text, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        self.by_text.reserve(capacity, |symbol| hash(hasher, slice(text, ends, *symbol)));
    }

    /// The number of a word, which is ASCII.
    #[inline]
    pub fn intern(&mut self, word: &[u8]) -> Symbol {
        let hash = hash(&self.hasher, word);
        let (text, ends) = (&self.text, &self.ends);
        match self.by_text.find(hash, |symbol| slice(text, ends, *symbol) == word) {
            Some(symbol) => *symbol,
            None => self.add(word, hash),
        }
    }

    #[inline(never)]
    fn add(&mut self, word: &[u8], hash_of_word: u64) -> Symbol {
        let symbol = Symbol(self.ends.len() as u32 - 1);
        self.text.push_str(std::str::from_utf8(word).expect("a word is ASCII"));
        self.ends.push(self.text.len());
        let (text, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        self.by_text.insert_unique(hash_of_word, symbol, |symbol| hash(hasher, slice(text, ends, *symbol)));
        symbol
    }

    /// The number of a name that is there.
    #[inline]
    pub fn find(&self, name: &str) -> Option<Symbol> {
        let same = |symbol: &Symbol| slice(&self.text, &self.ends, *symbol) == name.as_bytes();
        self.by_text.find(hash(&self.hasher, name.as_bytes()), same).copied()
    }

    #[inline]
    pub fn text(&self, symbol: Symbol) -> &str {
        let index = symbol.0 as usize;
        &self.text[self.ends[index]..self.ends[index + 1]]
    }

    /// How many symbols there are: all are below this.
    pub fn len(&self) -> usize {
        self.ends.len() - 1
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

#[inline]
fn hash(hasher: &DefaultHashBuilder, word: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(word);
    state.finish()
}

#[inline]
fn slice<'a>(text: &'a str, ends: &[usize], symbol: Symbol) -> &'a [u8] {
    let index = symbol.0 as usize;
    &text.as_bytes()[ends[index]..ends[index + 1]]
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
