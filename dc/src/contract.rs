//! The contract: classes and fields as the daemon and tools see them, immutable and shareable.
//!
//! Decides: look-ups, all of constant cost and without allocation. Never changes after it is made.

mod assemble;

use crate::builder::{Builder, FieldKind, Import, KeywordList, KeywordsId};
use crate::check::{Check, Checks, Everything, LengthOnly, Steps};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::hash::hash;
use crate::keywords::Keywords;
use crate::limits::DEFAULT_WEIGHT_TOTAL_MAX;
use crate::names::Symbol;
use crate::number_hasher::NumberMap;
use crate::parser;
use crate::slots::{Slots, Table};
use crate::source::{Source, Span};
use crate::stretch::Stretch;
use crate::types::{Members, Shape, TypeId, Types};
use crate::value_error::{TextPolicy, ValueError, ValueErrorKind};
use crate::walk::{Nobody, Walk};
use std::sync::Arc;

/// The three configuration switches of Panda3D (spec 3.12). All on by default, as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// `dc-multiple-inheritance`
    pub multiple_inheritance: bool,
    /// `dc-sort-inheritance-by-file`
    pub sort_inheritance_by_file: bool,
    /// `dc-virtual-inheritance`
    pub virtual_inheritance: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { multiple_inheritance: true, sort_inheritance_by_file: true, virtual_inheritance: true }
    }
}

/// The number of what has none: constructors, and struct members under some options.
pub const NO_NUMBER: u16 = u16::MAX;

/// Beyond every place: all fields of a contract fit 32 bits by far.
const NO_PLACE: u32 = u32::MAX;

/// A parsed set of DC files.
pub struct Contract {
    hash: u32,
    /// File-level classes and structs in the order of their closing braces: the index is the number.
    classes: Vec<Class>,
    classes_by_name: NumberMap<Symbol, u16>,
    all: Arc<All>,
    imports: Vec<Import>,
    typedefs: Vec<Symbol>,
    keywords: Vec<Symbol>,
}

/// What classes have in common.
struct All {
    fields: Vec<Field>,
    /// Places of the fields that classes have.
    lists: Vec<u32>,
    /// Places of fields, by number; none for a number that no field has, and none at all without multiple inheritance,
    /// where every class counts anew.
    by_number: Vec<u32>,
    /// The tables of all classes.
    slots: Slots,
    base_names: Vec<Symbol>,
    shared: Arc<Shared>,
}

/// What fields have in common: each points at its own stretch of these lists.
struct Shared {
    types: Arc<Types>,
    checks: Checks,
    keyword_lists: Vec<KeywordList>,
    defaults: Vec<u8>,
    /// Numbers and names of the methods that molecules are made of.
    part_numbers: Vec<u16>,
    part_names: Vec<Symbol>,
}

/// A dclass, or a struct where structs are asked for.
pub struct Class {
    number: u16,
    name: Symbol,
    span: Span,
    is_struct: bool,
    base_names: Stretch,
    /// Of the whole contract; what follows lies in it.
    all: Arc<All>,
    own: Stretch,
    constructor: Option<u32>,
    inherited: Stretch,
    tables: Tables,
}

/// How a class finds its fields and ancestors, in [`All::slots`].
#[derive(Clone, Copy)]
struct Tables {
    /// Places of fields, by [`Field::key`].
    fields: Table,
    ancestors: Table,
}

/// A method, molecule or data field, or a member of a struct.
pub struct Field {
    number: u16,
    name: Symbol,
    kind: FieldKind,
    keywords: Keywords,
    has_explicit_default: bool,
    keyword_list: KeywordsId,
    parts: Stretch,
    default: Stretch,
    span: Span,
    fixed_size: Option<u32>,
    check: Check,
    steps: Steps,
    pub(crate) ty: TypeId,
    shared: Arc<Shared>,
}

/// What [`Contract::parse`] does, step by step, for the benchmarks that tell what each costs.
#[doc(hidden)]
pub struct Declarations {
    builder: Builder,
    options: Options,
}

impl Declarations {
    pub fn parse(sources: &[Source], options: &Options) -> Result<Declarations, Diagnostics> {
        let builder = parser::parse(sources, options)?;
        match total_weight_refused(&builder) {
            Some(refused) => Err(Diagnostics::new(vec![refused], sources)),
            None => Ok(Declarations { builder, options: *options }),
        }
    }

    pub fn hash(&self) -> u32 {
        hash(&self.builder, &self.options)
    }

    pub fn into_contract(self, hash: u32) -> Contract {
        Contract::from_builder(self.builder, hash, &self.options)
    }
}

