//! A consumer group of the classic kind, as a state machine: members join, the leader assigns, all
//! synchronise, heartbeats keep them in. Nothing here waits; who must wait is given a channel.
//!
//! ```text
//!          join            all joined, or the rebalance timed out           the leader synchronised
//! Empty --------> Joining -----------------------------------> Assigning ------------------------> Stable
//!   ^                ^                                             |                                  |
//!   |                +------ a member joins anew, leaves or falls silent -----------------------------+
//!   +------ the last member leaves
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::journal::{Ledger, Membership};
use crate::member::Member;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    #[default]
    Empty,
    Joining,
    Assigning,
    Stable,
}

impl State {
    /// The name that Kafka shows for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Joining => "PreparingRebalance",
            State::Assigning => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) state: State,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Ids given out to members that have yet to come back with them, and until when.
    promised: HashMap<String, Instant>,
    joining_until: Option<Instant>,
}

/// What a member says when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) session: Duration,
    pub(crate) rebalance: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Whether the client comes back with an id when it is given one.
    pub(crate) takes_promise: bool,
    /// Whether the client can be told that it leads but need not assign.
    pub(crate) can_skip: bool,
}

/// The answer to a join.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joined {
    pub(crate) error: Option<ResponseError>,
    pub(crate) member: String,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    /// All members with what they subscribe to; for the leader only.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
    pub(crate) skip_assignment: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// An answer now, or the channel on which it will come.
pub(crate) enum Reply<T> {
    Now(T),
    Later(oneshot::Receiver<T>),
}

impl Group {
    /// The groups as they were last agreed, with fresh sessions.
    pub(crate) fn restore(ledger: &Ledger) -> BTreeMap<String, Group> {
        let mut groups: BTreeMap<String, Group> =
            ledger.offsets.keys().map(|name| (name.clone(), Group::default())).collect();
        for (name, was) in &ledger.memberships {
            let members = was.members.iter().map(|(id, was)| (id.clone(), Member::restore(was)));
            let members: BTreeMap<String, Member> = members.collect();
            let group = Group {
                state: if members.is_empty() { State::Empty } else { State::Stable },
                generation: was.generation,
                protocol_type: was.protocol_type.clone(),
                protocol: was.protocol.clone(),
                leader: was.leader.clone(),
                members,
                ..Group::default()
            };
            groups.insert(name.clone(), group);
        }
        groups
    }

    /// The group as it is to be restored.
    pub(crate) fn membership(&self) -> Membership {
        let members = self.members.iter().map(|(id, member)| (id.clone(), member.entry()));
        Membership {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
        }
    }

    /// A member joins, for the first time or again.
    pub(crate) fn join(&mut self, mut join: Join, members_max: usize, now: Instant) -> Reply<Joined> {
        let refuse = |error, member: &str| {
            Reply::Now(Joined {
                error: Some(error),
                member: member.to_owned(),
                generation: -1,
                ..Joined::default()
            })
        };
        if self.state != State::Empty && self.protocol_type != join.protocol_type
            || !self.shares_protocol(&join)
        {
            return refuse(ResponseError::InconsistentGroupProtocol, &join.member);
        }
        let known = join.instance.as_ref().and_then(|instance| self.member_of(instance));
        if join.member.is_empty() {
            if known.is_none() && self.members.len() + self.promised.len() >= members_max {
                tracing::warn!(members_max, "refused a member: its group is full");
                return refuse(ResponseError::GroupMaxSizeReached, "");
            }
            join.member = new_member_id(join.instance.as_deref().unwrap_or(&join.client_id));
            if let Some(old) = known {
                return self.take_over(old, join, now);
            }
            if join.instance.is_none() && join.takes_promise {
                self.promised.insert(join.member.clone(), now + join.session);
                return refuse(ResponseError::MemberIdRequired, &join.member);
            }
            return self.enter(join, now);
        }
        if known.is_some_and(|known| known != join.member) {
            return refuse(ResponseError::FencedInstanceId, &join.member);
        }
        if self.promised.remove(&join.member).is_some() {
            return self.enter(join, now);
        }
        let Some(member) = self.members.get(&join.member) else {
            return refuse(ResponseError::UnknownMemberId, &join.member);
        };
        let same = member.protocols == join.protocols;
        let leads = self.leader == join.member;
        match self.state {
            // A repeated request, or a follower that missed the answer.
            State::Assigning if same => Reply::Now(self.joined(&join.member)),
            State::Stable if same && !leads => Reply::Now(self.joined(&join.member)),
            _ => self.enter(join, now),
        }
    }

