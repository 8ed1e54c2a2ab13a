//! How the values of a class are laid out in memory: which fields are stored, and who may see them.
//!
//! Decides the slots of a class, computed once from the contract, and the three filters of the sections REQUIRED and
//! OTHER (`protocol-ss-dbss-db.md` §1.5). It holds no values and no objects.

use donet_dc::{Class, Contract, FieldKind, Keywords};

/// Which fields a REQUIRED or OTHER section shows (§1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every stored field: CREATE, ENTER_AI, GET_ALL_RESP.
    All,
    /// `broadcast` or `clrecv`: ENTER_LOCATION, ENTER_INTEREST.
    Client,
    /// What [`Filter::Client`] shows, and `ownrecv`: ENTER_OWNER.
    Owner,
}

impl Filter {
    const ALL: [Self; 3] = [Self::All, Self::Client, Self::Owner];

    fn shows(self, keywords: Keywords) -> bool {
        match self {
            Self::All => true,
            Self::Client => keywords.intersects(Keywords::BROADCAST | Keywords::CLRECV),
            Self::Owner => keywords.intersects(Keywords::BROADCAST | Keywords::CLRECV | Keywords::OWNRECV),
        }
    }
}

/// The place of one stored field.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub field: u16,
    shown_to: [bool; Filter::ALL.len()],
}

impl Slot {
    fn new(field: u16, keywords: Keywords) -> Self {
        Self { field, shown_to: Filter::ALL.map(|filter| filter.shows(keywords)) }
    }

    pub fn is_shown(&self, filter: Filter) -> bool {
        self.shown_to[filter as usize]
    }
}

/// The stored fields of one class: the `required` ones in ascending id, then the `ram` ones that are not required, in
/// ascending id (§1.6). Molecular fields are stored as their parts and have no slot.
#[derive(Debug)]
pub struct ClassLayout {
    slots: Box<[Slot]>,
    required: usize,
    /// For each filter, whether it shows every required field: then REQUIRED is one run of bytes.
    shows_every_required: [bool; Filter::ALL.len()],
}

impl ClassLayout {
    fn new(class: &Class) -> Self {
        let stored = |wanted: fn(Keywords) -> bool| {
            let mut slots: Vec<Slot> = class
                .fields()
                .filter(|field| field.kind() != FieldKind::Molecular && wanted(field.keywords()))
                .map(|field| Slot::new(field.id(), field.keywords()))
                .collect();
            slots.sort_unstable_by_key(|slot| slot.field);
            slots
        };
        let mut slots = stored(|keywords| keywords.contains(Keywords::REQUIRED));
        let required = slots.len();
        let shows_every_required = Filter::ALL.map(|filter| slots.iter().all(|slot| slot.is_shown(filter)));
        slots.extend(stored(|keywords| keywords.contains(Keywords::RAM) && !keywords.contains(Keywords::REQUIRED)));
        Self { slots: slots.into(), required, shows_every_required }
    }

    /// All slots: those of [`ClassLayout::required`], then those of [`ClassLayout::ram`].
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots that always have a value.
    pub fn required(&self) -> &[Slot] {
        &self.slots[..self.required]
    }

    /// The slots that have a value once it was set.
    pub fn ram(&self) -> &[Slot] {
        &self.slots[self.required..]
    }

    /// Whether this slot is one of [`ClassLayout::required`].
    pub fn is_required(&self, slot: usize) -> bool {
        slot < self.required
    }

    pub fn shows_every_required(&self, filter: Filter) -> bool {
        self.shows_every_required[filter as usize]
    }

    /// The slot of a field, or `None` if it is not stored.
    pub fn slot_of(&self, field: u16) -> Option<usize> {
        let find = |slots: &[Slot]| slots.binary_search_by_key(&field, |slot| slot.field).ok();
        find(self.required()).or_else(|| find(self.ram()).map(|index| self.required + index))
    }
}

/// The layouts of every class of a contract.
#[derive(Debug)]
pub struct Layouts {
    /// By class id; structs have none.
    by_class: Vec<Option<ClassLayout>>,
}

impl Layouts {
    pub fn new(contract: &Contract) -> Self {
        let mut by_class = Vec::new();
        for class in contract.classes() {
            let index = class.id() as usize;
            if by_class.len() <= index {
                by_class.resize_with(index + 1, || None);
            }
            by_class[index] = Some(ClassLayout::new(class));
        }
        Self { by_class }
    }

    /// The layout of a class, or `None` if the id names none.
    pub fn get(&self, class: u16) -> Option<&ClassLayout> {
        self.by_class.get(class as usize)?.as_ref()
    }
}
