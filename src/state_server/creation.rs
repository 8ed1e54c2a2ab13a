//! CREATE_OBJECT: from bytes to the values of a new object (`protocol-ss-dbss-db.md` §2.4).
//!
//! Decides whether a creation is acceptable. It creates nothing: what it returns, [`super::StateServer`] puts in place.

use super::fields::{FieldRefusal, parts};
use super::partition::Partition;
use super::values::Values;
use crate::wire::{Doid, Reader, Truncated, Zone};
use donet_dc::{Class, FieldKind, Keywords};
use smallvec::{SmallVec, smallvec};

/// What a creation asks for.
#[derive(Debug)]
pub struct Creation {
    pub doid: Doid,
    pub class: u16,
    pub parent: Doid,
    pub zone: Zone,
    pub values: Values,
    /// What of OTHER was left out.
    pub left_out: LeftOut,
}

/// Fields of an OTHER section that a creation does not take, without being refused for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The first one that the class has and does not keep: it is not `ram`.
    pub not_kept: Option<u16>,
    /// One that the class does not have: what came behind it was not read.
    pub unknown: Option<u16>,
}

/// Why an object is not created.
#[derive(Debug, thiserror::Error)]
pub enum CreationRefused {
    #[error("{0}")]
    NoHeader(Truncated),
    #[error("object {doid} of class {class}: {error}")]
    Truncated { doid: Doid, class: String, error: Truncated },
    #[error("doid 0 is no doid")]
    NoDoid,
    #[error("object {0} exists")]
    Exists(Doid),
    #[error("object {doid}: class {class} is not in the contract")]
    UnknownClass { doid: Doid, class: u16 },
    #[error("object {doid} of class {class}: {refusal}")]
    Field { doid: Doid, class: String, refusal: FieldRefusal },
}

/// A value for each slot of a class, borrowed from where it came from.
pub type GivenValues<'a> = SmallVec<[Option<&'a [u8]>; 32]>;

/// Reads the payload of CREATE_OBJECT_WITH_REQUIRED or, `with_other`, of its `_OTHER` variant.
///
/// # Errors
/// [`CreationRefused`]; nothing has changed then.
pub fn read_creation(
    mut payload: Reader,
    with_other: bool,
    partition: &mut Partition,
    exists: impl FnOnce(Doid) -> bool,
) -> Result<Creation, CreationRefused> {
    let mut header = || Ok((payload.doid()?, payload.doid()?, payload.zone()?, payload.u16()?));
    let (doid, parent, zone, class_id) = header().map_err(CreationRefused::NoHeader)?;
    if doid == 0 {
        return Err(CreationRefused::NoDoid);
    }
    if exists(doid) {
        return Err(CreationRefused::Exists(doid));
    }
    let (Some(class), Some(layout)) = (partition.contract.class(class_id), partition.layouts.get(class_id)) else {
        return Err(CreationRefused::UnknownClass { doid, class: class_id });
    };
    let refused = |refusal| CreationRefused::Field { doid, class: class.name().to_owned(), refusal };
    let cut = |error| CreationRefused::Truncated { doid, class: class.name().to_owned(), error };
    let mut given: GivenValues = smallvec![None; layout.slots().len()];
    for (slot, value) in layout.required().iter().zip(&mut given) {
        let field = class.field(slot.field).expect("a layout has fields of its class");
        let used = field
            .validate_prefix(payload.rest(), partition.text)
            .map_err(|error| refused(FieldRefusal::value(field, error)))?;
        *value = Some(payload.take(used).map_err(cut)?);
    }
    let mut left_out = LeftOut::default();
    if with_other {
        left_out = read_other(&mut payload, class, partition, &mut given).map_err(|stop| match stop {
            OtherRefused::Truncated(error) => cut(error),
            OtherRefused::Field(refusal) => refused(refusal),
        })?;
    }
    Ok(Creation { doid, class: class_id, parent, zone, values: Values::new(&given), left_out })
}

enum OtherRefused {
    Truncated(Truncated),
    Field(FieldRefusal),
}

impl From<Truncated> for OtherRefused {
    fn from(error: Truncated) -> Self {
        Self::Truncated(error)
    }
}

/// Reads an OTHER section. A field that is not `ram` is skipped, a molecular field stands for its parts, the last of two
/// values counts, and a field that the class does not have ends the section: it is returned.
fn read_other<'a>(
    payload: &mut Reader<'a>,
    class: &Class,
    partition: &Partition,
    given: &mut GivenValues<'a>,
) -> Result<LeftOut, OtherRefused> {
    let layout = partition.layout(class.id());
    let mut left_out = LeftOut::default();
    for _ in 0..payload.u16()? {
        let id = payload.u16()?;
        let Some(field) = class.field(id) else {
            left_out.unknown = Some(id);
            break;
        };
        let refused = |error| OtherRefused::Field(FieldRefusal::value(field, error));
        if !field.keywords().contains(Keywords::RAM) {
            left_out.not_kept.get_or_insert(id);
            payload.take(field.skip(payload.rest()).map_err(refused)?)?;
            continue;
        }
        let used = field.validate_prefix(payload.rest(), partition.text).map_err(refused)?;
        let value = payload.take(used)?;
        if field.kind() != FieldKind::Molecular {
            if let Some(slot) = layout.slot_of(id) {
                given[slot] = Some(value);
            }
            continue;
        }
        let mut rest = value;
        for part in parts(class, field) {
            let (value, after) = rest.split_at(part.skip(rest).map_err(refused)?);
            if let Some(slot) = layout.slot_of(part.id()) {
                given[slot] = Some(value);
            }
            rest = after;
        }
    }
    Ok(left_out)
}
