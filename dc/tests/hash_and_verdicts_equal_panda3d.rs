//! Every vector file, malformed input and snippet: accepted or refused as Panda3D does, with its hash under all eight
//! settings of the configuration switches. What differs on purpose is named in one table in `support/mod.rs`.

mod support;

use donet_dc::{Contract, Options};
use support::oracle::compare_hashes;
use support::{EXCEPTIONS, json, parse_text, sources};

#[test]
fn every_vector_file_has_its_hash_under_all_eight_settings() {
    let manifest = json("manifest.json");
    for entry in manifest["entries"].as_array().unwrap() {
        let sources = sources(entry);
        if entry["all_objects_valid"] == false {
            assert!(Contract::parse(&sources, &Options::default()).is_err(), "{}", entry["files"]);
            continue;
        }
        compare_hashes(&sources, entry);
    }
}

#[test]
fn every_malformed_input_is_refused() {
    for case in json("malformed.json").as_array().unwrap() {
        let text = match case["hex"].as_str() {
            Some(hex) => support::unhex(hex),
            None => case["text"].as_str().unwrap().as_bytes().to_vec(),
        };
        assert!(parse_text(&text).is_err(), "{}: {}", case["id"], case["reason"]);
    }
}

#[test]
fn every_snippet_has_the_verdict_and_hash_of_panda3d() {
    let mut used = Vec::new();
    let mut wrong = Vec::new();
    for snippet in json("snippets.json").as_array().unwrap() {
        let text = snippet["text"].as_str().unwrap();
        let parsed = parse_text(text.as_bytes());
        let oracle = &snippet["panda3d"];
        let accepted = oracle["result"] == "accepts" && oracle["all_objects_valid"] != false;
        let agrees = match &parsed {
            Ok(contract) => accepted && oracle["hash"].as_u64() == Some(contract.hash().into()),
            Err(_) => !accepted,
        };
        if let Some((exception, ..)) = EXCEPTIONS.iter().find(|(exception, ..)| *exception == text) {
            assert!(!agrees, "no exception any more: {text}");
            used.push(*exception);
        } else if !agrees {
            let ours = parsed.map_or_else(|errors| errors.to_string(), |contract| contract.hash().to_string());
            wrong.push(format!("{text:?}: Panda3D {oracle}, we {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (exception, ..) in EXCEPTIONS.iter().filter(|(text, ..)| !text.starts_with("vector")) {
        assert!(used.contains(exception), "an exception for no snippet: {exception}");
    }
}
