//! What one client sees, and what it is owed.

use super::life::Avatar;
use hashbrown::HashMap;

/// An avatar in view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) zone: u32,
    pub(super) stay: u32,
    /// The update that comes next.
    pub(super) next: u32,
    /// What is said next: at least this, and at most what must come because it was said after the entry had been heard.
    pub(super) chat_from: u32,
    pub(super) chat_owed: u32,
}

/// See the module's parent.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    /// Its zone, while its interest there is done and it has sent no other.
    pub(super) settled: Option<u32>,
    /// Where it comes from and goes to, until that interest is done.
    coming_from: Option<u32>,
    pub(super) going_to: Option<u32>,
    pub(super) seen: HashMap<Avatar, Seen>,
    /// Entries that it must be told of: avatars and their stays.
    pub(super) owed: Vec<(Avatar, u32)>,
    /// Who must be in view when the interest is done, if they are still there.
    pub(super) certain: Vec<(Avatar, u32)>,
    /// Who has left its view since it is settled, with the stay that ended.
    pub(super) gone: HashMap<Avatar, u32>,
}

impl Viewer {
    /// It sends an interest in another zone. What it was owed is lost.
    pub(super) fn goes_to(&mut self, zone: u32, certain: Vec<(Avatar, u32)>) {
        self.coming_from = self.settled.take();
        self.going_to = Some(zone);
        self.owed.clear();
        self.certain = certain;
    }

    /// Whether it may be told of entries in a zone.
    pub(super) fn covers(&self, zone: u32) -> bool {
        self.settled == Some(zone) || self.going_to == Some(zone) || self.is_leaving(zone)
    }

    /// Whether it is on its way out of a zone.
    pub(super) fn is_leaving(&self, zone: u32) -> bool {
        self.going_to.is_some() && self.coming_from == Some(zone)
    }

    /// Takes an entry off the list: whether it was there. None if an earlier one of the same avatar is.
    pub(super) fn pay(&mut self, avatar: Avatar, stay: u32) -> Option<bool> {
        if self.owed.iter().any(|&(who, earlier)| who == avatar && earlier < stay) {
            return None;
        }
        let found = self.owed.iter().position(|&owed| owed == (avatar, stay));
        if let Some(position) = found {
            self.owed.remove(position);
        }
        Some(found.is_some())
    }
}