    fn shares_protocol(&self, join: &Join) -> bool {
        let by_others =
            |name: &str| self.members.iter().all(|(id, m)| *id == join.member || m.metadata(name).is_some());
        !join.protocol_type.is_empty() && join.protocols.iter().any(|(name, _)| by_others(name))
    }

    fn member_of(&self, instance: &str) -> Option<String> {
        self.members.iter().find(|(_, m)| m.instance.as_deref() == Some(instance)).map(|(id, _)| id.clone())
    }

    /// A static member came back under a new id: it keeps the place, and its old self is fenced.
    fn take_over(&mut self, old: String, join: Join, now: Instant) -> Reply<Joined> {
        let Some(mut member) = self.members.remove(&old) else { return self.enter(join, now) };
        member.fail(ResponseError::FencedInstanceId, &old);
        let same = member.protocols == join.protocols;
        let led = self.leader == old;
        let id = join.member.clone();
        member.expires_at = now + join.session;
        self.members.insert(id.clone(), member);
        if led {
            self.leader.clone_from(&id);
        }
        if self.state != State::Stable || !same {
            return self.enter(join, now);
        }
        let mut joined = self.joined(&id);
        if led && join.can_skip {
            joined.skip_assignment = true;
        } else if led {
            // An older client must believe that another leads, or it would assign anew.
            joined.leader = old;
            joined.members.clear();
        }
        Reply::Now(joined)
    }

    /// Puts a member in and has the group rebalance.
    fn enter(&mut self, join: Join, now: Instant) -> Reply<Joined> {
        let (reply, later) = oneshot::channel();
        let assignment = self.members.get(&join.member).map(|m| m.assignment.clone()).unwrap_or_default();
        let member = Member {
            instance: join.instance,
            client_id: join.client_id,
            session: join.session,
            rebalance: join.rebalance,
            protocols: join.protocols,
            assignment,
            expires_at: now + join.session,
            joining: Some(reply),
            syncing: None,
        };
        self.protocol_type = join.protocol_type;
        self.members.insert(join.member, member);
        self.rebalance(now);
        self.finish_joining(now);
        Reply::Later(later)
    }

