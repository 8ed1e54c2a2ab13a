//! What has been declared so far: the tables that the parser fills and the contract is made from.
//!
//! Decides: numbers of classes and fields, inherited lists (spec 3.2, 3.3, 3.12), what a class is as a type. Never sees
//! text, and reports nothing: the parser asks, and words the answer.

use crate::contract::Options;
use crate::keywords::Keywords;
use crate::names::{Symbol, SymbolSet};
use crate::number_hasher::{NumberMap, NumberSet};
use crate::source::Span;
use crate::stretch::Stretch;
use crate::types::{Packed, Parameter, RecordType, Shape, TypeId, Types};
use smallvec::SmallVec;

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// A method: parameters in parentheses.
    Atomic,
    /// A molecule: several methods set at once.
    Molecular,
    /// A data field: one parameter.
    Data,
}

/// The keywords of a field. Most fields of a contract share few lists.
#[derive(Debug)]
pub(crate) struct KeywordList {
    pub meaning: Keywords,
    /// In the order of first mention.
    pub names: Vec<Symbol>,
    pub hashed: HashedKeywords,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashedKeywords {
    Bits(u16),
    /// Sorted by bytes.
    Names(Vec<Symbol>),
}

/// A list of [`KeywordList`]s, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeywordsId(pub u32);

#[derive(Clone, Copy)]
pub(crate) struct FieldEntry {
    /// The class that declares it, and the field of the same name that was declared before it, in any class.
    pub class: u32,
    pub namesake: Option<u32>,
    /// Empty for a member without a name.
    pub name: Symbol,
    pub number: Option<u16>,
    pub kind: FieldKind,
    pub ty: TypeId,
    pub default: Option<Packed>,
    pub keywords: KeywordsId,
    /// Of a molecule, in [`Builder::parts`].
    pub parts: Stretch,
    pub span: Span,
}

impl FieldEntry {
    /// A field that has no number yet, no default and no parts.
    pub fn new(class: u32, name: Symbol, kind: FieldKind, ty: TypeId, keywords: KeywordsId, span: Span) -> Self {
        let parts = Stretch::default();
        FieldEntry { class, namesake: None, name, number: None, kind, ty, default: None, keywords, parts, span }
    }
}

/// Most classes have one base.
pub(crate) type Bases = SmallVec<[u32; 2]>;

pub(crate) struct ClassEntry {
    /// Empty for a class without a name.
    pub name: Symbol,
    pub is_struct: bool,
    pub bases: Bases,
    /// Where its own fields begin in [`Builder::open`] while its body is open.
    opened: u32,
    /// In [`Builder::lists`], as the next; both are known when the class is closed. Not the constructor.
    pub own: Stretch,
    /// In packing order.
    pub inherited: Stretch,
    pub constructor: Option<u32>,
    /// Place in the class list, if it has one and is no struct.
    pub number: Option<u16>,
    /// Numbers of the class and all that it derives from, ascending, in [`Builder::ancestors`].
    pub ancestors: Stretch,
    pub ty: Option<TypeId>,
    pub span: Span,
}

/// A file-level name.
#[derive(Clone, Copy)]
pub(crate) enum Thing {
    Class(u32),
    Switch(TypeId),
}

pub(crate) struct Typedef {
    pub ty: TypeId,
    pub span: Span,
    /// Made silently by the first use of a class, struct or switch as a type.
    pub implicit: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// With its `/AI/OV` suffixes, as written.
    pub module: String,
    /// Empty for `import module`; `*` is a symbol.
    pub symbols: Vec<String>,
}

pub(crate) struct Builder {
    pub types: Types,
    pub classes: Vec<ClassEntry>,
    pub fields: Vec<FieldEntry>,
    /// Lists of fields: what classes declare and inherit.
    pub lists: Vec<u32>,
    /// What the classes around the current token have declared so far, the innermost last.
    open: Vec<u32>,
    pub ancestors: Vec<u16>,
    /// Fields that molecules are made of.
    pub parts: Vec<u32>,
    /// The field of each name that was declared last. No constructors.
    newest: Vec<Option<u32>>,
    /// File-level classes and structs in the order of their closing braces.
    pub class_list: Vec<u32>,
    pub things: NumberMap<Symbol, (Thing, Span)>,
    pub typedefs: NumberMap<Symbol, Typedef>,
    pub unnamed_typedef: Option<Span>,
    pub typedef_names: Vec<Symbol>,
    /// Declared, historical ones too.
    pub declared_keywords: SymbolSet,
    /// Declared or used, in order of first mention.
    pub known_keywords: Vec<Symbol>,
    /// Historical keywords that are among them, as bits.
    pub known_historical: u16,
    pub keyword_lists: Vec<KeywordList>,
    pub imports: Vec<Import>,
    pub numbers_used: usize,
    pub inherited_total: usize,
    marks: Marks,
}

/// A set of symbols that is emptied by counting on.
#[derive(Default)]
struct Marks {
    /// By symbol: in which use of the set it was added last.
    of: Vec<u32>,
    current: u32,
}

impl Marks {
    fn clear(&mut self, symbols: usize) {
        self.of.resize(symbols, 0);
        self.current += 1;
    }

