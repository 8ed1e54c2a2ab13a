//! The live objects of one executor, by doid.
//!
//! Objects stand side by side in one slab; the table that finds them holds eight bytes for each. A hash table of whole
//! objects would leave up to half of its much larger places empty, and would move them all when it grows.

use super::object::Object;
use crate::wire::Doid;
use hashbrown::HashMap;
use slab::Slab;

#[derive(Debug, Default)]
pub struct Objects {
    place_of: HashMap<Doid, u32>,
    slab: Slab<Object>,
}

impl Objects {
    pub fn len(&self) -> usize {
        self.place_of.len()
    }

    pub fn contains(&self, doid: Doid) -> bool {
        self.place_of.contains_key(&doid)
    }

    pub fn get(&self, doid: Doid) -> Option<&Object> {
        self.slab.get(*self.place_of.get(&doid)? as usize)
    }

    pub fn get_mut(&mut self, doid: Doid) -> Option<&mut Object> {
        self.slab.get_mut(*self.place_of.get(&doid)? as usize)
    }

    /// Adds an object, whose doid must be free.
    pub fn insert(&mut self, object: Object) -> &mut Object {
        let place = self.slab.vacant_entry();
        // Doids are 32 bits wide: there are never more objects than that.
        let before = self.place_of.insert(object.doid, place.key() as u32);
        assert!(before.is_none(), "object {} is there twice", object.doid);
        place.insert(object)
    }

    pub fn remove(&mut self, doid: Doid) -> Option<Object> {
        self.slab.try_remove(self.place_of.remove(&doid)? as usize)
    }
}

#[cfg(test)]
impl Objects {
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        assert_eq!(self.slab.len(), self.place_of.len());
        self.slab.iter().map(|(_, object)| object)
    }
}
