//! The DC language of distributed-object networks: parser, model, hash, packing, diagnostics.
//!
//! Usable alone by whoever writes a client, an editor or an importer. No input or output, no async, no daemon types, no
//! clock; the feature `cli` adds the tool `donet-dc` and is the only part that reads files.
//!
//! ```
//! use donet_dc::{Contract, Options, Source, TextPolicy};
//!
//! let text = "dclass Avatar { setX(int16/10 x) required broadcast; };";
//! let contract = Contract::parse(&[Source::new("avatar.dc", text)], &Options::default()).expect("a good contract");
//! let avatar = contract.class_by_name("Avatar").expect("declared above");
//! let set_x = avatar.field_by_name("setX").expect("declared above");
//! assert!(set_x.validate(&[15, 0], TextPolicy::Utf8).is_ok());
//! assert!(set_x.validate(&[15], TextPolicy::Utf8).is_err());
//! ```

#![forbid(unsafe_code)]

mod builder;
mod check;
#[cfg(feature = "cli")]
pub mod cli;
mod code;
mod contract;
mod defaults;
mod describe;
mod diagnostic;
mod diff;
mod field_type;
mod format;
mod hash;
mod keywords;
mod lexer;
pub mod limits;
mod lint;
mod literal;
mod names;
mod number_hasher;
mod pack;
mod parser;
mod retype;
mod scalar;
mod simple;
mod slots;
mod source;
mod stretch;
mod types;
mod value;
mod value_error;
mod walk;

pub use builder::{FieldKind, Import};
pub use code::Code;
#[doc(hidden)]
pub use contract::Declarations;
pub use contract::{Class, Contract, Field, NO_NUMBER, Options};
pub use diagnostic::{Diagnostic, Diagnostics, Label};
pub use diff::{Change, ClassChange, Diff, FieldChange, diff};
pub use field_type::{FieldType, TypeTextError};
pub use keywords::Keywords;
pub use lint::lint;
pub use retype::TypeChange;
pub use scalar::Scalar;
pub use source::{Source, Span};
pub use value::{PackError, Value};
pub use value_error::{TextPolicy, ValueError, ValueErrorKind};
