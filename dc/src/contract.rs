//! The contract: classes and fields as the daemon and tools see them, immutable and shareable.
//!
//! Decides: look-ups, all of constant cost and without allocation. Never changes after it is made.

use crate::builder::{Builder, ClassEntry, FieldEntry, FieldKind, Import, KeywordList};
use crate::check::{self, Compiler, Everything, LengthOnly, Step};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::hash::hash;
use crate::keywords::Keywords;
use crate::limits::DEFAULT_WEIGHT_TOTAL_MAX;
use crate::number_hasher::{NumberMap, NumberSet, spread};
use crate::parser;
use crate::source::{Source, Span};
use crate::types::{Shape, TypeId, Types};
use crate::value_error::{TextPolicy, ValueError, ValueErrorKind};
use crate::walk::{Nobody, Walk};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use smallvec::SmallVec;
use std::hash::BuildHasher;
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

/// Fields of one class: number and place.
type ByNumber = HashTable<(u16, u32)>;

/// The number of what has none: constructors, and struct members under some options.
pub const NO_NUMBER: u16 = u16::MAX;

/// Beyond every place: all fields of a contract fit 32 bits by far.
const NO_PLACE: u32 = u32::MAX;

/// A parsed set of DC files.
pub struct Contract {
    hash: u32,
    /// File-level classes and structs in the order of their closing braces: the index is the number.
    classes: Vec<Class>,
    classes_by_name: HashMap<Arc<str>, u16>,
    fields: Arc<Vec<Field>>,
    /// Places in `fields`, by number; none for a number that no field has.
    by_number: Vec<u32>,
    imports: Vec<Import>,
    typedefs: Vec<Arc<str>>,
    keywords: Vec<Arc<str>>,
}

/// A dclass, or a struct where structs are asked for.
pub struct Class {
    number: u16,
    name: Arc<str>,
    span: Span,
    is_struct: bool,
    base_names: Vec<Arc<str>>,
    ancestors: NumberSet<u16>,
    /// Of the whole contract; what follows are places in it.
    all: Arc<Vec<Field>>,
    own: Vec<u32>,
    constructor: Option<u32>,
    inherited: Vec<u32>,
    by_number: ByNumber,
    /// By the hash of the name that the field keeps.
    by_name: HashTable<u32>,
    name_hasher: DefaultHashBuilder,
}

/// A method, molecule or data field, or a member of a struct.
pub struct Field {
    number: u16,
    name: Arc<str>,
    name_hash: u64,
    kind: FieldKind,
    keywords: Keywords,
    keyword_list: Arc<KeywordList>,
    parts: Vec<u16>,
    part_names: Vec<Arc<str>>,
    /// Most are short enough to need no memory of their own.
    default: SmallVec<[u8; 16]>,
    span: Span,
    has_explicit_default: bool,
    fixed_size: Option<usize>,
    steps: Arc<[Step]>,
    pub(crate) ty: TypeId,
    pub(crate) types: Arc<Types>,
}

impl Contract {
    /// Reads the sources in order, as one contract. On failure there is at least one diagnostic.
    pub fn parse(sources: &[Source], options: &Options) -> Result<Contract, Diagnostics> {
        let builder = parser::parse(sources, options)?;
        if let Some(refused) = total_weight_refused(&builder) {
            return Err(Diagnostics::new(vec![refused], sources));
        }
        let hash = hash(&builder, options);
        Ok(Contract::from_builder(builder, hash, options))
    }

    fn from_builder(builder: Builder, hash: u32, options: &Options) -> Contract {
        let Builder {
            types,
            classes: mut entries,
            fields: field_entries,
            class_list,
            imports,
            typedef_names,
            known_keywords,
            ..
        } = builder;
        let types = Arc::new(types);
        let name_hasher = DefaultHashBuilder::default();
        let fields = Arc::new(make_fields(field_entries, &types, &name_hasher));
        let mut by_number = Vec::new();
        if options.multiple_inheritance {
            let numbered = fields.iter().enumerate().filter(|(_, field)| field.number != NO_NUMBER);
            for (place, field) in numbered {
                let number = usize::from(field.number);
                if by_number.len() <= number {
                    by_number.resize(number + 1, NO_PLACE);
                }
                by_number[number] = place as u32;
            }
        }
        let mut classes: Vec<Class> = Vec::with_capacity(class_list.len());
        let mut places = NumberMap::default();
        let distinct = options.multiple_inheritance && options.virtual_inheritance;
        let mut classes_by_name = HashMap::with_capacity(class_list.len());
        for (place, index) in class_list.iter().enumerate() {
            let class = make_class(*index, &mut entries, &fields, &classes, &places, &name_hasher, distinct);
            if !class.name.is_empty() {
                classes_by_name.insert(class.name.clone(), place as u16);
            }
            places.insert(*index, place);
            classes.push(class);
        }
        Contract {
            hash,
            classes,
            classes_by_name,
            fields,
            by_number,
            imports,
            typedefs: typedef_names.into_iter().map(|(name, _)| name).collect(),
            keywords: known_keywords.into_iter().map(|(_, name)| name).collect(),
        }
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
        let place = self.classes_by_name.get(name)?;
        self.classes.get(usize::from(*place))
    }

