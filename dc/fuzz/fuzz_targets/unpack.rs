//! What is unpacked and printed packs to the same bytes; any text as a literal of a field is packed or refused.
#![no_main]

mod fields;

use donet_dc::TextPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((field, bytes)) = fields::choose(data) else { return };
    if let Ok(value) = field.unpack(bytes, TextPolicy::Bytes) {
        let _ = field.pack(&value);
        let text = field.format(bytes, TextPolicy::Bytes).expect("it unpacks, so it prints");
        assert_eq!(field.pack_literal(text.as_str()).as_deref().ok(), Some(bytes), "{text}");
    }
    let _ = field.pack_literal(bytes);
});
