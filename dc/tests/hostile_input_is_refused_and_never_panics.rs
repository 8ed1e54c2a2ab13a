//! Bounded, deterministic mutation of every vector file and of values; the same is fuzzed for longer in `fuzz/`. And the
//! limits: nesting, repetition, sizes, numbers that multiply, all refused or answered at once.

mod support;

use donet_dc::{Contract, Options, Source, TextPolicy, Value};
use support::{entries, folder, parse_text};

/// A small generator with a fixed seed: a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ":",
    ",",
    "=",
    "/",
    "%",
    "*",
    "-",
    "<",
    ">",
    "\"",
    "'",
    "\\",
    "0x",
    "4294967295",
    "18446744073709551615",
    "-9223372036854775808",
    "1.0e999",
    "1.0e-999",
    "struct ",
    "switch (uint8) { case 1: ",
    "dclass A ",
    "typedef ",
    "keyword ",
    "default: ",
    "break;",
    "uint8",
    "string",
    "int16/10",
    "%360",
    "(0-5)",
    "[2]",
    "[]",
    "ram",
    "\n",
    "/*",
    "*/",
    "//",
    "\u{e9}",
];

fn mutate(random: &mut Random, text: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(text.len() + 1);
        match random.below(4) {
            0 if at < text.len() => text[at] = random.next() as u8,
            1 => text.truncate(at),
            2 => {
                let end = (at + random.below(20)).min(text.len());
                let copy = text[at..end].to_vec();
                let to = random.below(text.len() + 1);
                text.splice(to..to, copy);
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())];
                text.splice(at..at, piece.bytes());
            }
        }
    }
}

#[test]
fn mutated_files_are_read_or_refused() {
    let mut random = Random(0x5eed_0001);
    let mut files: Vec<Vec<u8>> = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dc") {
            files.push(std::fs::read(path).unwrap());
        }
    }
    files.sort();
    for round in 0..3_000 {
        let mut text = files[round % files.len()].clone();
        mutate(&mut random, &mut text);
        match parse_text(&text) {
            Ok(contract) => {
                for class in contract.classes_and_structs() {
                    for field in class.fields() {
                        let _ = field.validate(field.default_value(), TextPolicy::Utf8);
                        let _ = field.describe_type();
                    }
                }
            }
            Err(errors) => assert!(!errors.to_string().is_empty()),
        }
    }
}

#[test]
fn mutated_values_are_unpacked_or_refused() {
    let mut random = Random(0x5eed_0002);
    for entry in entries() {
        let contract = support::contract(&entry);
        for class in contract.classes_and_structs() {
            for field in class.fields() {
                for _ in 0..40 {
                    let mut bytes = field.default_value().to_vec();
                    bytes.truncate(4096);
                    for _ in 0..random.below(6) {
                        let at = random.below(bytes.len() + 1);
                        match random.below(3) {
                            0 if at < bytes.len() => bytes[at] = random.next() as u8,
                            1 => bytes.truncate(at),
                            _ => bytes.insert(at, random.next() as u8),
                        }
                    }
                    let valid = field.validate(&bytes, TextPolicy::Utf8);
                    let unpacked = field.unpack(&bytes, TextPolicy::Utf8);
                    assert_eq!(valid.err(), unpacked.err());
                    let _ = field.skip(&bytes);
                    if field.validate(&bytes, TextPolicy::Bytes).is_ok() {
                        let text = field.format(&bytes, TextPolicy::Bytes).unwrap();
                        assert_eq!(field.pack_literal(text.as_str()).as_deref(), Ok(&bytes[..]), "{text}");
                    }
                }
            }
        }
    }
}

fn refused_for_its_size(text: &str) {
    let errors =
        parse_text(text.as_bytes()).err().unwrap_or_else(|| panic!("accepted: {}…", &text[..text.len().min(80)]));
    assert!(errors.iter().any(|error| error.code() == "DC120"), "{errors}");
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = 100_000;
    refused_for_its_size(&format!("dclass A {{ {} x; }};", "struct { ".repeat(deep)));
    refused_for_its_size(&format!("dclass A {{ {} x; }};", "switch (uint8) { case 1: ".repeat(deep)));
    refused_for_its_size(&format!("dclass A {{ {} x; }};", "switch (".repeat(deep)));
    refused_for_its_size(&format!("dclass A {{ uint8[] x = {}", "[".repeat(deep)));
    refused_for_its_size(&format!("dclass A {{ uint8 x{};", "[1]".repeat(deep)));
    refused_for_its_size(&format!("struct S {{ {} x;", "switch (f(".repeat(deep)));
    assert!(Value::parse(&"(".repeat(deep)).is_err());
    let mut chain = String::from("struct S0 { uint8 a; };\n");
    for index in 1..1000 {
        chain.push_str(&format!("struct S{index} {{ S{} a; }};\n", index - 1));
    }
    refused_for_its_size(&chain);
    let mut chain = String::from("typedef uint8 T0;\n");
    for index in 1..1000 {
        chain.push_str(&format!("typedef T{}[1] T{index};\n", index - 1));
    }
    refused_for_its_size(&chain);
}

#[test]
fn sizes_that_multiply_are_refused() {
    refused_for_its_size("dclass A { uint8[4294967295] a; };");
    refused_for_its_size("struct E {}; dclass A { E[4294967295] a; };");
    refused_for_its_size("dclass A { uint8[1000][1000][1000] a; };");
    refused_for_its_size("dclass A { blob32(4000000000) a; };");
    refused_for_its_size("dclass A { uint8[] a = [1 * 4294967295]; };");
    refused_for_its_size("dclass A { blob[] a = [<> * 18446744073709551615]; };");
    let mut wide = String::from("struct S0 { uint8 a; };\n");
    for index in 1..60 {
        wide.push_str(&format!("struct S{index} {{ S{} a; S{} b; }};\n", index - 1, index - 1));
    }
    refused_for_its_size(&wide);
    let many: String = (0..1000).map(|index| format!("blob32(1000000) f{index};\n")).collect();
    refused_for_its_size(&format!("dclass A {{ {many} }};"));
}

