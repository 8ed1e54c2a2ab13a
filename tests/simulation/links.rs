//! What links do to each other: subscriptions, messages, post-removes, ends.

use crate::simulation::cast::{BUS_CHANNELS, HALL, KEEPERS};
use crate::simulation::play::Play;
use crate::simulation::wire::note;
use donet::wire::{Channel, Encoder, message_type as t};

impl Play {
    pub fn link_acts(&mut self) {
        let who = self.some_link();
        match self.random.below(20) {
            0..=8 => self.publish(who),
            18 if self.bus.has_room_for(self.links.len()) => {
                self.add_link();
                note(|| "a link comes".to_owned());
            }
            19 if who >= KEEPERS => self.end_link(who),
            _ => self.link_changes(who),
        }
    }

    pub fn some_link(&mut self) -> usize {
        let alive: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].is_some()).collect();
        alive[self.random.below(alive.len())]
    }

    /// What a link does to its own subscriptions and post-removes.
    pub fn link_changes(&mut self, who: usize) {
        let channel = BUS_CHANNELS + self.random.below(20) as u64;
        let end = channel + 1 + self.random.below(6) as u64;
        match self.random.below(9) {
            0..=2 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
                self.bus.subscribe(who, channel);
            }
            3 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_CHANNEL).channel(channel));
                self.bus.unsubscribe(who, channel);
            }
            4 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_RANGE).channel(channel).channel(end));
                self.bus.subscribe_range(who, channel, end);
            }
            5 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_RANGE).channel(channel).channel(end));
                self.bus.unsubscribe_range(who, channel, end);
            }
            6 | 7 => {
                let key = self.random.below(2) as u64;
                let recipients = self.recipients();
                let body = self.bus.add_post_remove(who, key, recipients);
                self.send(who, Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(&body));
            }
            _ => {
                let key = self.random.below(2) as u64;
                self.bus.clear_post_removes(who, key);
                self.send(who, Encoder::control(t::CONTROL_CLEAR_POST_REMOVES).channel(key));
            }
        }
    }

    fn recipients(&mut self) -> Vec<Channel> {
        (0..1 + self.random.below(4)).map(|_| BUS_CHANNELS + self.random.below(26) as u64).collect()
    }

    /// Links answer each other in a channel that all of them have, each as soon as it has heard something: chains of causes
    /// and effects over all executors, and everybody hears all of them.
    pub fn talk_in_the_hall(&mut self) -> Result<(), String> {
        self.hall_answers = 10 + self.random.below(60);
        let who = self.some_link();
        self.publish_to(who, vec![HALL]);
        for _ in 0..400 {
            let (steps, before) = (1 + self.random.below(6), self.bus.delivered);
            let goes_on = self.world.advance(steps);
            self.hear()?;
            if self.hall_answers == 0 || (!goes_on && self.bus.delivered == before) {
                break;
            }
        }
        self.hall_answers = 0;
        Ok(())
    }

    pub fn answer_in_the_hall(&mut self, who: usize) {
        if self.random.below(2) == 0 {
            self.hall_answers -= 1;
            self.publish_to(who, vec![HALL]);
        }
    }

    fn publish_to(&mut self, who: usize, recipients: Vec<Channel>) {
        let message = self.bus.publish(who, recipients);
        self.send(who, message);
    }

    pub fn publish(&mut self, who: usize) {
        let recipients = self.recipients();
        self.publish_to(who, recipients);
    }
}
