//! One thread with its share of the shards.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;
use yibiao_records::{CrashPoint, Rejection};
use yibiao_topics::{Batch, Message, Outgoing, Producer, Reader, message::header};

use super::Shared;
use crate::{
    Error,
    announce::Announcement,
    decode::{ORIGIN, RawRecord},
    emit::Outlet,
    events,
    gazetteer::Edition,
    resolve::Places,
    same::Same,
    shard::Shard,
};

/// Bytes of values at which a batch ends, whatever the number of its records.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// How long an idle worker waits before it looks around.
const IDLE: Duration = Duration::from_secs(5);
/// How long a shutdown waits for the broker to acknowledge what was sent.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Worker {
    name: String,
    shards: Vec<Shard>,
    same: Same,
    shared: Shared,
    stop: CancellationToken,
    editions: watch::Receiver<Option<Arc<Edition>>>,
}

impl Worker {
    pub fn new(name: String, shards: Vec<Shard>, shared: Shared, stop: CancellationToken) -> Self {
        let editions = shared.editions.subscribe();
        let same = Same::new(shared.config.cache_records_max);
        Self { name, shards, same, shared, stop, editions }
    }

    /// Runs until the stop; a batch that is under way then is ended and committed.
    pub fn run(mut self, runtime: &Handle) -> Result<(), Error> {
        let _entered = runtime.enter();
        let start = self.shards.iter().map(|shard| (shard.raw.clone(), shard.record.next)).collect();
        // Before anything is sent, so that a death leaves the shards as not at rest.
        self.rest(false)?;
        let mut reader = self.shared.client.reader(&self.name, start)?;
        let producer = self.shared.client.producer()?;
        let mut outlet = ToBroker { producer, stop: self.stop.clone() };
        let mut places = Places::new(self.shared.config.cache_addresses_max);
        let mut parts: Vec<Vec<Message>> = self.shards.iter().map(|_| Vec::new()).collect();
        loop {
            // Also where nothing comes: what stands is to be asked again.
            self.take_editions()?;
            let Some(batch) = runtime.block_on(self.gather(&mut reader))? else { return self.rest(true) };
            if batch.is_empty() {
                continue;
            }
            let positions = batch.next_offsets();
            self.divide(batch, &mut parts);
            match self.judge(&mut parts, &mut places, &mut outlet, runtime) {
                Err(Error::Interrupted) => return Ok(()),
                other => other?,
            }
            // At a stop not all of the batch may have been taken.
            if !self.stop.is_cancelled() {
                reader.commit_for_display(&positions);
            }
        }
    }

    /// Notes on the disk whether something may be sent that is not committed. See [`Shard::rest`].
    fn rest(&mut self, at_rest: bool) -> Result<(), Error> {
        let mut commit = self.shared.state.begin();
        for shard in &mut self.shards {
            if shard.rest(at_rest) {
                commit.shard(&shard.id, &shard.record);
            }
        }
        commit.commit()?;
        self.shared.state.persist()
    }

    /// A batch: what comes within the configured time after the first record, up to the limits. None at the stop.
    async fn gather(&mut self, reader: &mut Reader) -> Result<Option<Batch>, Error> {
        let config = self.shared.config.clone();
        let mut editions = self.editions.clone();
        let first = tokio::select! {
            first = self.next(reader, config.batch_records_max, IDLE) => first?,
            // It is taken at once where nothing is under way.
            Ok(()) = editions.changed() => Some(Batch::default()),
        };
        let Some(mut batch) = first else { return Ok(None) };
        if batch.is_empty() {
            return Ok(Some(batch));
        }
        let first = Instant::now();
        let mut bytes = value_bytes(&batch.messages);
        while batch.len() < config.batch_records_max && bytes < BATCH_BYTES_MAX {
            let Some(left) = config.batch_wait.checked_sub(first.elapsed()) else { break };
            let room = config.batch_records_max - batch.len();
            let Some(more) = self.next(reader, room, left).await? else { break };
            bytes += value_bytes(&more.messages);
            batch.messages.extend(more.messages);
        }
        Ok(Some(batch))
    }