    /// Whether it was not there before.
    fn insert(&mut self, symbol: Symbol) -> bool {
        let mark = &mut self.of[symbol.0 as usize];
        std::mem::replace(mark, self.current) != self.current
    }
}

impl Builder {
    /// With room for so many fields.
    pub fn new(capacity: usize) -> Self {
        Builder {
            types: Types::new(capacity),
            classes: Vec::with_capacity(capacity / 8),
            fields: Vec::with_capacity(capacity),
            lists: Vec::with_capacity(2 * capacity),
            open: Vec::new(),
            ancestors: Vec::new(),
            parts: Vec::new(),
            newest: Vec::with_capacity(capacity),
            class_list: Vec::with_capacity(capacity / 8),
            things: NumberMap::default(),
            typedefs: NumberMap::default(),
            unnamed_typedef: None,
            typedef_names: Vec::new(),
            declared_keywords: SymbolSet::default(),
            known_keywords: Vec::new(),
            known_historical: 0,
            keyword_lists: Vec::new(),
            imports: Vec::new(),
            numbers_used: 0,
            inherited_total: 0,
            marks: Marks::default(),
        }
    }

    pub fn keywords(&self, id: KeywordsId) -> &KeywordList {
        &self.keyword_lists[id.0 as usize]
    }

    /// The number that the next field of a class takes, if fields of that class have any.
    pub fn next_number(&mut self, class: u32, options: &Options) -> Option<usize> {
        let entry = &self.classes[class as usize];
        let numbered = !entry.is_struct || (options.virtual_inheritance && options.sort_inheritance_by_file);
        if !numbered {
            return None;
        }
        if options.multiple_inheritance {
            self.numbers_used += 1;
            return Some(self.numbers_used - 1);
        }
        let inherited: usize = entry.bases.iter().map(|base| self.classes[*base as usize].inherited.len()).sum();
        Some(inherited + self.own_so_far(class).len())
    }

    /// Begins a class; its body is the innermost one until it is closed or abandoned.
    pub fn open_class(&mut self, name: Symbol, is_struct: bool, bases: Bases, span: Span) -> u32 {
        let class = self.classes.len() as u32;
        self.classes.push(ClassEntry {
            name,
            is_struct,
            bases,
            opened: self.open.len() as u32,
            own: Stretch::default(),
            inherited: Stretch::default(),
            constructor: None,
            number: None,
            ancestors: Stretch::default(),
            ty: None,
            span,
        });
        class
    }

    /// What the class of the innermost body has declared.
    pub fn own_so_far(&self, class: u32) -> &[u32] {
        &self.open[self.classes[class as usize].opened as usize..]
    }

    /// Ends a body that cannot be read to its end.
    pub fn abandon_class(&mut self, class: u32) {
        self.open.truncate(self.classes[class as usize].opened as usize);
    }

    /// The field of that name that the class itself declares; not the constructor.
    pub fn own_field(&self, class: u32, name: Symbol) -> Option<u32> {
        let mut place = *self.newest.get(name.0 as usize)?;
        // Fields are declared while their class is the newest or one inside it is: what a class that began earlier
        // declared before ends the search.
        while let Some(index) = place {
            let field = &self.fields[index as usize];
            if field.class <= class {
                return (field.class == class).then_some(index);
            }
            place = field.namesake;
        }
        None
    }

    /// Adds a field to its class, where it can be found by its name.
    pub fn add_own_field(&mut self, mut field: FieldEntry) {
        let index = self.fields.len() as u32;
        if !field.name.is_empty() {
            let symbol = field.name.0 as usize;
            if self.newest.len() <= symbol {
                self.newest.resize(self.types.names.len(), None);
            }
            field.namesake = self.newest[symbol].replace(index);
        }
        self.open.push(index);
        self.fields.push(field);
    }

