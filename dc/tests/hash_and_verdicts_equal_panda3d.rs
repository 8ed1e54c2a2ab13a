//! Every vector file, malformed input and snippet: accepted or refused as Panda3D does, with its hash under all eight
//! settings of the configuration switches. What differs on purpose is named in one table in `support/mod.rs`.

mod support;

use donet_dc::{Contract, Options};
use support::oracle::compare_hashes;
use support::{EXCEPTIONS, Exception, is_refused_file, json, parse_text, sources};

#[test]
fn every_vector_file_has_its_hash_under_all_eight_settings() {
    let manifest = json("manifest.json");
    for entry in manifest["entries"].as_array().unwrap() {
        let sources = sources(entry);
        assert_eq!(is_refused_file(entry), entry["all_objects_valid"] == false, "{}", entry["files"]);
        if is_refused_file(entry) {
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
    let mut wrong = Vec::new();
    let snippets = json("snippets.json");
    let snippets = snippets.as_array().unwrap();
    for snippet in snippets {
        let text = snippet["text"].as_str().unwrap();
        let parsed = parse_text(text.as_bytes());
        let oracle = &snippet["panda3d"];
        let accepted = oracle["result"] == "accepts" && oracle["all_objects_valid"] != false;
        let agrees = match &parsed {
            Ok(contract) => accepted && oracle["hash"].as_u64() == Some(contract.hash().into()),
            Err(_) => !accepted,
        };
        let is_excepted = EXCEPTIONS.iter().any(|(exception, _)| match exception {
            Exception::Accepted(other) => *other == text && parsed.is_ok(),
            Exception::Refused(other) => *other == text && parsed.is_err(),
            _ => false,
        });
        if agrees == is_excepted {
            let ours = parsed.map_or_else(|errors| errors.to_string(), |contract| contract.hash().to_string());
            wrong.push(format!("{text:?}: Panda3D {oracle}, we {ours}, an exception: {is_excepted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (exception, _) in EXCEPTIONS {
        if let Exception::Accepted(text) | Exception::Refused(text) = exception {
            assert!(snippets.iter().any(|snippet| snippet["text"] == *text), "an exception for no snippet: {text}");
        }
    }
}