    /// The field of that number, schema-wide. None for all without multiple inheritance, where every class counts anew.
    pub fn field(&self, id: u16) -> Option<&Field> {
        let place = self.by_number.get(usize::from(id))?;
        self.fields.get(*place as usize)
    }

    /// Imports, in order.
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// Names of explicit typedefs, in order.
    pub fn typedefs(&self) -> impl Iterator<Item = &str> {
        self.typedefs.iter().map(|name| &**name)
    }

    /// Keywords that were declared or used, in order of first mention.
    pub fn known_keywords(&self) -> impl Iterator<Item = &str> {
        self.keywords.iter().map(|name| &**name)
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

fn make_fields(entries: Vec<FieldEntry>, types: &Arc<Types>, name_hasher: &DefaultHashBuilder) -> Vec<Field> {
    let mut compiler = Compiler::new(types);
    let mut fields: Vec<Field> = Vec::with_capacity(entries.len());
    let mut default = Vec::new();
    for entry in entries {
        let node = types.node(entry.ty);
        default.clear();
        match &entry.default {
            Some(bytes) => default.extend_from_slice(bytes),
            None => types.write_default(entry.ty, &mut default),
        }
        let part = |index: &u32| &fields[*index as usize];
        let field = Field {
            number: entry.number.unwrap_or(NO_NUMBER),
            name_hash: name_hasher.hash_one(&*entry.name),
            name: entry.name,
            kind: entry.kind,
            keywords: entry.keywords.meaning,
            keyword_list: entry.keywords,
            parts: entry.parts.iter().map(|index| part(index).number).collect(),
            part_names: entry.parts.iter().map(|index| part(index).name.clone()).collect(),
            default: SmallVec::from_slice(&default),
            span: entry.span,
            has_explicit_default: entry.default.is_some() || node.has_default,
            fixed_size: node.size.and_then(|size| usize::try_from(size).ok()),
            steps: compiler.compile(entry.ty),
            ty: entry.ty,
            types: types.clone(),
        };
        fields.push(field);
    }
    fields
}

/// Takes the lists out of the entry.
fn make_class(
    index: u32,
    entries: &mut [ClassEntry],
    fields: &Arc<Vec<Field>>,
    classes: &[Class],
    places: &NumberMap<u32, usize>,
    name_hasher: &DefaultHashBuilder,
    distinct: bool,
) -> Class {
    let entry = &mut entries[index as usize];
    let (own, inherited) = (std::mem::take(&mut entry.own), std::mem::take(&mut entry.inherited));
    let entry = &entries[index as usize];
    let mut ancestors = NumberSet::default();
    ancestors.extend(entry.number);
    for base in entry.bases.iter().filter_map(|base| places.get(base)) {
        ancestors.extend(&classes[*base].ancestors);
    }
    let (by_number, by_name) = lookup_tables(&own, &inherited, fields, distinct);
    Class {
        number: entry.number.unwrap_or(NO_NUMBER),
        name: entry.name.clone(),
        span: entry.span,
        is_struct: entry.is_struct,
        base_names: entry.bases.iter().map(|base| entries[*base as usize].name.clone()).collect(),
        ancestors,
        all: fields.clone(),
        own,
        constructor: entry.constructor,
        inherited,
        by_number,
        by_name,
        name_hasher: name_hasher.clone(),
    }
}

/// Where the fields of a class are, by number and by name. Without overriding (`distinct`) its list holds two of one name
/// or number; a look-up finds the nearer, an own field first.
fn lookup_tables(own: &[u32], inherited: &[u32], fields: &[Field], distinct: bool) -> (ByNumber, HashTable<u32>) {
    let mut by_number = ByNumber::with_capacity(inherited.len());
    let mut by_name = HashTable::with_capacity(inherited.len());
    let first_own = own.first().copied().unwrap_or(u32::MAX);
    for place in inherited {
        let field = &fields[*place as usize];
        let (number, hash) = (field.number, field.name_hash);
        let is_own = *place >= first_own;
        if number != NO_NUMBER {
            let earlier =
                if distinct { None } else { by_number.find_mut(spread(number), |(other, _)| *other == number) };
            match earlier {
                Some(found) if is_own => *found = (number, *place),
                Some(_) => {}
                None => {
                    by_number.insert_unique(spread(number), (number, *place), |(other, _)| spread(*other));
                }
            }
        }
        if field.name.is_empty() {
            continue;
        }
        let same = |other: &u32| {
            let other = &fields[*other as usize];
            other.name_hash == hash && other.name == field.name
        };
        match if distinct { None } else { by_name.find_mut(hash, same) } {
            Some(found) if is_own => *found = *place,
            Some(_) => {}
            None => {
                by_name.insert_unique(hash, *place, |other| fields[*other as usize].name_hash);
            }
        }
    }
    (by_number, by_name)
}

impl Class {
    /// Its number: the place in the class list. [`NO_NUMBER`] for a struct.
    pub fn id(&self) -> u16 {
        self.number
    }

    /// Empty for a class without a name.
    pub fn name(&self) -> &str {
        &self.name
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
        self.base_names.iter().map(|name| &**name)
    }

    /// The inherited list: everything the class has, in packing order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.inherited.iter().map(|place| &self.all[*place as usize])
    }

    /// What the class itself declares, in the order of the text; not the constructor.
    pub fn own_fields(&self) -> impl Iterator<Item = &Field> {
        self.own.iter().map(|place| &self.all[*place as usize])
    }

    /// The constructor of a struct.
    pub fn constructor(&self) -> Option<&Field> {
        self.constructor.map(|place| &self.all[place as usize])
    }

    /// The field of that number, declared here or inherited and not shadowed.
    pub fn field(&self, id: u16) -> Option<&Field> {
        let (_, place) = self.by_number.find(spread(id), |(number, _)| *number == id)?;
        Some(&self.all[*place as usize])
    }

    /// The field of that name, declared here or inherited and not shadowed.
    pub fn field_by_name(&self, name: &str) -> Option<&Field> {
        let same = |place: &u32| *self.all[*place as usize].name == *name;
        let place = self.by_name.find(self.name_hasher.hash_one(name), same)?;
        Some(&self.all[*place as usize])
    }

    /// Whether this class is the other one or derives from it.
    pub fn is_a(&self, other: u16) -> bool {
        self.ancestors.contains(&other)
    }
}

impl Field {
    /// Its number, schema-wide under the default options. [`NO_NUMBER`] for what has none.
    pub fn id(&self) -> u16 {
        self.number
    }