    /// Begins a rebalance unless one has begun.
    fn rebalance(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            if let Some(syncing) = member.syncing.take() {
                let _ = syncing.send(Err(ResponseError::RebalanceInProgress));
                member.expires_at = now + member.session;
            }
        }
        if self.state != State::Joining {
            self.state = State::Joining;
            let longest = self.members.values().map(|m| m.rebalance).max().unwrap_or_default();
            self.joining_until = Some(now + longest);
        }
    }

    /// Ends the joining if all have joined or the time is up.
    fn finish_joining(&mut self, now: Instant) {
        let late = self.joining_until.is_some_and(|until| until <= now);
        if self.state != State::Joining || !(late || self.members.values().all(|m| m.joining.is_some())) {
            return;
        }
        // Static members that are late keep their place until their session ends.
        self.members.retain(|_, m| m.joining.is_some() || m.instance.is_some());
        self.generation = self.generation.wrapping_add(1).max(1);
        self.joining_until = None;
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        let joined = |m: &Member| m.joining.is_some();
        if !self.members.get(&self.leader).is_some_and(joined) {
            let first = self.members.iter().find(|(_, m)| joined(m)).or(self.members.iter().next());
            self.leader = first.map(|(id, _)| id.clone()).unwrap_or_default();
        }
        self.protocol = self.choose_protocol();
        self.state = State::Assigning;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id)
                && let Some(joining) = member.joining.take()
            {
                member.expires_at = now + member.session;
                let _ = joining.send(answer);
            }
        }
    }

    /// The protocol that most members like best among those that all have.
    fn choose_protocol(&self) -> String {
        let all_have = |name: &str| self.members.values().all(|m| m.metadata(name).is_some());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| all_have(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn joined(&self, id: &str) -> Joined {
        let members = self.members.iter().filter(|_| id == self.leader).map(|(id, member)| {
            let metadata = member.metadata(&self.protocol).cloned().unwrap_or_default();
            (id.clone(), member.instance.clone(), metadata)
        });
        Joined {
            error: None,
            member: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
            skip_assignment: false,
        }
    }

    /// A member wants its assignment; the leader brings all of them. True when the group became stable.
    pub(crate) fn sync(
        &mut self,
        id: &str,
        assignments: BTreeMap<String, Bytes>,
        now: Instant,
    ) -> (Reply<Result<Synced, ResponseError>>, bool) {
        let synced = |group: &Group, assignment: &Bytes| Synced {
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            assignment: assignment.clone(),
        };
        match self.state {
            State::Empty => (Reply::Now(Err(ResponseError::UnknownMemberId)), false),
            State::Joining => (Reply::Now(Err(ResponseError::RebalanceInProgress)), false),
            State::Stable => {
                let assignment = self.members.get(id).map(|m| m.assignment.clone()).unwrap_or_default();
                (Reply::Now(Ok(synced(self, &assignment))), false)
            }
            State::Assigning => {
                let (reply, later) = oneshot::channel();
                if let Some(member) = self.members.get_mut(id) {
                    member.syncing = Some(reply);
                }
                let leads = id == self.leader;
                if leads {
                    self.state = State::Stable;
                    for (id, member) in &mut self.members {
                        member.assignment = assignments.get(id).cloned().unwrap_or_default();
                    }
                    let answer = synced(self, &Bytes::new());
                    for member in self.members.values_mut() {
                        member.expires_at = now + member.session;
                        if let Some(syncing) = member.syncing.take() {
                            let _ = syncing
                                .send(Ok(Synced { assignment: member.assignment.clone(), ..answer.clone() }));
                        }
                    }
                }
                (Reply::Later(later), leads)
            }
        }
    }

    /// Whether a request comes from a member of this generation. Groups without members take offsets from
    /// anyone who claims no generation (-1).
    pub(crate) fn check(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let of_instance = instance.and_then(|instance| self.member_of(instance));
        if of_instance.is_some_and(|known| known != id) {
            return Err(ResponseError::FencedInstanceId);
        }
        if !self.members.contains_key(id) {
            return Err(ResponseError::UnknownMemberId);
        }
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(())
    }

    pub(crate) fn heartbeat(&mut self, id: &str, now: Instant) -> Result<(), ResponseError> {
        if let Some(member) = self.members.get_mut(id) {
            member.expires_at = now + member.session;
        }
        match self.state {
            State::Joining => Err(ResponseError::RebalanceInProgress),
            State::Assigning | State::Stable => Ok(()),
            State::Empty => Err(ResponseError::UnknownMemberId),
        }
    }

    /// A member leaves, by its id or, if that is empty, its instance.
    pub(crate) fn leave(
        &mut self,
        id: &str,
        instance: Option<&str>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let of_instance = instance.and_then(|instance| self.member_of(instance));
        let id = match of_instance {
            Some(known) if id.is_empty() || known == id => known,
            Some(_) => return Err(ResponseError::FencedInstanceId),
            None => id.to_owned(),
        };
        if self.promised.remove(&id).is_some() {
            return Ok(());
        }
        self.remove(&id, now).then_some(()).ok_or(ResponseError::UnknownMemberId)
    }

    fn remove(&mut self, id: &str, now: Instant) -> bool {
        let Some(mut member) = self.members.remove(id) else { return false };
        member.fail(ResponseError::UnknownMemberId, id);
        if self.members.is_empty() {
            self.state = State::Empty;
            self.generation = self.generation.wrapping_add(1).max(1);
            self.joining_until = None;
        } else {
            self.rebalance(now);
            self.finish_joining(now);
        }
        true
    }

    /// Removes members that have been silent for too long, and ends a joining whose time is up. Says whether
    /// members were removed.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.promised.retain(|_, until| *until > now);
        let silent = |m: &Member| m.expires_at <= now && m.joining.is_none() && m.syncing.is_none();
        let gone: Vec<String> =
            self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            tracing::info!(member = id, "a group member fell silent and was removed");
            self.remove(id, now);
        }
        let before = self.members.len();
        self.finish_joining(now);
        !gone.is_empty() || self.members.len() != before
    }

    /// Whether nobody is in it or about to enter it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.state == State::Empty && self.promised.is_empty()
    }

    /// When [`Group::expire`] must next be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let heard = self.members.values().filter(|m| m.joining.is_none() && m.syncing.is_none());
        let heard = heard.map(|m| m.expires_at);
        heard.chain(self.promised.values().copied()).chain(self.joining_until).min()
    }
}

fn new_member_id(of: &str) -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{of}-{:016x}{:016x}", random(), random())
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
