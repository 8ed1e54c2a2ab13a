//! All stored objects, one page after the other in ascending order of their doids, and how much of them that is.

use super::records::{self, OBJECT_NUMBER, ObjectRecord, StoredRecord};
use super::storage::{Storage, StorageError, Table};
use crate::wire::Doid;
use bytes::Bytes;

/// Records that are read at a time.
const PAGE_RECORDS: usize = 4096;

/// An object's records by number, its own first.
pub type ObjectRecords = Vec<(u32, Bytes)>;
pub(super) type ObjectAt = (Doid, ObjectRecords);

/// Some whole objects from a doid on, and where to go on; `None` at the end.
pub(super) fn objects_from(
    storage: &impl Storage,
    from: Doid,
    records_max: usize,
) -> Result<(Vec<ObjectAt>, Option<Doid>), StorageError> {
    let page = storage.page(Table::Objects, &records::object_key(from, OBJECT_NUMBER), records_max)?;
    let is_full = page.len() == records_max;
    let mut objects: Vec<ObjectAt> = Vec::new();
    for (key, value) in page {
        let (doid, number) = records::split_object_key(&key)?;
        match objects.last_mut() {
            Some((last, records)) if *last == doid => records.push((number, value)),
            _ => objects.push((doid, vec![(number, value)])),
        }
    }
    if !is_full {
        return Ok((objects, None));
    }
    // The last object may go on beyond the page.
    let (last, _) = objects.pop().expect("a full page");
    if !objects.is_empty() {
        return Ok((objects, Some(last)));
    }
    let whole = storage.scan(Table::Objects, records::object_prefix(last))?;
    let whole: Result<ObjectRecords, StorageError> =
        whole.into_iter().map(|(key, value)| Ok((records::split_object_key(&key)?.1, value))).collect();
    Ok((vec![(last, whole?)], last.checked_add(1)))
}

/// The class of an object, by its own record; `None` where there is none.
pub(super) fn class_number(records: &ObjectRecords) -> Result<Option<u32>, StorageError> {
    match records.first() {
        Some((OBJECT_NUMBER, value)) => Ok(Some(ObjectRecord::decode(value)?.class)),
        _ => Ok(None),
    }
}

/// How far a walk is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walked {
    /// Objects so far.
    pub objects: u64,
    /// Of the span of all doids in use, 0 to 1. Where doids lie close together, as a counter hands them out, that is the
    /// share of the objects.
    pub share: f64,
}

/// A walk through all objects. What is changed behind it is not seen again.
#[derive(Debug)]
pub struct Walk {
    next: Option<Doid>,
    first: Doid,
    last: Doid,
    objects: u64,
}

impl Walk {
    /// Begins with the first object from a doid on.
    pub(super) fn begin(storage: &impl Storage, from: Doid) -> Result<Self, StorageError> {
        let doid = |key: Vec<u8>| records::split_object_key(&key).map(|(doid, _)| doid);
        let first = storage.page(Table::Objects, &records::object_key(from, OBJECT_NUMBER), 1)?.into_iter().next();
        let first = first.map(|(key, _)| doid(key)).transpose()?.unwrap_or(from);
        let last = storage.last_key(Table::Objects)?.map(doid).transpose()?.unwrap_or(from);
        Ok(Self { next: Some(first), first, last, objects: 0 })
    }

    /// The next whole objects, perhaps none; `None` at the end.
    pub(super) fn next(&mut self, storage: &impl Storage) -> Result<Option<Vec<ObjectAt>>, StorageError> {
        let Some(from) = self.next else { return Ok(None) };
        let (objects, next) = objects_from(storage, from, PAGE_RECORDS)?;
        self.next = next;
        self.objects += objects.len() as u64;
        Ok(Some(objects))
    }

    /// The first doid that was not looked at; `None` at the end.
    pub(super) fn goes_on_at(&self) -> Option<Doid> {
        self.next
    }

    /// How far it is.
    pub fn reached(&self) -> Walked {
        let span = f64::from(self.last.saturating_sub(self.first)) + 1.0;
        let share = self.next.map_or(1.0, |next| f64::from(next.saturating_sub(self.first)) / span);
        Walked { objects: self.objects, share: share.min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryStorage;
    use super::super::storage::Change;
    use super::*;

    #[test]
    fn a_walk_meets_every_object_once_and_tells_how_far_it_is() {
        let mut storage = MemoryStorage::default();
        let mut walk = Walk::begin(&storage, 0).unwrap();
        assert_eq!(walk.next(&storage), Ok(Some(vec![])), "nothing is stored");
        assert_eq!((walk.reached(), walk.next(&storage)), (Walked { objects: 0, share: 1.0 }, Ok(None)));
        let doids: Vec<Doid> = (1000..4000).chain([u32::MAX]).collect();
        let changes = doids.iter().flat_map(|&doid| {
            let change = move |number| Change {
                table: Table::Objects,
                key: records::object_key(doid, number).to_vec(),
                value: Some(Bytes::from_static(b"v")),
            };
            // One object has more records than a page.
            (0..if doid == 2000 { 5000 } else { 3 }).map(change)
        });
        storage.write(&changes.collect::<Vec<_>>(), false).unwrap();
        let mut walk = Walk::begin(&storage, 0).unwrap();
        let (mut met, mut shares) = (Vec::new(), Vec::new());
        while let Some(objects) = walk.next(&storage).unwrap() {
            assert!(objects.iter().all(|(doid, records)| records.len() == if *doid == 2000 { 5000 } else { 3 }));
            met.extend(objects.iter().map(|(doid, _)| *doid));
            shares.push(walk.reached().share);
        }
        assert_eq!(met, doids);
        assert_eq!(walk.reached(), Walked { objects: 3001, share: 1.0 });
        assert!(shares.is_sorted() && shares[0] > 0.0 && shares[0] < 0.01, "{shares:?}");
        // Without the one that lies far off.
        let far = Change { table: Table::Objects, key: records::object_key(u32::MAX, 0).to_vec(), value: None };
        storage.write(&[far], false).unwrap();
        let remove = (1..3).map(|number| Change {
            table: Table::Objects,
            key: records::object_key(u32::MAX, number).to_vec(),
            value: None,
        });
        storage.write(&remove.collect::<Vec<_>>(), false).unwrap();
        let mut walk = Walk::begin(&storage, 0).unwrap();
        walk.next(&storage).unwrap();
        assert!((0.3..0.5).contains(&walk.reached().share), "{:?}: 1365 of 3000", walk.reached());
    }
}