impl Contract {
    /// Reads the sources in order, as one contract. On failure there is at least one diagnostic.
    pub fn parse(sources: &[Source], options: &Options) -> Result<Contract, Diagnostics> {
        let declarations = Declarations::parse(sources, options)?;
        let hash = declarations.hash();
        Ok(declarations.into_contract(hash))
    }

    /// What clients and servers compare (spec 6).
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// The dclasses, by ascending number; no structs.
    pub fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().filter(|class| !class.is_struct)
    }

    /// Classes and structs of the files, in the order of their closing braces.
    pub fn classes_and_structs(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    /// The dclass of that number. None for the place of a struct, which has no number.
    pub fn class(&self, id: u16) -> Option<&Class> {
        self.classes.get(usize::from(id)).filter(|class| !class.is_struct)
    }

    /// The dclass of that name.
    pub fn class_by_name(&self, name: &str) -> Option<&Class> {
        self.class_or_struct(name).filter(|class| !class.is_struct)
    }

    /// The dclass or struct of that name.
    pub fn class_or_struct(&self, name: &str) -> Option<&Class> {
        let name = self.all.shared.types.names.find(name)?;
        let place = self.classes_by_name.get(&name)?;
        self.classes.get(usize::from(*place))
    }

    /// The field of that number, schema-wide. None for all without multiple inheritance, where every class counts anew.
    pub fn field(&self, id: u16) -> Option<&Field> {
        let place = self.all.by_number.get(usize::from(id))?;
        self.all.fields.get(*place as usize)
    }

    /// Imports, in order.
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// Names of explicit typedefs, in order.
    pub fn typedefs(&self) -> impl Iterator<Item = &str> {
        self.typedefs.iter().map(|name| self.all.shared.types.name(*name))
    }

    /// Keywords that were declared or used, in order of first mention.
    pub fn known_keywords(&self) -> impl Iterator<Item = &str> {
        self.keywords.iter().map(|name| self.all.shared.types.name(*name))
    }
}

fn total_weight_refused(builder: &Builder) -> Option<Diagnostic> {
    let mut total = 0u64;
    for field in &builder.fields {
        total = total.saturating_add(builder.types.node(field.ty).weight);
        if total > DEFAULT_WEIGHT_TOTAL_MAX {
            let message =
                format!("the defaults of all fields together need more than {DEFAULT_WEIGHT_TOTAL_MAX} bytes");
            let diagnostic = Diagnostic::new(Code::Limit, field.span, message);
            return Some(diagnostic.help("no such values fit messages; allow fewer elements"));
        }
    }
    None
}

impl Class {
    /// Its number: the place in the class list. [`NO_NUMBER`] for a struct.
    pub fn id(&self) -> u16 {
        self.number
    }

    /// Empty for a class without a name.
    pub fn name(&self) -> &str {
        self.all.shared.types.name(self.name)
    }

    /// Where its name stands.
    pub fn span(&self) -> Span {
        self.span
    }

    pub fn is_struct(&self) -> bool {
        self.is_struct
    }

    /// Names of the bases as listed.
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        self.base_names.of(&self.all.base_names).iter().map(|name| self.all.shared.types.name(*name))
    }

    /// The inherited list: everything the class has, in packing order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.inherited.of(&self.all.lists).iter().map(|place| self.at(*place))
    }

    /// What the class itself declares, in the order of the text; not the constructor.
    pub fn own_fields(&self) -> impl Iterator<Item = &Field> {
        self.own.of(&self.all.lists).iter().map(|place| self.at(*place))
    }

    /// The constructor of a struct.
    pub fn constructor(&self) -> Option<&Field> {
        self.constructor.map(|place| self.at(place))
    }

    fn at(&self, place: u32) -> &Field {
        &self.all.fields[place as usize]
    }

    /// The field of that number, declared here or inherited and not shadowed.
    pub fn field(&self, id: u16) -> Option<&Field> {
        if self.all.by_number.is_empty() {
            // Without multiple inheritance the number is the place in the list.
            let place = self.inherited.of(&self.all.lists).get(usize::from(id))?;
            return Some(self.at(*place)).filter(|field| field.number == id && id != NO_NUMBER);
        }
        let place = *self.all.by_number.get(usize::from(id))?;
        let field = self.all.fields.get(place as usize)?;
        self.all.slots.find(self.tables.fields, field.key(place), |other| other == place).map(|_| field)
    }

    /// The field of that name, declared here or inherited and not shadowed.
    pub fn field_by_name(&self, name: &str) -> Option<&Field> {
        let name = self.all.shared.types.names.find(name)?;
        let is = |place| self.at(place).name == name;
        self.all.slots.find(self.tables.fields, name.0, is).map(|place| self.at(place))
    }

    /// Whether this class is the other one or derives from it.
    pub fn is_a(&self, other: u16) -> bool {
        let other = u32::from(other);
        self.all.slots.find(self.tables.ancestors, other, |number| number == other).is_some()
    }
}

