//! Diagnostics: the place of the mistake, a stable code, what to do about it, several in one run and no echo of one.

mod support;

use donet_dc::{Contract, Options, Source};
use support::{json, parse_text, unhex};

fn told(text: &str) -> Vec<String> {
    match parse_text(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(|error| error.to_string()).collect(),
    }
}

#[test]
fn every_refusal_has_a_place_inside_the_text_and_a_code() {
    for case in json("malformed.json").as_array().unwrap() {
        let text = match case["hex"].as_str() {
            Some(hex) => unhex(hex),
            None => case["text"].as_str().unwrap().as_bytes().to_vec(),
        };
        let Err(errors) = parse_text(&text) else { panic!("{}", case["id"]) };
        for error in &errors {
            assert!(error.code().starts_with("DC") && error.code().len() == 5);
            assert!(error.line() >= 1 && error.column() >= 1, "{}", case["id"]);
            for label in error.labels() {
                let (start, end) = (label.span.start as usize, label.span.end as usize);
                assert!(start <= end && end <= text.len(), "{} {error}", case["id"]);
            }
        }
    }
}

#[test]
fn one_mistake_gives_one_message() {
    let mut echoes = Vec::new();
    for case in json("malformed.json").as_array().unwrap() {
        let Some(text) = case["text"].as_str() else { continue };
        let count = told(text).len();
        if count > 1 {
            echoes.push(format!("{} {text:?}: {:#?}", case["id"], told(text)));
        }
    }
    // Files of pure nonsense may give two.
    assert!(echoes.len() <= 12, "{} of them:\n{}", echoes.len(), echoes.join("\n"));
}

#[test]
fn reading_goes_on_after_a_mistake() {
    let text = "dclass A {\n  f(uint8 a;\n  g(Ghost x) ram;\n  h() loud;\n};\nstruct S { uint8 a = 300; };\ndclass B : C {};\n";
    let told = told(text);
    let codes: Vec<&str> = told.iter().map(|line| &line[line.find('[').unwrap() + 1..][..5]).collect();
    assert_eq!(codes, ["DC010", "DC110", "DC030", "DC090", "DC040"], "{told:#?}");
    assert!(
        told[0].starts_with("test.dc:2:12: error[DC010]: expected `)` after the parameters, found `;`"),
        "{}",
        told[0]
    );
}

#[test]
fn a_misspelt_name_is_answered_with_the_near_one() {
    let hint = |text: &str| told(text).join("\n");
    assert!(hint("struct Point {}; dclass A { f(Piont p); };").contains("did you mean `Point`?"));
    assert!(hint("dclass A { f() requird; };").contains("did you mean `required`?"));
    assert!(hint("dclass Actor {}; dclass B : Acter {};").contains("did you mean `Actor`?"));
    assert!(hint("dclass A { setX(); m : setx; };").contains("did you mean `setX`?"));
    assert!(hint("dclass A { float32 a; };").contains("float64"));
    assert!(hint("dclass A { int8(-5-0) a; };").contains("blanks"));
}

#[test]
fn a_mistake_in_the_second_file_is_told_there() {
    let sources = [Source::new("one.dc", "dclass A {};\n"), Source::new("two.dc", "\n  dclass A {};\n")];
    let Err(errors) = Contract::parse(&sources, &Options::default()) else { panic!() };
    let first = errors.first();
    assert_eq!((first.file(), first.line(), first.column()), ("two.dc", 2, 10));
    assert_eq!(first.labels()[1].span.file, 0, "where it was declared first");
}

#[test]
fn each_file_is_complete_in_itself() {
    let sources = [Source::new("one.dc", "dclass A {"), Source::new("two.dc", "};")];
    assert!(Contract::parse(&sources, &Options::default()).is_err());
}

#[test]
fn mistakes_of_tokens_and_of_grammar_come_in_the_order_of_the_text() {
    // Tokens are read ahead of the grammar, in portions; which mistake is found by whom must not show.
    for distance in [0, 1, 50, 127, 128, 129, 500] {
        let good = ";".repeat(distance);
        let text = format!("dclass A {{\nnosuch x;\n{good}\nuint8 \u{1} y;\n{good}\nmissing z;\n'open\n;}};\n/* open");
        let errors = parse_text(text.as_bytes()).err().expect("full of mistakes");
        let lines: Vec<usize> = errors.iter().map(|error| error.line()).collect();
        assert_eq!(lines, [2, 4, 6, 7, 9], "{distance}: {errors}");
    }
}
