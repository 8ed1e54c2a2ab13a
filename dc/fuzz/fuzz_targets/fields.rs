//! The fields that the targets choose from: those of the vector files that hold the most of the language.

use donet_dc::{Contract, Field, Options, Source};
use std::sync::OnceLock;

static CONTRACTS: OnceLock<Vec<Contract>> = OnceLock::new();

/// The field that the first two bytes choose, and the rest of the bytes.
pub fn choose(data: &[u8]) -> Option<(&'static Field, &[u8])> {
    let ([low, high], rest) = data.split_first_chunk()?;
    let contracts = CONTRACTS.get_or_init(|| {
        let texts = [
            include_str!("../../tests/vectors/05_strings_and_blobs.dc"),
            include_str!("../../tests/vectors/06_ranges.dc"),
            include_str!("../../tests/vectors/09_scale_wrap_range.dc"),
            include_str!("../../tests/vectors/10_arrays_variable.dc"),
            include_str!("../../tests/vectors/12_arrays_nested.dc"),
            include_str!("../../tests/vectors/13_legacy_arrays.dc"),
            include_str!("../../tests/vectors/15_structs.dc"),
            include_str!("../../tests/vectors/19_molecular.dc"),
            include_str!("../../tests/vectors/29_switch_basic.dc"),
            include_str!("../../tests/vectors/30_switch_keys.dc"),
            include_str!("../../tests/vectors/31_switch_nested.dc"),
            include_str!("../../tests/vectors/34_class_as_type.dc"),
            include_str!("../../tests/vectors/41_contract.dc"),
        ];
        let parse = |text: &&str| Contract::parse(&[Source::new("fuzz.dc", *text)], &Options::default());
        texts.iter().map(|text| parse(text).expect("the vectors are good")).collect()
    });
    let contract = &contracts[usize::from(*low) % contracts.len()];
    let fields: Vec<&Field> = contract.classes_and_structs().flat_map(|class| class.fields()).collect();
    Some((fields[usize::from(*high) % fields.len()], rest))
}