impl Field {
    /// Its number, schema-wide under the default options. [`NO_NUMBER`] for what has none.
    pub fn id(&self) -> u16 {
        self.number
    }

    /// Empty for a struct member without a name.
    pub fn name(&self) -> &str {
        self.types().name(self.name)
    }

    /// What a class finds it by: its name, or its own place where it has none.
    fn key(&self, place: u32) -> u32 {
        if self.name.is_empty() { !place } else { self.name.0 }
    }

    pub(crate) fn types(&self) -> &Types {
        &self.shared.types
    }

    pub(crate) fn shared_types(&self) -> Arc<Types> {
        self.shared.types.clone()
    }

    /// Where the name of a method or molecule stands; a data field with its type.
    pub fn span(&self) -> Span {
        self.span
    }

    pub fn kind(&self) -> FieldKind {
        self.kind
    }

    /// The historical keywords, by their meaning.
    pub fn keywords(&self) -> Keywords {
        self.keywords
    }

    /// All keywords, custom ones too, in the order of first mention.
    pub fn keyword_names(&self) -> impl Iterator<Item = &str> {
        self.shared.keyword_lists[self.keyword_list.0 as usize].names.iter().map(|name| self.types().name(*name))
    }

    /// Numbers of the methods that a molecule is made of, else empty.
    pub fn parts(&self) -> &[u16] {
        self.parts.of(&self.shared.part_numbers)
    }

    /// Names of the methods that a molecule is made of.
    pub fn part_names(&self) -> impl Iterator<Item = &str> {
        self.parts.of(&self.shared.part_names).iter().map(|name| self.types().name(*name))
    }

    /// Names of the parameters of a method, or of all parts of a molecule.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        let members = match self.types().shape(self.ty) {
            Shape::Record(record) if record.class.is_none() => record.members,
            _ => Members::default(),
        };
        self.types().members(members).iter().map(|member| self.types().name(member.name))
    }

    /// The packed default, explicit or implicit.
    pub fn default_value(&self) -> &[u8] {
        self.default.of(&self.shared.defaults)
    }

    /// Whether it or any part of it, however deep, was given a default.
    pub fn has_explicit_default(&self) -> bool {
        self.has_explicit_default
    }

    /// Packed bytes, if every value has as many.
    pub fn fixed_size(&self) -> Option<usize> {
        self.fixed_size.map(|size| size as usize)
    }

    /// Whether the bytes are exactly one value that the contract allows.
    #[inline]
    pub fn validate(&self, bytes: &[u8], policy: TextPolicy) -> Result<(), ValueError> {
        if self.shared.checks.allows(self.check, bytes, policy) {
            Ok(())
        } else {
            Err(self.explain_whole(bytes, policy))
        }
    }

    /// Whether the bytes start with a value that the contract allows; answers its length.
    #[inline]
    pub fn validate_prefix(&self, bytes: &[u8], policy: TextPolicy) -> Result<usize, ValueError> {
        let rest = self.shared.checks.run(self.steps, bytes, Everything(policy));
        rest.map(|rest| bytes.len() - rest.len()).ok_or_else(|| self.explain(bytes, policy))
    }

    /// The length of the value that the bytes start with; numbers, counts and texts in it are not checked.
    #[inline]
    pub fn skip(&self, bytes: &[u8]) -> Result<usize, ValueError> {
        let rest = self.shared.checks.run(self.steps, bytes, LengthOnly);
        rest.map(|rest| bytes.len() - rest.len()).ok_or_else(|| self.explain(bytes, TextPolicy::Bytes))
    }

    #[cold]
    fn explain_whole(&self, bytes: &[u8], policy: TextPolicy) -> ValueError {
        let mut walk = Walk::new(self.types(), self.name(), policy, Nobody);
        walk.whole(self.ty, bytes).err().unwrap_or_else(|| self.unexplained())
    }

    #[cold]
    fn explain(&self, bytes: &[u8], policy: TextPolicy) -> ValueError {
        let mut walk = Walk::new(self.types(), self.name(), policy, Nobody);
        walk.value(self.ty, bytes, 0).err().unwrap_or_else(|| self.unexplained())
    }

    /// The quick check refused and the slow one did not: a fault of this crate, which must not let the value pass.
    #[cold]
    fn unexplained(&self) -> ValueError {
        debug_assert!(false, "check and walk disagree on {}", self.name());
        let message = "the value is not allowed".to_owned();
        ValueError::new(ValueErrorKind::Constraint, self.name().to_owned(), 0, message)
    }
}