#[test]
fn numbers_of_fields_and_classes_fit_16_bits() {
    let fields = |count: usize| {
        let list: String = (0..count).map(|index| format!("f{index}();")).collect();
        format!("dclass A {{ {list} }};")
    };
    assert!(parse_text(fields(65_535).as_bytes()).is_ok());
    refused_for_its_size(&fields(65_536));
    let classes = |count: usize| (0..count).map(|index| format!("dclass C{index} {{}};")).collect::<String>();
    assert!(parse_text(classes(65_535).as_bytes()).is_ok());
    refused_for_its_size(&classes(65_536));
}

#[test]
fn structs_in_structs_do_not_explode_the_hash() {
    // 2^20 leaves would be hashed one by one; as lists without elements they have small defaults.
    let mut text = String::from("struct S0 { uint8 a; uint8 b; };\n");
    for index in 1..45 {
        let last = index - 1;
        text.push_str(&format!("struct S{index} {{ S{last}[] a; S{last}[] b; }};\n"));
    }
    let contract = parse_text(text.as_bytes()).unwrap();
    assert_ne!(contract.hash(), 0);
}

#[test]
fn a_chain_of_classes_is_bounded() {
    let mut text = String::from("dclass C0 { f0(); };\n");
    for index in 1..4_000 {
        text.push_str(&format!("dclass C{index} : C{} {{ f{index}(); }};\n", index - 1));
    }
    refused_for_its_size(&text);
    let mut diamond = String::from("dclass D0 { f(); };\n");
    for index in 1..200 {
        let last = index - 1;
        diamond.push_str(
            &format!("dclass D{index} : D{last}, D{last} {{ m : f; }};\n").replace("m :", &format!("m{index} :")),
        );
    }
    assert!(parse_text(diamond.as_bytes()).is_ok(), "the search for f does not double at every step");
}

/// Classes without fields, each with those bases.
fn empty_classes(count: usize, bases: impl Fn(usize) -> Vec<usize>) -> String {
    let class = |index: usize| {
        let bases: Vec<String> = bases(index).iter().map(|base| format!("C{base}")).collect();
        let colon = if bases.is_empty() { "" } else { " : " };
        format!("dclass C{index}{colon}{} {{}};\n", bases.join(", "))
    };
    (0..count).map(class).collect()
}

#[test]
fn ancestors_count_as_inherited_fields_do() {
    let last = |index: usize| index.checked_sub(1).into_iter().collect();
    refused_for_its_size(&empty_classes(65_000, last));
    let errors = parse_text(empty_classes(3_000, last).as_bytes()).err().expect("more than four million ancestors");
    assert_eq!(errors.as_slice().len(), 1, "{errors}");
    assert!(errors.first().message().contains("fields and bases"), "{errors}");
    // Every class derives from all before it: the bases are few bytes of text, and most are there already.
    refused_for_its_size(&empty_classes(1_000, |index| (0..index).collect()));

    let contract = parse_text(empty_classes(1_000, last).as_bytes()).expect("a chain within the limit");
    let class = contract.class_by_name("C999").expect("declared");
    assert!(class.is_a(0) && class.is_a(500) && class.is_a(999) && !contract.class(500).unwrap().is_a(999));
    // Two ways to each ancestor at every step: ancestors are counted, not ways.
    let ladder = |index: usize| if index == 0 { vec![] } else { vec![index - 1, index.saturating_sub(2)] };
    let contract = parse_text(empty_classes(1_000, ladder).as_bytes()).expect("a ladder within the limit");
    assert!((0..1_000).all(|other| contract.class(999).unwrap().is_a(other)));
}

#[test]
fn without_virtual_inheritance_diamonds_are_bounded_too() {
    let options = Options { virtual_inheritance: false, ..Options::default() };
    let mut diamond = String::from("dclass D0 { f(); };\n");
    for index in 1..100 {
        let last = index - 1;
        diamond.push_str(&format!("dclass D{index} : D{last}, D{last} {{ }};\n"));
    }
    assert!(Contract::parse(&[Source::new("diamond.dc", diamond)], &options).is_err());
}

#[test]
fn a_value_of_few_bytes_cannot_cost_much() {
    // Every byte would unpack to a million items.
    let text = "struct E {}; struct S { uint8 a; E[100000] many; }; dclass A { f(S[] list); };";
    let contract = parse_text(text.as_bytes()).unwrap();
    let field = contract.class_by_name("A").unwrap().field_by_name("f").unwrap();
    let mut bytes = vec![0xff, 0xff];
    bytes.resize(2 + 65_535, 1);
    assert!(field.validate(&bytes, TextPolicy::Bytes).is_ok());
    assert!(field.unpack(&bytes, TextPolicy::Bytes).is_err(), "refused at the limit of items");
}

#[test]
fn a_list_of_nothing_has_no_bytes() {
    let contract = parse_text(b"struct E {}; dclass A { E[] a; uint8[0][] b; };").unwrap();
    for name in ["a", "b"] {
        let field = contract.class_by_name("A").unwrap().field_by_name(name).unwrap();
        assert!(field.validate(&[0, 0], TextPolicy::Bytes).is_ok() || name == "b");
        assert!(field.validate(&[1, 0, 0], TextPolicy::Bytes).is_err());
    }
}
