//! Parenting rules (`protocol-md-ca-el.md` §7): interests that the session keeps by itself, around the avatars that its
//! client owns.
//!
//! An owned object of `avatar_class` that gets a parent makes the session ask that parent's class, and what the class says
//! by the default value of its field `setParentingRules` decides which zones of the parent are kept open. These interests
//! are nobody's request: the client hears of their objects, and of nothing else. They yield their id to whoever asks for
//! an interest of that id. It reads no value of any object: the rule is the class's.

use super::interest_tables::{Interest, InterestRequest};
use super::objects::Location;
use super::session::{End, Session};
use super::settings::{MAX_ZONES, Shared};
use crate::outbox::Outbox;
use crate::wire::{Doid, Encoder, Zone, message_type as t};
use donet_dc::{Class, Contract, TextPolicy, Value};
use hashbrown::HashMap;

/// The first id of such an interest.
pub(super) const FIRST_ID: u16 = 0xF000;
/// The field of a parent's class whose default value is the rule.
const RULES_FIELD: &str = "setParentingRules";

/// What a class says of zones below its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing: whoever wants to see says so.
    Stated,
    /// The zone in which the avatar is.
    Follow,
    /// A square of zones in rows: the avatar's and those around it.
    Cartesian { start: Zone, size: u32, radius: u32 },
    /// Whoever asks for `origin` gets `zones` too.
    Auto { origin: Zone, zones: Vec<Zone> },
}

impl Rule {
    /// `None` for what is malformed.
    fn parse(kind: &str, rule: &str) -> Option<Self> {
        match kind {
            "" | "Stated" => Some(Rule::Stated),
            "Follow" => Some(Rule::Follow),
            "Cartesian" => {
                let mut numbers = rule.split(':').map(str::parse::<u32>);
                let [start, size, radius] = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
                let last = u64::from(start) + u64::from(size) * u64::from(size);
                let side = (2 * u64::from(radius) + 1).min(size.into());
                let is_whole = numbers.next().is_none() && size > 0 && last <= 1 << 32;
                (is_whole && side * side <= MAX_ZONES as u64).then_some(Rule::Cartesian { start, size, radius })
            }
            "Auto" => {
                let (origin, zones) = rule.split_once(':')?;
                let zones = zones.split('|').map(|zone| zone.parse().ok()).collect::<Option<Vec<Zone>>>()?;
                (zones.len() <= MAX_ZONES).then_some(Rule::Auto { origin: origin.parse().ok()?, zones })
            }
            _ => None,
        }
    }

    /// What a class says; one without the field, or without a rule in it, says nothing.
    fn of_class(class: &Class) -> Self {
        let Some(field) = class.field_by_name(RULES_FIELD) else { return Rule::Stated };
        let said = match field.unpack(field.default_value(), TextPolicy::Bytes) {
            Ok(Value::List(items)) => items,
            _ => Vec::new(),
        };
        let text = |value: &Value| match value {
            Value::Text(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        };
        let rule = match &said[..] {
            [kind, rule] => text(kind).zip(text(rule)).and_then(|(kind, rule)| Rule::parse(&kind, &rule)),
            _ => None,
        };
        rule.unwrap_or_else(|| {
            tracing::warn!(
                class = class.name(),
                "{RULES_FIELD} has no rule as its default value; taken for \"Stated\""
            );
            Rule::Stated
        })
    }

    /// The zones that are kept open around an avatar.
    fn around(&self, zone: Zone) -> Vec<Zone> {
        match *self {
            Rule::Stated | Rule::Auto { .. } => Vec::new(),
            Rule::Follow => vec![zone],
            Rule::Cartesian { start, size, radius } => {
                let Some(cell) = zone.checked_sub(start).filter(|&cell| u64::from(cell) < u64::from(size).pow(2))
                else {
                    return Vec::new();
                };
                let near = |place: u32| place.saturating_sub(radius)..=place.saturating_add(radius).min(size - 1);
                let (row, column) = (cell / size, cell % size);
                near(row).flat_map(|row| near(column).map(move |column| start + row * size + column)).collect()
            }
        }
    }
}

/// The rules of all classes that say something.
#[derive(Debug, Default)]
pub(super) struct Rules(HashMap<u16, Rule>);

impl Rules {
    pub(super) fn new(contract: &Contract) -> Self {
        let of_class = |class: &Class| (class.id(), Rule::of_class(class));
        Self(contract.classes().map(of_class).filter(|(_, rule)| *rule != Rule::Stated).collect())
    }

