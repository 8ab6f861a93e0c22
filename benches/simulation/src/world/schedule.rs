//! Who may take the next step, and who does.

use rand::Rng;

use super::World;
use crate::{normaliser::Process, step::Step};

const ZOMBIES_MAX: usize = 3;

impl World<'_> {
    /// Draws one of the steps that are possible now; None where there is none.
    pub(super) fn pick(&mut self, troubled: bool) -> Option<Step> {
        let mut steps: Vec<(u32, Step)> = Vec::with_capacity(32);
        for (feed, connector) in self.connectors.iter().enumerate() {
            let w = &self.weights;
            steps.extend(connector.can_send().then_some((w.send, Step::Send(feed))));
            steps.extend(connector.can_save().then_some((6, Step::SaveCursor(feed))));
        }
        let producers = self.producers().filter(|producer| !producer.is_acknowledged()).count();
        steps.extend((producers > 0).then_some((self.weights.append, Step::Append)));
        let workers = |process: &Process| process.ready(&self.topics, self.gazetteer.as_ref());
        steps.extend(workers(&self.process).into_iter().map(|w| (self.weights.work, Step::Work(w))));
        steps.extend(self.process.can_revise().then_some((self.weights.revise, Step::Revise)));
        for (z, zombie) in self.zombies.iter().enumerate() {
            // One that has a state of its own begins anew, too.
            let begins = zombie.keeping.is_some();
            let moves = (begins || !zombie.reviser.is_idle()) && zombie.can_revise();
            steps.extend(moves.then_some((self.weights.wake, Step::WakeReviser(z))));
            let moving = workers(zombie).into_iter().filter(|&w| begins || !zombie.workers[w].is_idle());
            steps.extend(moving.map(|w| (self.weights.wake, Step::Wake(z, w))));
        }
        let ready = self.fusers.iter().enumerate().filter(|(_, fuser)| fuser.is_ready(&self.topics));
        steps.extend(ready.map(|(f, _)| (self.weights.fuse, Step::Fuse(f))));
        steps.extend(self.replayer.can_save().then_some((4, Step::SaveReplay)));
        self.add_moving(&mut steps, troubled);
        if troubled {
            self.add_faults(&mut steps);
        }
        let total: u32 = steps.iter().map(|(weight, _)| weight).sum();
        let mut drawn = (total > 0).then(|| self.rng.random_range(0..total))?;
        steps.into_iter().find_map(|(weight, step)| match drawn.checked_sub(weight) {
            Some(rest) => {
                drawn = rest;
                None
            }
            None => Some(step),
        })
    }

    fn add_faults(&self, steps: &mut Vec<(u32, Step)>) {
        let w = &self.weights;
        steps.push((w.publish, Step::Publish));
        for (feed, connector) in self.connectors.iter().enumerate() {
            steps.extend(connector.is_at_work().then_some((w.kill_connector, Step::KillConnector(feed))));
            steps.extend(self.replayer.is_idle().then_some((w.replay, Step::Replay(feed))));
        }
        steps.extend((!self.replayer.is_idle()).then_some((w.kill_replay, Step::KillReplay)));
        steps.push((w.kill, Step::Kill));
        let stays = self.machines.is_none();
        steps.extend((stays && self.process.is_at_rest()).then_some((w.upgrade, Step::Upgrade)));
        let is_at_work = match &self.machines {
            Some(machines) => !machines.free.is_empty(),
            None => self.process.is_at_work(),
        };
        steps.extend((is_at_work && self.zombies.len() < ZOMBIES_MAX).then_some((w.pause, Step::Pause)));
        steps.push((w.repeat, Step::Repeat));
        for fuser in 0..self.fusers.len() {
            steps.push((w.kill_fuser, Step::KillFuser(fuser)));
            steps.push((w.rewind, Step::Rewind(fuser)));
            steps.push((2, Step::Follow(fuser)));
            if w.moves {
                steps.push((2, Step::Checkpoint(fuser)));
                steps.push((1, Step::Move(fuser)));
                let wakes = self.fusers[fuser].has_zombie();
                steps.extend(wakes.then_some((w.wake, Step::WakeFuser(fuser))));
            }
            steps.push((1, Step::Trim(fuser)));
        }
    }
}
