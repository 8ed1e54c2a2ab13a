//! Stand-in with the crate's public shape, until the branch `dc` lands.
#![allow(unused_variables, clippy::all)]
pub struct Source { pub name: String, pub text: Vec<u8> }
#[derive(Clone, Copy, Debug)]
pub struct Options { pub multiple_inheritance: bool, pub sort_inheritance_by_file: bool, pub virtual_inheritance: bool }
impl Default for Options { fn default() -> Self { Self { multiple_inheritance: true, sort_inheritance_by_file: true, virtual_inheritance: true } } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPolicy { Bytes, Ascii, Utf8 }
#[derive(Debug)] pub struct Diagnostics;
impl std::fmt::Display for Diagnostics { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
#[derive(Debug)] pub struct Contract;
#[derive(Debug)] pub struct Class;
#[derive(Debug)] pub struct Field;
#[derive(Clone, Copy, PartialEq, Eq, Debug)] pub enum FieldKind { Atomic, Molecular, Data }
#[derive(Clone, Copy, PartialEq, Eq, Debug)] pub struct Keywords(u16);
impl Keywords {
    pub const REQUIRED: Self = Self(1); pub const BROADCAST: Self = Self(2); pub const OWNRECV: Self = Self(4);
    pub const RAM: Self = Self(8); pub const DB: Self = Self(16); pub const CLSEND: Self = Self(32);
    pub const CLRECV: Self = Self(64); pub const OWNSEND: Self = Self(128); pub const AIRECV: Self = Self(256);
    pub fn contains(self, o: Self) -> bool { self.0 & o.0 == o.0 }
    pub fn intersects(self, o: Self) -> bool { self.0 & o.0 != 0 }
}
impl std::ops::BitOr for Keywords { type Output = Self; fn bitor(self, o: Self) -> Self { Self(self.0 | o.0) } }
#[derive(Clone, Copy, PartialEq, Eq, Debug)] pub enum ValueErrorKind { Truncated, Trailing, Constraint }
#[derive(Debug)] pub struct ValueError;
impl ValueError { pub fn kind(&self) -> ValueErrorKind { todo!() } }
impl std::fmt::Display for ValueError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
impl Contract {
    pub fn parse(sources: &[Source], options: &Options) -> Result<Contract, Diagnostics> { todo!() }
    pub fn hash(&self) -> u32 { todo!() }
    pub fn classes(&self) -> impl Iterator<Item = &Class> { [].iter() }
    pub fn class(&self, id: u16) -> Option<&Class> { todo!() }
    pub fn class_by_name(&self, name: &str) -> Option<&Class> { todo!() }
    pub fn field(&self, id: u16) -> Option<&Field> { todo!() }
}
impl Class {
    pub fn id(&self) -> u16 { todo!() } pub fn name(&self) -> &str { todo!() }
    pub fn fields(&self) -> impl Iterator<Item = &Field> { [].iter() }
    pub fn field(&self, id: u16) -> Option<&Field> { todo!() }
    pub fn field_by_name(&self, name: &str) -> Option<&Field> { todo!() }
    pub fn is_a(&self, other: u16) -> bool { todo!() }
}
impl Field {
    pub fn id(&self) -> u16 { todo!() } pub fn name(&self) -> &str { todo!() } pub fn kind(&self) -> FieldKind { todo!() }
    pub fn keywords(&self) -> Keywords { todo!() } pub fn parts(&self) -> &[u16] { todo!() }
    pub fn default_value(&self) -> &[u8] { todo!() } pub fn has_explicit_default(&self) -> bool { todo!() }
    pub fn fixed_size(&self) -> Option<usize> { todo!() }
    pub fn validate(&self, bytes: &[u8], policy: TextPolicy) -> Result<(), ValueError> { todo!() }
    pub fn validate_prefix(&self, bytes: &[u8], policy: TextPolicy) -> Result<usize, ValueError> { todo!() }
    pub fn skip(&self, bytes: &[u8]) -> Result<usize, ValueError> { todo!() }
}