    /// Own fields, then each base and its bases, in order.
    pub fn find_field(&self, class: u32, name: Symbol) -> Option<u32> {
        if let Some(field) = self.own_field(class, name) {
            return Some(field);
        }
        let mut seen = NumberSet::default();
        let mut waiting = vec![class];
        while let Some(index) = waiting.pop() {
            if !seen.insert(index) {
                continue;
            }
            if let Some(field) = self.own_field(index, name) {
                return Some(field);
            }
            waiting.extend(self.classes[index as usize].bases.iter().rev());
        }
        None
    }

    /// Fixes the lists of a class whose body is complete.
    pub fn close_class(&mut self, class: u32, options: &Options) {
        let virtually = options.multiple_inheritance && options.virtual_inheritance;
        let entry = &mut self.classes[class as usize];
        let own = Stretch::append(&mut self.lists, self.open.drain(entry.opened as usize..));
        let bases = std::mem::take(&mut entry.bases);
        let inherited = match bases[..] {
            [] => own,
            _ if virtually => self.virtual_list(own, &bases, options.sort_inheritance_by_file),
            _ => self.plain_list(own, &bases),
        };
        self.inherited_total += inherited.len();
        let entry = &mut self.classes[class as usize];
        (entry.own, entry.inherited, entry.bases) = (own, inherited, bases);
    }

    fn plain_list(&mut self, own: Stretch, bases: &[u32]) -> Stretch {
        let start = self.lists.len();
        for base in bases {
            self.lists.extend_from_within(self.classes[*base as usize].inherited.range());
        }
        self.lists.extend_from_within(own.range());
        Stretch::since(start, &self.lists)
    }

    fn virtual_list(&mut self, own: Stretch, bases: &[u32], sort: bool) -> Stretch {
        let start = self.lists.len();
        // An own field takes the place of all of its name, so the inherited ones never enter the list.
        self.marks.clear(self.types.names.len());
        for field in own.of(&self.lists) {
            self.marks.insert(self.fields[*field as usize].name);
        }
        for base in bases {
            for place in self.classes[*base as usize].inherited.range() {
                let field = self.lists[place];
                let name = self.fields[field as usize].name;
                let keep = if name.is_empty() { !sort } else { self.marks.insert(name) };
                if keep {
                    self.lists.push(field);
                }
            }
        }
        self.lists.extend_from_within(own.range());
        // What follows one base is in order already: its own fields were numbered later.
        if sort && bases.len() > 1 {
            self.lists[start..].sort_by_key(|field| self.fields[*field as usize].number);
        }
        Stretch::since(start, &self.lists)
    }

    /// Gives the class its place in the class list.
    pub fn list_class(&mut self, class: u32) {
        let place = self.class_list.len() as u16;
        self.class_list.push(class);
        if self.classes[class as usize].is_struct {
            return;
        }
        let start = self.ancestors.len();
        for base in &self.classes[class as usize].bases {
            self.ancestors.extend_from_within(self.classes[*base as usize].ancestors.range());
        }
        // Counted before those that are there twice are taken out: it is the work that is bounded.
        self.inherited_total += self.ancestors.len() - start;
        if self.classes[class as usize].bases.len() > 1 {
            let mut all = self.ancestors.split_off(start);
            all.sort_unstable();
            all.dedup();
            self.ancestors.append(&mut all);
        }
        self.ancestors.push(place);
        let entry = &mut self.classes[class as usize];
        entry.number = Some(place);
        entry.ancestors = Stretch::since(start, &self.ancestors);
    }

    /// The inherited list, in packing order.
    pub fn inherited(&self, class: u32) -> &[u32] {
        self.classes[class as usize].inherited.of(&self.lists)
    }

    /// A class or struct as a type: its constructor, then its inherited list without molecules.
    pub fn class_type(&mut self, class: u32) -> TypeId {
        let entry = &self.classes[class as usize];
        if let Some(ty) = entry.ty {
            return ty;
        }
        let fields = entry.constructor.iter().chain(entry.inherited.of(&self.lists));
        let members = fields
            .map(|index| &self.fields[*index as usize])
            .filter(|field| field.kind != FieldKind::Molecular)
            .map(|field| Parameter { name: field.name, ty: field.ty, default: field.default });
        let members = self.types.add_members(members);
        let name = entry.name;
        let ty = self.types.add(Shape::Record(RecordType { class: Some(class), name, members }));
        self.classes[class as usize].ty = Some(ty);
        ty
    }
}