    /// Empty for a struct member without a name.
    pub fn name(&self) -> &str {
        &self.name
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
        self.keyword_list.names.iter().map(|name| &**name)
    }

    /// Numbers of the methods that a molecule is made of, else empty.
    pub fn parts(&self) -> &[u16] {
        &self.parts
    }

    /// Names of the methods that a molecule is made of.
    pub fn part_names(&self) -> impl Iterator<Item = &str> {
        self.part_names.iter().map(|name| &**name)
    }

    /// Names of the parameters of a method, or of all parts of a molecule.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        let members = match self.types.shape(self.ty) {
            Shape::Record(record) if record.class.is_none() => &record.members[..],
            _ => &[],
        };
        members.iter().map(|member| &*member.name)
    }

    /// The packed default, explicit or implicit.
    pub fn default_value(&self) -> &[u8] {
        &self.default
    }

    /// Whether it or any part of it, however deep, was given a default.
    pub fn has_explicit_default(&self) -> bool {
        self.has_explicit_default
    }

    /// Packed bytes, if every value has as many.
    pub fn fixed_size(&self) -> Option<usize> {
        self.fixed_size
    }

    /// Whether the bytes are exactly one value that the contract allows.
    #[inline]
    pub fn validate(&self, bytes: &[u8], policy: TextPolicy) -> Result<(), ValueError> {
        match check::run(&self.steps, bytes, Everything(policy)) {
            Some([]) => Ok(()),
            _ => Err(self.explain_whole(bytes, policy)),
        }
    }

    /// Whether the bytes start with a value that the contract allows; answers its length.
    #[inline]
    pub fn validate_prefix(&self, bytes: &[u8], policy: TextPolicy) -> Result<usize, ValueError> {
        let rest = check::run(&self.steps, bytes, Everything(policy));
        rest.map(|rest| bytes.len() - rest.len()).ok_or_else(|| self.explain(bytes, policy))
    }

    /// The length of the value that the bytes start with; numbers, counts and texts in it are not checked.
    #[inline]
    pub fn skip(&self, bytes: &[u8]) -> Result<usize, ValueError> {
        let rest = check::run(&self.steps, bytes, LengthOnly);
        rest.map(|rest| bytes.len() - rest.len()).ok_or_else(|| self.explain(bytes, TextPolicy::Bytes))
    }

    #[cold]
    fn explain_whole(&self, bytes: &[u8], policy: TextPolicy) -> ValueError {
        let mut walk = Walk::new(&self.types, &self.name, policy, Nobody);
        walk.whole(self.ty, bytes).err().unwrap_or_else(|| self.unexplained())
    }

    #[cold]
    fn explain(&self, bytes: &[u8], policy: TextPolicy) -> ValueError {
        let mut walk = Walk::new(&self.types, &self.name, policy, Nobody);
        walk.value(self.ty, bytes, 0).err().unwrap_or_else(|| self.unexplained())
    }

    /// The quick check refused and the slow one did not: a fault of this crate, which must not let the value pass.
    #[cold]
    fn unexplained(&self) -> ValueError {
        debug_assert!(false, "check and walk disagree on {}", self.name);
        let message = "the value is not allowed".to_owned();
        ValueError::new(ValueErrorKind::Constraint, self.name.to_string(), 0, message)
    }
}
