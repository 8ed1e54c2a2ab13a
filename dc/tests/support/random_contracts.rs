//! Random contracts of every kind of declaration, with values to pack and bytes to unpack in the comments that
//! `make_vectors.py` reads.

use super::random_types::{Numbers, Type, any_type, leaf};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::fmt::Write;

/// What a class may inherit and override: names are few, so that they clash.
const NAMES: [&str; 6] = ["setA", "setB", "setC", "setD", "setE", "setF"];

/// Sets of keywords, historical and declared, in no particular order.
const KEYWORDS: [&str; 6] =
    ["required broadcast ram", "ram required  broadcast", "db ownrecv", "audited", "clsend airecv hidden", ""];

pub struct Generator<'a> {
    runner: TestRunner,
    numbers: Numbers<'a>,
    text: String,
    /// Methods of each class by the place of their keywords in [`KEYWORDS`].
    methods: Vec<Vec<(&'static str, usize)>>,
}

impl<'a> Generator<'a> {
    /// The same seed gives the same contracts.
    pub fn new(seed: &'a [u64]) -> Self {
        Generator {
            runner: TestRunner::deterministic(),
            numbers: Numbers(seed, 0),
            text: String::new(),
            methods: Vec::new(),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.numbers.below(limit as u64) as usize
    }

    fn any(&mut self) -> Type {
        any_type().new_tree(&mut self.runner).expect("a type").current()
    }

    fn leaf(&mut self) -> Type {
        leaf().new_tree(&mut self.runner).expect("a type").current()
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn put_type(&mut self, ty: &Type) {
        ty.write(&mut self.text);
    }

    /// The next contract.
    pub fn contract(&mut self) -> String {
        self.text.clear();
        self.methods.clear();
        self.put("from game.world import C0/AI/OV, C1\nimport plain\nkeyword audited hidden;\n");
        if self.below(4) == 0 {
            // From here on it hashes like a custom one.
            self.put("keyword ram;\n");
        }
        let alias = self.leaf();
        self.put("typedef ");
        self.put_type(&alias);
        self.put(" Alias;\ntypedef Alias Aliases[0-3];\n");
        for index in 0..self.below(3) {
            self.structure(index);
        }
        for index in 0..1 + self.below(4) {
            self.class(index);
        }
        std::mem::take(&mut self.text)
    }

    fn structure(&mut self, index: usize) {
        let _ = writeln!(self.text, "struct S{index}{} {{", if index > 0 { " : S0" } else { "" });
        for member in 0..1 + self.below(3) {
            let ty = self.leaf();
            self.put("  ");
            self.put_type(&ty);
            let _ = writeln!(self.text, " s{index}m{member};");
        }
        let default = self.below(200);
        let _ = writeln!(self.text, "  uint16(0-500)/2 s{index}half = {default};\n}};");
        if index == 0 {
            self.put("typedef S0 Pair[2];\n");
        }
    }

    fn class(&mut self, index: usize) {
        let _ = write!(self.text, "dclass C{index}");
        let mut inherited = Vec::new();
        // At most two bases, each once.
        if index > 0 && self.below(3) > 0 {
            let first = self.below(index);
            let _ = write!(self.text, " : C{first}");
            inherited.extend(self.methods[first].clone());
            let second = self.below(index);
            if second != first && self.below(2) == 0 {
                let _ = write!(self.text, ", C{second}");
            }
        }
        self.put(" {\n");
        let mut used = Vec::new();
        let mut own: Vec<(&'static str, usize)> = Vec::new();
        for _ in 0..1 + self.below(5) {
            let name = NAMES[self.below(NAMES.len())];
            if used.contains(&name) {
                continue;
            }
            used.push(name);
            let keywords = self.below(KEYWORDS.len());
            if self.below(3) == 0 {
                self.data_field(index, name, keywords);
            } else {
                self.method(index, name, keywords);
                own.push((name, keywords));
            }
        }
        // What is declared here hides what was inherited, a data field too.
        inherited.retain(|(name, _)| !used.contains(name));
        inherited.extend(own);
        self.molecule(index, &inherited);
        self.put("};\n");
        self.methods.push(inherited);
    }

    fn data_field(&mut self, class: usize, name: &str, keywords: usize) {
        match self.below(4) {
            0 => {
                let _ = writeln!(self.text, "  Alias {name} {};", KEYWORDS[keywords]);
            }
            1 => {
                let _ = writeln!(self.text, "  Aliases {name} {};", KEYWORDS[keywords]);
            }
            _ => {
                let ty = self.any();
                self.put("  ");
                self.put_type(&ty);
                let _ = writeln!(self.text, " {name} {};", KEYWORDS[keywords]);
                self.values(class, name, &[ty]);
            }
        }
    }

    fn method(&mut self, class: usize, name: &str, keywords: usize) {
        let parts: Vec<Type> = (0..self.below(4)).map(|_| self.any()).collect();
        let _ = write!(self.text, "  {name}(");
        for (index, part) in parts.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            self.put_type(part);
            let _ = write!(self.text, " p{index}");
        }
        let _ = writeln!(self.text, ") {};", KEYWORDS[keywords]);
        self.values(class, name, &parts);
    }

    /// Of methods with one set of keywords; some twice.
    fn molecule(&mut self, class: usize, methods: &[(&'static str, usize)]) {
        let Some((first, keywords)) = methods.first() else { return };
        // The first two sets are the same set.
        let same = |other: usize| other.max(1) == (*keywords).max(1);
        let mut parts = vec![*first];
        parts.extend(methods.iter().skip(1).filter(|(_, other)| same(*other)).map(|(name, _)| *name));
        if self.below(3) == 0 {
            parts.push(first);
        }
        let _ = writeln!(self.text, "  all{class} : {};", parts.join(", "));
    }

    /// Bytes of values, some of them damaged, for both sides to unpack.
    fn values(&mut self, class: usize, field: &str, parts: &[Type]) {
        let _ = write!(self.text, "  //! C{class}.{field}");
        for turn in 0..6 {
            let mut bytes = Vec::new();
            parts.iter().for_each(|part| part.pack(&mut self.numbers, &mut bytes));
            if turn >= 3 && !bytes.is_empty() {
                let at = self.below(bytes.len());
                bytes[at] = self.below(256) as u8;
            }
            // make_vectors.py takes an empty item for no bytes.
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(self.text, " | {hex}");
        }
        self.put("\n");
    }
}
