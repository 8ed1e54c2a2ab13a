//! The text of a type is the same for the same type however a file spells it, differs otherwise, and reads back.

mod support;

use donet_dc::{Contract, FieldType, Options, Source, TextPolicy, TypeChange};

fn contract(text: &str) -> Contract {
    Contract::parse(&[Source::new("types.dc", text)], &Options::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The text of the field `f` of the last class.
fn text(dc: &str) -> String {
    let contract = contract(dc);
    let class = contract.classes().last().expect("a class");
    class.field_by_name("f").expect("a field called f").type_text()
}

#[test]
fn a_text_looks_like_the_type_it_stands_for() {
    let cases = [
        ("dclass A { f(); };", "()"),
        ("dclass A { int8 f; };", "int8"),
        ("dclass A { f(int16/10 x, int16%360/10 h) required; };", "(int16/10, int16/10%360.0)"),
        ("dclass A { f(int16(-30-30)/10 x); };", "(int16/10(-300 - 300))"),
        ("dclass A { f(uint8(7, 1-5) x, string(3) s, blob b); };", "(uint8(1 - 5, 7), string(3), blob)"),
        ("dclass A { f(float64(0.5-1.5)/2 x); };", "(float64/2(1.0 - 3.0))"),
        (
            "dclass A { f(uint8[2][3] a, string[2] b, int8[] c, int8[0-3, 9] d); };",
            "(uint8[2][3], string[2], int8[], int8[0 - 3, 9])",
        ),
        ("struct S { uint16 a; string b; }; dclass A { f(S[0-8] all, S first); };", "({uint16, string}[0 - 8], #0)"),
        (
            "switch W (uint8 kind) { case 2: string s; break; case 1: default: int8 n; }; dclass A { f(W w); };",
            "(switch uint8 {<01>: int8; <02>: string; default: int8})",
        ),
        ("dclass P { a(int8 x) ram; b(string y) ram; }; dclass A : P { f : a, b; };", "(int8, string)"),
        // Several brackets in a row: the outer array carries no byte count though its elements vary (spec 4.4).
        ("dclass A { f(uint8[2][] a); };", "(uint8[2]![])"),
        ("typedef uint8 Row[]; dclass A { f(Row[2] a); };", "(uint8[2][])"),
    ];
    for (dc, expected) in cases {
        assert_eq!(text(dc), expected, "{dc}");
    }
}

#[test]
fn names_typedefs_and_spellings_make_no_difference() {
    let same = [
        ("dclass A { f(int16 x); };", "keyword k; typedef int16 T; dclass Other { f(T another = 3) k; };"),
        (
            "struct S { int8 a; }; dclass A { f(S s, S t); };",
            "struct X { int8 b; }; struct Y { int8 c; }; dclass A { f(X s, Y t); };",
        ),
        ("dclass A { f(uint8(0-255) x); };", "dclass A { f(uint8 x); };"),
        ("dclass A { f(uint8(1-3, 4-9) x); };", "dclass A { f(uint8(4-9, 1-3) x); };"),
        ("dclass A { f(int16(0-10)/10 x); };", "dclass A { f(int16/10(0.0-10.0) x); };"),
        ("dclass A { f(uint8[2][3] x); };", "typedef uint8 Row[3]; dclass A { f(Row[2] x); };"),
        (
            "switch W (uint8 k) { case 1: int8 a; break; case 2: int16 b; }; dclass A { f(W w); };",
            "switch V (uint8 q) { case 2: int16 d; break; case 1: int8 c; }; dclass A { f(V w); };",
        ),
    ];
    for (one, other) in same {
        assert_eq!(text(one), text(other));
    }
}

#[test]
fn whatever_changes_bytes_or_what_is_allowed_changes_the_text() {
    let types = [
        "int8 x",
        "uint8 x",
        "int16 x",
        "char x",
        "int16/10 x",
        "int16%360 x",
        "int16(0-5) x",
        "int8[] x",
        "int8[3] x",
        "int8[3-4] x",
        "string x",
        "string(3) x",
        "string(0-3) x",
        "blob x",
        "blob32 x",
        "int8array x",
        "char[] x",
        "struct { int8 a; } x",
        "struct { int8 a; int8 b; } x",
        "struct { int8 a; } x, int8 y",
        "switch (int8 k) { case 1: int8 a; } x",
        "switch (int8 k) { case 2: int8 a; } x",
        "switch (int8 k) { case 1: int8 a; break; default: } x",
    ];
    let mut texts: Vec<String> = types.iter().map(|ty| text(&format!("dclass A {{ f({ty}); }};"))).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), types.len(), "{texts:#?}");
}

