//! Any bytes as a value of a field: the quick check agrees with the one that names the fault.
#![no_main]

mod fields;

use donet_dc::TextPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((field, bytes)) = fields::choose(data) else { return };
    for policy in [TextPolicy::Bytes, TextPolicy::Ascii, TextPolicy::Utf8] {
        let valid = field.validate(bytes, policy);
        let prefix = field.validate_prefix(bytes, policy);
        assert_eq!(valid.as_ref().err(), field.unpack(bytes, policy).as_ref().err());
        match valid {
            Ok(()) => assert_eq!(prefix, Ok(bytes.len())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        if let Ok(length) = prefix {
            assert_eq!(field.skip(bytes), Ok(length));
            assert!(field.validate(&bytes[..length], policy).is_ok());
        }
    }
});
