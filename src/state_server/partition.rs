//! What the objects of one executor share: the contract, the indexes over them, open zone queries, a scratch buffer.
//!
//! It holds no objects, so that one object can be borrowed together with all of this.

use super::ai_changes::AiChanges;
use super::children::LocalChildren;
use super::fan_outs::{FanOutLimits, FanOuts};
use super::layout::{ClassLayout, Layouts};
use super::parent::OpenQuery;
use super::refusals::RefusalLog;
use crate::wire::{Channel, Doid};
use donet_dc::{Class, Contract, TextPolicy};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A scratch buffer that has grown beyond this is given back: twice what a frame can hold.
const SCRATCH_BYTES_MAX: usize = 2 * crate::wire::MAX_BODY_BYTES;

pub struct Partition {
    pub contract: Arc<Contract>,
    pub layouts: Layouts,
    pub text: TextPolicy,
    pub children: LocalChildren,
    /// What is on its way to many objects.
    pub fan_outs: FanOuts,
    /// The objects whose AI was set for them, by AI: those that DELETE_AI_OBJECTS names (§2.5).
    explicit_ai: HashMap<Channel, BTreeSet<Doid>>,
    pub ai_changes: AiChanges,
    /// Zone queries that wait for answers of executors, by a number that is not used again.
    pub queries: HashMap<u64, OpenQuery>,
    pub next_query: u64,
    /// Payloads are built here; empty but for its capacity.
    scratch: Vec<u8>,
    pub refusals: RefusalLog,
}

impl Partition {
    pub fn new(contract: Arc<Contract>, text: TextPolicy, limits: FanOutLimits) -> Self {
        Self {
            layouts: Layouts::new(&contract),
            contract,
            text,
            children: LocalChildren::default(),
            fan_outs: FanOuts::new(limits),
            explicit_ai: HashMap::new(),
            ai_changes: AiChanges::default(),
            queries: HashMap::new(),
            next_query: 0,
            scratch: Vec::new(),
            refusals: RefusalLog::default(),
        }
    }

    /// The class of a live object.
    pub fn class(&self, class: u16) -> &Class {
        self.contract.class(class).expect("an object is created with a class of the contract")
    }

    /// The layout of a live object's class.
    pub fn layout(&self, class: u16) -> &ClassLayout {
        self.layouts.get(class).expect("an object is created with a class of the contract")
    }

    /// For log lines.
    pub fn class_name(&self, class: u16) -> String {
        self.contract.class(class).map_or_else(|| format!("#{class}"), |class| class.name().to_owned())
    }

    /// Notes that an object's AI was set for it.
    pub fn add_explicit_ai(&mut self, ai: Channel, doid: Doid) {
        self.explicit_ai.entry(ai).or_default().insert(doid);
    }

    /// Notes that an object does no longer have this AI by its own setting.
    pub fn remove_explicit_ai(&mut self, ai: Channel, doid: Doid) {
        let Some(objects) = self.explicit_ai.get_mut(&ai) else { return };
        objects.remove(&doid);
        if objects.is_empty() {
            self.explicit_ai.remove(&ai);
        }
    }

    /// Takes the objects that were given this AI out of the index: they are to end with it.
    pub fn take_explicit_ai(&mut self, ai: Channel) -> Option<BTreeSet<Doid>> {
        self.explicit_ai.remove(&ai)
    }

    /// A buffer to build a payload in, for [`Partition::give_scratch_back`].
    pub fn take_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Keeps the buffer's memory for the next payload, unless this one was unusually large.
    pub fn give_scratch_back(&mut self, mut scratch: Vec<u8>) {
        scratch.clear();
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch = scratch;
        }
    }
}

#[cfg(test)]
impl Partition {
    /// AI and doid of every object that was given one, ascending.
    pub fn explicit_ais(&self) -> Vec<(Channel, Doid)> {
        let mut all: Vec<(Channel, Doid)> =
            self.explicit_ai.iter().flat_map(|(&ai, objects)| objects.iter().map(move |&doid| (ai, doid))).collect();
        all.sort_unstable();
        all
    }
}