#[test]
fn every_type_of_the_vectors_reads_back_as_itself() {
    let mut seen = 0;
    for entry in support::entries() {
        let contract = support::contract(&entry);
        for field in contract.classes_and_structs().flat_map(|class| class.fields()) {
            let text = field.type_text();
            let read: FieldType = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read, field.field_type());
            assert_eq!(read.to_string(), text);
            seen += 1;
        }
    }
    assert!(seen > 500, "only {seen} fields");
}

/// Types multiply quickly; their texts do not.
#[test]
fn the_text_of_structs_in_structs_stays_short() {
    let mut dc = "struct S0 { uint8 a; };".to_owned();
    for level in 1..45 {
        dc.push_str(&format!("struct S{level} {{ S{0} a[]; S{0} b[]; S{0} c[]; }};", level - 1));
    }
    dc.push_str("dclass A { f(S44 s); };");
    let text = text(&dc);
    assert!(text.len() < 4_000, "{} bytes", text.len());
    assert_eq!(text.parse::<FieldType>().expect("a good text").to_string(), text);
}

#[test]
fn a_text_that_no_type_has_is_refused() {
    let deep = format!("{}int8{}", "{".repeat(5_000), "}".repeat(5_000));
    let brackets = format!("int8{}", "[]".repeat(5_000));
    let wrong = [
        "",
        "int",
        "int8 ",
        "(int8",
        "int8,int8",
        "(int8,int8)",
        "int8(1-5)",
        "int8(5 - 1, 3)",
        "int8(1 - 3, 4)",
        "int8[",
        "int8(0 - )",
        "int8/0",
        "int8/1",
        "int8%0.0",
        "int8%NaN",
        "#0",
        "({int8}, {int8})",
        "({int8}, #1)",
        "{int8",
        "?",
        "switch int8 {<0>: }",
        "switch int8 {<02>: ; <01>: }",
        "int8[2]!!",
        "int8[]!",
        "string(70000)",
        "int8[4294967295]",
        "uint8é",
        "int8[1-2]",
        &deep,
        &brackets,
    ];
    for text in wrong {
        let read = text.parse::<FieldType>();
        assert!(read.is_err(), "{text} was read as {read:?}");
    }
}

