//! What an operator may see of live objects.

use super::StateServer;
use super::children::Zones;
use crate::admin::{CHILDREN_LISTED_MAX, ChildReport, ObjectReport, PARENTS_LISTED_MAX};
use crate::wire::{Doid, Zone};
use donet_dc::TextPolicy;
use donet_shards::ShardId;

impl StateServer {
    /// One live object, if it is here, its values decoded by the contract.
    pub fn report(&self, shard: ShardId, doid: Doid) -> Option<ObjectReport> {
        let object = self.objects.get(doid)?;
        let layout = self.partition.layouts.get(object.class)?;
        let class = self.partition.contract.class(object.class)?;
        let fields = layout.slots().iter().enumerate().filter_map(|(slot, description)| {
            let value = object.values.get(slot)?;
            let field = class.field(description.field)?;
            // Whatever an object holds has been validated; bytes, because it may have been under another text policy.
            let text = field.format(value, TextPolicy::Bytes).unwrap_or_else(|error| error.to_string());
            Some((field.name().to_owned(), text))
        });
        Some(ObjectReport {
            shard: shard.0,
            doid,
            class: class.name().to_owned(),
            parent: object.parent,
            zone: object.zone,
            ai: object.ai,
            owner: object.owner,
            fields: fields.collect(),
        })
    }

    /// Objects of this executor that have this parent, in one zone or in all, up to [`CHILDREN_LISTED_MAX`].
    pub fn child_reports(&self, parent: Doid, zone: Option<Zone>) -> Vec<ChildReport> {
        let zones = zone.map_or(Zones::All, |zone| Zones::listed(std::iter::once(zone)));
        let mut places = Vec::new();
        self.partition.children.places_after(parent, &zones, None, CHILDREN_LISTED_MAX, &mut places);
        let report = |(_, doid)| {
            let object = self.objects.get(doid)?;
            let class = self.partition.contract.class(object.class)?.name().to_owned();
            Some(ChildReport { doid, zone: object.zone, class })
        };
        places.into_iter().filter_map(report).collect()
    }

    /// Doids that objects of this executor have as their parent, up to [`PARENTS_LISTED_MAX`].
    pub fn parents(&self) -> Vec<Doid> {
        self.partition.children.parents().take(PARENTS_LISTED_MAX).collect()
    }
}