    async fn next(
        &self,
        reader: &mut Reader,
        records_max: usize,
        wait: Duration,
    ) -> Result<Option<Batch>, Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(None),
            batch = reader.next_batch(records_max, wait) => Ok(Some(batch?)),
        }
    }

    /// Puts a newer gazetteer in force, shard by shard, and commits that to the disk: frames that are sent under it must
    /// not outlive the knowledge of it in a power cut. See [`Shard::take_edition`].
    fn take_editions(&mut self) -> Result<(), Error> {
        let Some(current) = self.editions.borrow_and_update().clone() else { return Ok(()) };
        if self.shared.custodian.is_some() {
            // The raw topics say when.
            return Ok(());
        }
        let mut commit = None;
        for shard in &mut self.shards {
            if !shard.take_edition(&current) {
                continue;
            }
            let version = current.version();
            tracing::info!(feed = %shard.id.feed, partition = shard.id.partition, version, next = %shard.record.next, "resolving by another gazetteer");
            commit.get_or_insert_with(|| self.shared.state.begin()).shard(&shard.id, &shard.record);
        }
        let Some(commit) = commit else { return Ok(()) };
        commit.commit()?;
        self.shared.state.persist()?;
        self.shared.accounting.committed(self.shards.iter().map(|shard| (&shard.id, &shard.record)));
        Ok(())
    }

    /// The batch's records by shard, each in its order.
    fn divide(&self, batch: Batch, parts: &mut [Vec<Message>]) {
        let mut last = 0;
        for message in batch.messages {
            let is = |shard: &Shard| {
                shard.raw.partition == message.partition
                    && (Arc::ptr_eq(&shard.raw.topic, &message.topic) || shard.raw.topic == message.topic)
            };
            if !is(&self.shards[last]) {
                match self.shards.iter().position(is) {
                    Some(index) => last = index,
                    None => continue,
                }
            }
            parts[last].push(message);
        }
    }

    fn judge(
        &mut self,
        parts: &mut [Vec<Message>],
        places: &mut Places,
        outlet: &mut ToBroker,
        runtime: &Handle,
    ) -> Result<(), Error> {
        let mut taken = vec![0; parts.len()];
        // At a stop the rest stays in the raw topic: what a round sent is committed.
        while self.judge_round(parts, &mut taken, places, outlet, runtime)? && !self.stop.is_cancelled() {}
        parts.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    /// Judges and commits what has not been taken yet: of each shard up to the end of a dump, or that end, which may
    /// take several rounds, or up to an announcement, or that. False: everything was.
    fn judge_round(
        &mut self,
        parts: &[Vec<Message>],
        taken: &mut [usize],
        places: &mut Places,
        outlet: &mut ToBroker,
        runtime: &Handle,
    ) -> Result<bool, Error> {
        let state = &self.shared.state;
        let (mut shown, mut announced) = (Vec::new(), Vec::new());
        for (index, (shard, messages)) in self.shards.iter_mut().zip(parts).enumerate() {
            let rest = &messages[taken[index]..];
            let Some(first) = rest.first() else { continue };
            let before = shard.record.counts.clone();
            let run = rest.iter().position(stands_alone);
            let run = &rest[..run.unwrap_or(rest.len())];
            shard.begin(state, &self.same, run.iter().map(RawRecord::of))?;
            for message in run {
                shard.take(&RawRecord::of(message), state, places, outlet)?;
            }
            taken[index] += run.len();
            if run.is_empty() {
                let record = RawRecord::of(first);
                let is_done = match record.announces() {
                    Some(announcement) => {
                        pass_announcement(&self.shared, shard, record.offset, announcement)?;
                        announced.push(announcement.epoch);
                        true
                    }
                    None => shard.end_dump(&record, state, outlet)?,
                };
                taken[index] += usize::from(is_done);
            }
            shard.finish(outlet)?;
            shown.push((index, before, run.last().unwrap_or(first).timestamp_ms));
        }
        if shown.is_empty() {
            return Ok(false);
        }
        CrashPoint::NormaliseSent.pass();
        runtime.block_on(self.flush(&outlet.producer))?;
        CrashPoint::NormaliseAcknowledged.pass();
        if self.shared.before_commit.as_ref().is_some_and(|hook| !hook()) {
            return Err(Error::StoppedByTest);
        }
        let mut commit = state.begin();
        for (index, ..) in &shown {
            self.shards[*index].write(&mut commit, &mut self.same)?;
        }
        commit.commit()?;
        CrashPoint::NormaliseCommitted.pass();
        announced.into_iter().for_each(|epoch| self.shared.editions.spread().passed(epoch));
        self.shared.accounting.committed(shown.iter().map(|(index, ..)| {
            let shard = &self.shards[*index];
            (&shard.id, &shard.record)
        }));
        for (index, before, newest_ms) in shown {
            let shard = &self.shards[index];
            events::committed(&shard.id.feed, &shard.record.counts.since(&before), newest_ms);
        }
        Ok(true)
    }

    /// Waits as long as the broker is away, but not for ever at a shutdown: what is not acknowledged then is repeated
    /// at the next start.
    async fn flush(&self, producer: &Producer) -> Result<(), Error> {
        let given_up = async {
            self.stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            flushed = producer.flush() => Ok(flushed?),
            () = given_up => Err(Error::Interrupted),
        }
    }
}