/// What a value of the first type becomes under the second.
fn change(old: &str, new: &str) -> TypeChange {
    let of = |ty: &str| {
        let contract = contract(&format!("struct S {{ int8 a; string b; }}; dclass A {{ f({ty}); }};"));
        let text = contract.class_by_name("A").expect("declared").field_by_name("f").expect("declared").type_text();
        // As it comes back from wherever it was kept.
        text.parse::<FieldType>().unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    of(old).change_to(&of(new))
}

#[test]
fn a_widening_is_told_from_a_retype() {
    use TypeChange::{Repacked, Retyped, Same, Widened};
    let cases = [
        ("int8 x", "int8 y", Same),
        ("int16%360/10 x", "int16%180/10 x", Same),
        ("int8 x", "int16 x", Repacked),
        ("int8 x", "uint8 x", Retyped),
        ("uint8 x", "int16 x", Repacked),
        ("int16 x", "int8 x", Retyped),
        ("int16(0-100) x", "int8 x", Repacked),
        ("int8(0-5) x", "int8(0-9) x", Widened),
        ("int8(0-5) x", "int8 x", Widened),
        ("int8(0-9) x", "int8(0-5) x", Retyped),
        ("int8(1,5) x", "int8(0-9) x", Widened),
        ("int16/10 x", "int32/10 x", Repacked),
        ("int16/10 x", "int32/100 x", Repacked),
        ("int16/10 x", "int16/100 x", Retyped),
        ("int32/100 x", "int32/10 x", Retyped),
        ("int32/10 x", "float64 x", Repacked),
        ("int64 x", "float64 x", Retyped),
        ("float64 x", "int64 x", Retyped),
        ("float64(0.0-1.0) x", "float64(0.0-2.0) x", Widened),
        ("char x", "uint8 x", Retyped),
        ("string(0-20) x", "string(0-40) x", Widened),
        ("string(0-20) x", "string x", Widened),
        ("string x", "string(0-40) x", Retyped),
        ("string(4) x", "string(0-40) x", Repacked),
        ("string x", "blob x", Widened),
        ("blob x", "string x", Retyped),
        ("blob x", "blob32 x", Repacked),
        ("string x", "int8 x", Retyped),
        ("int8[0-4] x", "int8[0-9] x", Widened),
        ("int8[4] x", "int8[0-9] x", Repacked),
        ("int8[0-9] x", "int8[0-4] x", Retyped),
        ("int8[] x", "int16[] x", Repacked),
        ("int8array x", "int8array x", Same),
        ("int8array x", "int16array x", Retyped),
        ("S x", "struct { int8 n; string(0-9) m; } x", Retyped),
        ("struct { int8 n; string(0-9) m; }[] x", "S[] x", Widened),
        ("S x", "struct { int8 a; } x", Retyped),
        ("int8 x", "int8 x, int8 y", Retyped),
        (
            "switch (uint8 k) { case 1: int8 a; } x",
            "switch (uint8 k) { case 1: int8 a; break; case 2: string b; } x",
            Widened,
        ),
        ("switch (uint8 k) { case 1: int8 a; break; case 2: } x", "switch (uint8 k) { case 1: int8 a; } x", Retyped),
        ("switch (uint8 k) { case 1: int8 a; } x", "switch (uint8 k) { case 1: int16 a; } x", Repacked),
        (
            "switch (uint8 k) { default: int8 a; } x",
            "switch (uint8 k) { case 1: string a; break; default: int8 a; } x",
            Retyped,
        ),
        ("switch (uint8 k) { case 1: int8 a; } x", "switch (uint16 k) { case 1: int8 a; } x", Retyped),
    ];
    for (old, new, expected) in cases {
        assert_eq!(change(old, new), expected, "{old} to {new}");
    }
}

/// What the kinds of change promise, held against values: bytes that pass unpack and pack.
#[test]
fn values_survive_the_changes_that_promise_it() {
    let cases = [
        ("int8(-5 - 5) x", "int8 x", "(-5)"),
        ("int8 x, string(0-4) s", "int16 x, string s", "(-128, \"abcd\")"),
        ("uint8[4] x", "uint16[0-9] x", "([1, 2, 3, 255])"),
        ("int16/10 x", "int32/100 x", "(-3276.8)"),
        ("string(3) s", "blob32 s", "(\"abc\")"),
        (
            "switch (uint8 k) { case 1: int8 a; } x",
            "switch (uint8 k) { case 1: int16 a; break; case 2: } x",
            "((1, -7))",
        ),
    ];
    for (old, new, literal) in cases {
        let parsed = |ty: &str| contract(&format!("dclass A {{ f({ty}); }};"));
        let (old, new) = (parsed(old), parsed(new));
        let field = |contract: &donet_dc::Contract| {
            contract.class_by_name("A").expect("declared").field_by_name("f").expect("declared").field_type()
        };
        let bytes = old
            .class_by_name("A")
            .expect("declared")
            .field_by_name("f")
            .expect("declared")
            .pack_literal(literal)
            .expect("a value");
        let value = field(&old).unpack(&bytes, TextPolicy::Utf8).expect("a value of the old type");
        let new_field = new.class_by_name("A").expect("declared").field_by_name("f").expect("declared");
        let packed = new_field.pack(&value).expect("a value of the new type");
        assert_eq!(
            new_field.unpack(&packed, TextPolicy::Utf8).map(|value| value.to_string().replace(".0", "")),
            Ok(value.to_string().replace(".0", ""))
        );
        match field(&old).change_to(&field(&new)) {
            TypeChange::Same | TypeChange::Widened => assert_eq!(packed, bytes, "{literal}"),
            TypeChange::Repacked => assert_ne!(packed, bytes, "{literal}"),
            TypeChange::Retyped => panic!("{literal} is lost"),
        }
    }
}
