//! What links do to each other: subscriptions, messages, post-removes, ends.

use crate::simulation::play::{BUS_CHANNELS, KEEPERS, Play};
use crate::simulation::wire::note;
use donet::wire::{Channel, Encoder, message_type as t};

impl Play {
    pub fn link_acts(&mut self) {
        let alive: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].is_some()).collect();
        let who = alive[self.random.below(alive.len())];
        let channel = BUS_CHANNELS + self.random.below(20) as u64;
        let end = channel + 1 + self.random.below(6) as u64;
        match self.random.below(20) {
            0..=8 => self.publish(who),
            9..=11 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
                self.bus.subscribe(who, channel);
            }
            12 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_CHANNEL).channel(channel));
                self.bus.unsubscribe(who, channel);
            }
            13 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_RANGE).channel(channel).channel(end));
                self.bus.subscribe_range(who, channel, end);
            }
            14 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_RANGE).channel(channel).channel(end));
                self.bus.unsubscribe_range(who, channel, end);
            }
            15 | 16 => {
                let key = self.random.below(2) as u64;
                let recipients = self.recipients();
                let body = self.bus.add_post_remove(who, key, recipients);
                self.send(who, Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(&body));
            }
            17 => {
                let key = self.random.below(2) as u64;
                self.bus.clear_post_removes(who, key);
                self.send(who, Encoder::control(t::CONTROL_CLEAR_POST_REMOVES).channel(key));
            }
            18 if self.bus.has_room_for(self.links.len()) => {
                self.add_link();
                note(|| "a link comes".to_owned());
            }
            19 if who >= KEEPERS => {
                let link = self.links[who].take().expect("alive");
                self.world.disconnect(link.peer);
                self.bus.leave(who);
                note(|| format!("link {who} goes"));
            }
            _ => {}
        }
    }

    fn recipients(&mut self) -> Vec<Channel> {
        (0..1 + self.random.below(4)).map(|_| BUS_CHANNELS + self.random.below(26) as u64).collect()
    }

    pub fn publish(&mut self, who: usize) {
        let recipients = self.recipients();
        let message = self.bus.publish(who, recipients);
        self.send(who, message);
    }
}