    fn of(&self, class: u16) -> &Rule {
        self.0.get(&class).unwrap_or(&Rule::Stated)
    }
}

/// An avatar of the client, and what is kept open for it.
#[derive(Debug)]
struct Avatar {
    doid: Doid,
    location: Location,
    /// The context of the question for its parent's class, and until when the answer counts.
    asked: Option<(u32, u64)>,
    /// Of its parent, when that is known.
    class: Option<u16>,
    interest: Option<u16>,
}

/// The avatars of one session.
#[derive(Debug, Default)]
pub(super) struct Parenting {
    avatars: Vec<Avatar>,
}

impl Parenting {
    fn position(&self, doid: Doid) -> Option<usize> {
        self.avatars.iter().position(|avatar| avatar.doid == doid)
    }
}

impl Session {
    /// Where an object is now. If it is an avatar that the client owns, what is kept open follows it.
    pub(super) fn avatar_is_at(
        &mut self,
        doid: Doid,
        to: Location,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        let Some(avatar_class) = self.agent(shared).avatar_class else { return Ok(()) };
        let Some(owned) = self.objects.get(doid).and_then(|known| known.owned) else { return Ok(()) };
        if !shared.contract.class(owned.class).is_some_and(|class| class.is_a(avatar_class)) {
            return Ok(());
        }
        match self.parenting.position(doid) {
            Some(index) if self.parenting.avatars[index].location.parent == to.parent => {
                self.parenting.avatars[index].location = to;
            }
            known => {
                if known.is_some() {
                    self.avatar_is_gone(doid, out)?;
                }
                let mut avatar = Avatar { doid, location: to, asked: None, class: None, interest: None };
                self.learn_class(&mut avatar, shared, out);
                self.parenting.avatars.push(avatar);
            }
        }
        self.keep_open(doid, shared, out)
    }

    /// An avatar is not the client's any more, or has another parent.
    pub(super) fn avatar_is_gone(&mut self, doid: Doid, out: &mut Outbox) -> Result<(), End> {
        let Some(index) = self.parenting.position(doid) else { return Ok(()) };
        match self.parenting.avatars.remove(index).interest {
            Some(id) => self.close_silently(id, out),
            None => Ok(()),
        }
    }

    /// An uberdog's class is known, any other parent's is asked for.
    fn learn_class(&mut self, avatar: &mut Avatar, shared: &Shared, out: &mut Outbox) {
        let parent = avatar.location.parent;
        if let Some(uberdog) = shared.uberdogs.get(&parent) {
            avatar.class = Some(uberdog.class);
        } else if !crate::wire::is_reserved_doid(parent) {
            let context = self.allocate_context();
            let deadline_us = out.now_us.saturating_add(self.agent(shared).interest_timeout_us);
            avatar.asked = Some((context, deadline_us));
            let question = Encoder::internal(&[parent.into()], self.client_id, t::STATESERVER_OBJECT_GET_CLASS);
            let question = question.u32(context).datagram().expect("a short message fits a frame");
            out.publish(self.participant(), question);
        }
    }

    /// STATESERVER_OBJECT_GET_CLASS_RESP. One that is late, or of a parent that the avatar has left, counts for nothing.
    pub(super) fn on_class_of(
        &mut self,
        context: u32,
        parent: Doid,
        class: u16,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        let is_asked = |avatar: &&mut Avatar| {
            let is_this = |(asked, deadline_us): (u32, u64)| asked == context && out.now_us <= deadline_us;
            avatar.location.parent == parent && avatar.asked.is_some_and(is_this)
        };
        let Some(avatar) = self.parenting.avatars.iter_mut().find(is_asked) else {
            tracing::debug!(session = self.channel, context, parent, "a class that nobody waits for; ignored");
            return Ok(());
        };
        avatar.asked = None;
        avatar.class = Some(class);
        let doid = avatar.doid;
        self.keep_open(doid, shared, out)
    }

