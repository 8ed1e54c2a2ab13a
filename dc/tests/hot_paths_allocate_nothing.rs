//! What the hot path does with every client update allocates nothing: finding the field, asking its keywords and size,
//! validating and skipping its bytes.

use donet_dc::{Contract, Keywords, Options, Source, TextPolicy};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; only a number of this thread is counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const TEXT: &str = "struct Item { uint16 kind; uint8(1-99) count; string(0-40) note; };
switch Shape (uint8 kind) { case 1: uint16 radius; break; case 2: string name; break; };
dclass Thing { setXYZ(int16(-3000 - 3000)/10 x, int16/10 y, float64(0.0 - 1.0) z) broadcast ownsend; };
dclass Avatar : Thing {
  setH(int16(0-360, 400)/10 h) ownsend broadcast;
  setItems(Item items[0-64], Shape shape, blob32 data, uint32uint8array pairs) ownrecv db;
  setAll : setXYZ, setH;
  string(1-8) name db;
};";

#[test]
fn looking_up_and_validating_allocate_nothing() {
    let contract = Contract::parse(&[Source::new("test.dc", TEXT)], &Options::default()).expect("a good contract");
    let class = contract.class_by_name("Avatar").expect("declared");
    let items = "([{7, 3, \"note\"}, {8, 1, \"\"}], (2, \"round\"), \"bytes\", [(1, 2)])";
    let of = [("setXYZ", "(1.5, -2, 0.5)"), ("setH", "(4)"), ("setItems", items), ("name", "\"Zoe\"")];
    for (name, literal) in of {
        let id = class.field_by_name(name).expect("declared").id();
        let bytes = class.field_by_name(name).expect("declared").pack_literal(literal).expect("a value");
        let count = allocations(|| {
            let class = contract.class(class.id()).expect("its number");
            let field = class.field(id).expect("its number");
            assert!(contract.field(id).is_some() && class.is_a(class.id()) && class.field_by_name(name).is_some());
            let _ =
                (field.keywords().contains(Keywords::CLSEND), field.fixed_size(), field.parts(), field.default_value());
            for policy in [TextPolicy::Bytes, TextPolicy::Ascii, TextPolicy::Utf8] {
                assert!(field.validate(&bytes, policy).is_ok());
                assert!(field.validate_prefix(&bytes, policy).is_ok());
            }
            assert!(field.skip(&bytes).is_ok());
        });
        assert_eq!(count, 0, "{name}");
    }
    assert!(allocations(|| drop(vec![0u8; 10])) > 0, "allocations are counted");
}