/// Whether it is no record of the feed, but the end of a dump or an announcement.
fn stands_alone(message: &Message) -> bool {
    let record = || RawRecord::of(message);
    let is_empty = message.key().is_none() && message.value().is_none();
    is_empty && (record().ends_dump().is_some() || record().announces().is_some())
}

fn pass_announcement(
    shared: &Shared,
    shard: &mut Shard,
    offset: i64,
    announced: Announcement<'_>,
) -> Result<(), Error> {
    let mut edition = |version: &str| shared.editions.edition(version);
    let obeyed = shared.custodian.is_some().then_some((announced, &mut edition as _));
    if shard.pass_announcement(offset, obeyed)? {
        tracing::info!(feed = %shard.id.feed, partition = shard.id.partition, version = announced.version, next = %shard.record.next, "resolving by another gazetteer");
    }
    Ok(())
}

fn value_bytes(messages: &[Message]) -> usize {
    messages.iter().filter_map(Message::value).map(<[u8]>::len).sum()
}

/// Sends to the broker.
struct ToBroker {
    producer: Producer,
    stop: CancellationToken,
}

/// How much of a record goes to quarantine that is too long to be sent with its rejection. All of it stays in the
/// raw topic, at the position that the rejection names.
const BEGINNING: usize = 64 << 10;
/// What a record batch and the names of headers take, and room to spare.
const OVERHEAD: usize = 1 << 10;

impl ToBroker {
    /// Waits for room as long as it takes.
    fn send(&self, record: Outgoing<'_>) -> Result<(), Error> {
        loop {
            match self.producer.send(record) {
                Err(yibiao_topics::Error::QueueFull { topic, .. }) => events::waits_for_broker(&topic),
                sent => return Ok(sent?),
            }
            if self.stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
        }
    }
}

impl Outlet for ToBroker {
    fn frame(&mut self, topic: &str, partition: u32, header: &[u8], value: &[u8]) -> Result<(), Error> {
        self.send(Outgoing {
            topic,
            partition: Some(partition),
            key: None,
            value: Some(value),
            headers: &[(header::FRAME, header)],
            timestamp_ms: None,
        })
    }

    fn quarantine(
        &mut self,
        topic: &str,
        record: &RawRecord<'_>,
        rejection: &Rejection,
    ) -> Result<(), Error> {
        let rejection = prost::Message::encode_to_vec(rejection);
        let origin = record.origin.map(|origin| origin.to_string());
        let mut headers: Vec<(&str, &[u8])> = vec![(header::REJECTION, &rejection)];
        if let Some(provenance) = record.provenance {
            headers.push((header::PROVENANCE, provenance));
        }
        if let Some(origin) = &origin {
            headers.push((ORIGIN, origin.as_bytes()));
        }
        // Sent all the same, it would be refused by the broker, now and at every repetition.
        let parts = headers.iter().map(|(_, value)| value.len()).chain(record.key.map(<[u8]>::len));
        let beside = parts.sum::<usize>() + OVERHEAD;
        let room = self.producer.max_record_bytes().saturating_sub(beside);
        let value = match record.value {
            Some(value) if value.len() > room => {
                // Without its provenance: what is not whole is not replayed.
                headers.retain(|(name, _)| *name != header::PROVENANCE);
                Some(&value[..value.len().min(BEGINNING)])
            }
            value => value,
        };
        self.send(Outgoing {
            topic,
            partition: None,
            key: record.key,
            value,
            headers: &headers,
            timestamp_ms: Some(record.timestamp_ms),
        })
    }
}