    /// Opens what the rule wants to be open where an avatar is, in place of what was.
    fn keep_open(&mut self, doid: Doid, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let Some(index) = self.parenting.position(doid) else { return Ok(()) };
        let Avatar { location, class, interest, .. } = self.parenting.avatars[index];
        let zones = class.map_or(Vec::new(), |class| shared.rules.of(class).around(location.zone));
        if zones.is_empty() {
            self.parenting.avatars[index].interest = None;
            return interest.map_or(Ok(()), |id| self.close_silently(id, out));
        }
        let is_free = |id: &u16| !self.interests.contains(*id);
        let Some(id) = interest.or_else(|| (FIRST_ID..=u16::MAX).find(is_free)) else { return Ok(()) };
        let request = InterestRequest { is_silent: true, ..InterestRequest::new(id, location.parent, zones, 0, None) };
        if self.interests.has(id, request.parent, &request.zones) {
            return Ok(());
        }
        if let Err(limit) = self.interests.check_limits(&request, self.agent(shared)) {
            // No warning: a client that moves about fast must not fill the log.
            tracing::debug!(session = self.channel, avatar = doid, %limit, "a parenting rule is not followed");
            return Ok(());
        }
        self.parenting.avatars[index].interest = Some(id);
        self.add_interest(request, out)
    }

    fn close_silently(&mut self, id: u16, out: &mut Outbox) -> Result<(), End> {
        let Some(interest) = self.interests.by_id.remove(&id) else { return Ok(()) };
        let dead = self.interests.uncover(&interest);
        self.close_zones(interest.parent, &dead, out)
    }

    /// Somebody means an interest of this id: one that the session keeps by itself takes another.
    pub(super) fn yield_interest_id(&mut self, id: u16) {
        let Some(avatar) = self.parenting.avatars.iter_mut().find(|avatar| avatar.interest == Some(id)) else { return };
        let Some(free) = (FIRST_ID..=u16::MAX).find(|free| !self.interests.contains(*free)) else { return };
        avatar.interest = Some(free);
        if let Some(Interest { parent, zones }) = self.interests.by_id.remove(&id) {
            self.interests.by_id.insert(free, Interest { parent, zones });
        }
    }

    /// The zones that somebody asks for with those that the parent's rule adds, where its class is known here and now.
    pub(super) fn with_auto_zones(&self, mut request: InterestRequest, shared: &Shared) -> InterestRequest {
        if self.agent(shared).avatar_class.is_none() {
            return request;
        }
        let parent = request.parent;
        let of_avatar = || self.parenting.avatars.iter().find(|avatar| avatar.location.parent == parent)?.class;
        let uberdog = shared.uberdogs.get(&parent).map(|uberdog| uberdog.class);
        let class = uberdog.or_else(|| self.objects.get(parent)?.class()).or_else(of_avatar);
        if let Some(Rule::Auto { origin, zones }) = class.map(|class| shared.rules.of(class))
            && request.zones.contains(origin)
        {
            request.zones.extend_from_slice(zones);
            request.zones.sort_unstable();
            request.zones.dedup();
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_of_zones_is_clipped_at_its_edges_and_empty_beyond() {
        let square = Rule::parse("Cartesian", "1000:4:1").unwrap();
        assert_eq!(square.around(1000), [1000, 1001, 1004, 1005]);
        assert_eq!(square.around(1005), [1000, 1001, 1002, 1004, 1005, 1006, 1008, 1009, 1010]);
        assert_eq!(square.around(1015), [1010, 1011, 1014, 1015]);
        for outside in [0, 999, 1016, u32::MAX] {
            assert!(square.around(outside).is_empty(), "{outside}");
        }
        let whole = Rule::parse("Cartesian", "4294967287:3:4000000000").unwrap();
        assert_eq!(whole.around(u32::MAX), (4_294_967_287..=u32::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_malformed_is_no_rule() {
        let wrong = [
            ("Follows", ""),
            ("Cartesian", ""),
            ("Cartesian", "1:2"),
            ("Cartesian", "1:2:3:4"),
            ("Cartesian", "1:0:1"),
            ("Cartesian", "1:-2:1"),
            ("Cartesian", "4294967288:3:1"),
            ("Cartesian", "0:1000:100"),
            ("Auto", "5"),
            ("Auto", "5:"),
            ("Auto", "x:1|2"),
            ("Auto", "5:1|x"),
        ];
        for (kind, rule) in wrong {
            assert_eq!(Rule::parse(kind, rule), None, "{kind} {rule}");
        }
        assert_eq!(Rule::parse("Auto", "5:1|2"), Some(Rule::Auto { origin: 5, zones: vec![1, 2] }));
        assert_eq!(Rule::parse("Stated", "whatever"), Some(Rule::Stated));
    }
}
