//! Transactions: a producer's writes to several partitions, and offsets of the groups it reads as, seen by
//! readers of committed records all at once or never. The decision is written to the journal before the
//! markers are written to the partitions, so that a restart finishes what was decided.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::*;
use tokio::time::Instant;

use crate::error::{Refusal, code};
use crate::journal::{Change, GroupOffsets, Ledger, Transaction, TransactionState};
use crate::offsets::committable;
use crate::state::{Shared, now_ms};

/// The longest a transaction may take, ms, as in Kafka.
const TIMEOUT_MS_MAX: i32 = 900_000;

/// InitProducerId: an id for an idempotent producer; for a transactional one its own id in a new epoch, after
/// the transaction that its predecessor left open was aborted.
pub(crate) fn init(shared: &Shared, request: InitProducerIdRequest, version: i16) -> InitProducerIdResponse {
    let _transacting = shared.transacting.lock();
    let given = match &request.transactional_id {
        None => next_producer_id(shared).map(|id| (id, 0)),
        Some(id) => init_transactional(shared, id, &request, version),
    };
    let answer = InitProducerIdResponse::default();
    match given {
        Ok((id, epoch)) => answer.with_producer_id(id.into()).with_producer_epoch(epoch),
        Err(refusal) => {
            answer.with_error_code(refusal.code()).with_producer_id((-1).into()).with_producer_epoch(-1)
        }
    }
}

fn next_producer_id(shared: &Shared) -> Result<i64, Refusal> {
    let mut journal = shared.journal.lock();
    let id = journal.ledger().next_producer_id;
    journal.write(vec![Change::NextProducerId(id + 1)])?;
    Ok(id)
}

fn init_transactional(
    shared: &Shared,
    id: &str,
    request: &InitProducerIdRequest,
    version: i16,
) -> Result<(i64, i16), Refusal> {
    if id.is_empty() {
        return Err(ResponseError::InvalidRequest.into());
    }
    if !(1..=TIMEOUT_MS_MAX).contains(&request.transaction_timeout_ms) {
        return Err(ResponseError::InvalidTransactionTimeout.into());
    }
    let (known, count) = {
        let journal = shared.journal.lock();
        (journal.ledger().transactions.get(id).cloned(), journal.ledger().transactions.len())
    };
    let mut transaction = match known {
        Some(known) => {
            let claims = *request.producer_id >= 0;
            if claims && (*request.producer_id, request.producer_epoch) != (known.producer_id, known.epoch) {
                return Err(fenced(version, 4).into());
            }
            let mut transaction = known;
            transaction.epoch = transaction.epoch.saturating_add(1);
            finish(shared, id, &mut transaction, false)?;
            if transaction.epoch == i16::MAX {
                (transaction.producer_id, transaction.epoch) = (next_producer_id(shared)?, 0);
            }
            transaction
        }
        None if count >= shared.limits.transactional_ids_max => {
            let max = shared.limits.transactional_ids_max;
            return Err(Refusal::limit(format!(
                "the embedded broker's limit of {max} transactional ids is reached"
            )));
        }
        None => Transaction {
            producer_id: next_producer_id(shared)?,
            epoch: 0,
            timeout_ms: 0,
            state: TransactionState::Idle { committed: None },
            started_at: 0,
            partitions: BTreeMap::new(),
            offsets: BTreeMap::new(),
        },
    };
    transaction.timeout_ms = i64::from(request.transaction_timeout_ms);
    transaction.state = TransactionState::Idle { committed: None };
    let given = (transaction.producer_id, transaction.epoch);
    keep(shared, id, transaction)?;
    Ok(given)
}

fn keep(shared: &Shared, id: &str, transaction: Transaction) -> Result<(), Refusal> {
    Ok(shared.journal.lock().write(vec![Change::Transaction(id.to_owned(), transaction)])?)
}

/// What to tell a producer whose id went to a newer one; versions below `since` know only the older error.
fn fenced(version: i16, since: i16) -> ResponseError {
    if version >= since { ResponseError::ProducerFenced } else { ResponseError::InvalidProducerEpoch }
}

/// The transaction of a producer that proves to be the current one.
fn current(
    ledger: &Ledger,
    id: &str,
    producer_id: i64,
    epoch: i16,
    fenced: ResponseError,
) -> Result<Transaction, ResponseError> {
    let transaction = ledger.transactions.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
    if transaction.producer_id != producer_id {
        return Err(ResponseError::InvalidProducerIdMapping);
    }
    if transaction.epoch != epoch {
        return Err(fenced);
    }
    Ok(transaction.clone())
}

/// Opens the transaction if none is open.
fn begin(transaction: &mut Transaction) {
    if transaction.state != TransactionState::Ongoing {
        transaction.state = TransactionState::Ongoing;
        transaction.started_at = now_ms();
        transaction.partitions.clear();
        transaction.offsets.clear();
    }
}

pub(crate) fn add_partitions(
    shared: &Shared,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    let topics = &request.v3_and_below_topics;
    let all_known = topics.iter().all(|t| t.partitions.iter().all(|p| shared.log(&t.name, *p).is_ok()));
    let added = (|| {
        let _transacting = shared.transacting.lock();
        let (id, epoch) = (*request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
        let name = &request.v3_and_below_transactional_id;
        let mut transaction = current(shared.journal.lock().ledger(), name, id, epoch, fenced(version, 2))?;
        if !all_known {
            return Err(ResponseError::OperationNotAttempted);
        }
        begin(&mut transaction);
        for topic in topics {
            transaction.partitions.entry(topic.name.to_string()).or_default().extend(&topic.partitions);
        }
        keep(shared, name, transaction).map_err(|refusal| refusal.error)
    })();
    shared.sooner.notify_one();
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let error = match added {
                Err(ResponseError::OperationNotAttempted) if shared.log(&topic.name, *partition).is_err() => {
                    ResponseError::UnknownTopicOrPartition.code()
                }
                _ => code(&added),
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(error)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_results_by_partition(partitions.collect())
            .with_name(topic.name.clone())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

/// Whether a producer may write to a partition as part of its open transaction. The caller holds
/// `shared.transacting`.
pub(crate) fn check_part(
    shared: &Shared,
    id: i64,
    epoch: i16,
    topic: &str,
    partition: i32,
) -> Result<(), Refusal> {
    let journal = shared.journal.lock();
    let transaction = journal.ledger().transactions.values().find(|t| t.producer_id == id);
    let transaction = transaction.ok_or(ResponseError::InvalidProducerIdMapping)?;
    if transaction.epoch != epoch {
        return Err(ResponseError::InvalidProducerEpoch.into());
    }
    let part = transaction.partitions.get(topic).is_some_and(|partitions| partitions.contains(&partition));
    if transaction.state != TransactionState::Ongoing || !part {
        let text = "the partition is not part of an open transaction of this producer";
        return Err(Refusal::new(ResponseError::InvalidTxnState, text));
    }
    Ok(())
}

pub(crate) fn add_offsets(
    shared: &Shared,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let added = (|| {
        let _transacting = shared.transacting.lock();
        let (id, epoch) = (*request.producer_id, request.producer_epoch);
        let name = &request.transactional_id;
        let mut transaction = current(shared.journal.lock().ledger(), name, id, epoch, fenced(version, 2))?;
        begin(&mut transaction);
        transaction.offsets.entry(request.group_id.to_string()).or_default();
        keep(shared, name, transaction).map_err(|refusal| refusal.error)
    })();
    shared.sooner.notify_one();
    AddOffsetsToTxnResponse::default().with_error_code(code(&added))
}

pub(crate) fn commit_offsets(shared: &Shared, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let mut taken = GroupOffsets::new();
    let mut errors: BTreeMap<(String, i32), i16> = BTreeMap::new();
    for topic in &request.topics {
        for p in &topic.partitions {
            let (index, metadata) = (p.partition_index, &p.committed_metadata);
            let committed = committable(
                shared,
                &topic.name,
                index,
                p.committed_offset,
                p.committed_leader_epoch,
                metadata,
            );
            errors.insert((topic.name.to_string(), index), code(&committed));
            if let Ok(committed) = committed {
                taken.entry(topic.name.to_string()).or_default().insert(index, committed);
            }
        }
    }
    let committed = (|| {
        let _transacting = shared.transacting.lock();
        let (id, epoch) = (*request.producer_id, request.producer_epoch);
        let name = &request.transactional_id;
        let fenced = ResponseError::InvalidProducerEpoch;
        let mut transaction = current(shared.journal.lock().ledger(), name, id, epoch, fenced)?;
        // Clients that do not tell who they are in the group leave out the member and the generation.
        if !request.member_id.is_empty() || request.generation_id >= 0 {
            let groups = shared.groups.lock();
            let group = groups.get(&*request.group_id.0).ok_or(ResponseError::IllegalGeneration)?;
            group.check(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        }
        let open = transaction.state == TransactionState::Ongoing;
        let group = transaction.offsets.get_mut(&*request.group_id.0).filter(|_| open);
        let group = group.ok_or(ResponseError::InvalidTxnState)?;
        for (topic, partitions) in taken {
            group.entry(topic).or_default().extend(partitions);
        }
        keep(shared, name, transaction).map_err(|refusal| refusal.error)
    })();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let own = errors.get(&(topic.name.to_string(), p.partition_index)).copied().unwrap_or(0);
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(if committed.is_err() { code(&committed) } else { own })
        });
        TxnOffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub(crate) fn end(shared: &Shared, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let ended = (|| {
        let _transacting = shared.transacting.lock();
        let (id, epoch) = (*request.producer_id, request.producer_epoch);
        let name = &request.transactional_id;
        let mut transaction = current(shared.journal.lock().ledger(), name, id, epoch, fenced(version, 2))?;
        match transaction.state {
            TransactionState::Ongoing => {
                finish(shared, name, &mut transaction, request.committed).map_err(|refusal| refusal.error)
            }
            // The answer to the first request was lost.
            TransactionState::Idle { committed: Some(before) } if before == request.committed => Ok(()),
            // A file could not be written the first time.
            TransactionState::Ending { commit } if commit == request.committed => {
                finish(shared, name, &mut transaction, commit).map_err(|refusal| refusal.error)
            }
            TransactionState::Idle { .. } | TransactionState::Ending { .. } => {
                Err(ResponseError::InvalidTxnState)
            }
        }
    })();
    EndTxnResponse::default().with_error_code(code(&ended))
}

/// Ends a transaction if it is open: decides, marks its partitions, commits its offsets. A decision taken
/// before is carried out, whatever `commit` says. The caller holds `shared.transacting`.
fn finish(shared: &Shared, id: &str, transaction: &mut Transaction, commit: bool) -> Result<(), Refusal> {
    let commit = match transaction.state {
        TransactionState::Idle { .. } => return Ok(()),
        TransactionState::Ongoing => commit,
        TransactionState::Ending { commit } => commit,
    };
    transaction.state = TransactionState::Ending { commit };
    keep(shared, id, transaction.clone())?;
    for (topic, partitions) in &transaction.partitions {
        for partition in partitions {
            // A partition that was deleted needs no marker.
            if let Ok(log) = shared.log(topic, *partition) {
                log.lock().end_transaction(transaction.producer_id, transaction.epoch, commit, now_ms())?;
            }
        }
    }
    let offsets = std::mem::take(&mut transaction.offsets);
    transaction.partitions.clear();
    transaction.state = TransactionState::Idle { committed: Some(commit) };
    let mut changes = vec![Change::Transaction(id.to_owned(), transaction.clone())];
    if commit {
        let some = |topics: GroupOffsets| {
            topics
                .into_iter()
                .map(|(t, ps)| (t, ps.into_iter().map(|(p, c)| (p, Some(c))).collect()))
                .collect()
        };
        changes.extend(offsets.into_iter().map(|(group, topics)| Change::Offsets(group, some(topics))));
    }
    Ok(shared.journal.lock().write(changes)?)
}

/// Aborts transactions that have been open for too long, fencing their producers; says when to look again.
pub(crate) fn expire(shared: &Shared) -> Option<Instant> {
    let _transacting = shared.transacting.lock();
    let now = now_ms();
    let ongoing: Vec<(String, Transaction)> = {
        let journal = shared.journal.lock();
        let all = journal.ledger().transactions.iter();
        all.filter(|(_, t)| t.state == TransactionState::Ongoing)
            .map(|(id, t)| (id.clone(), t.clone()))
            .collect()
    };
    let mut next: Option<i64> = None;
    for (id, mut transaction) in ongoing {
        let left = transaction.started_at + transaction.timeout_ms - now;
        if left > 0 {
            next = Some(next.map_or(left, |next| next.min(left)));
            continue;
        }
        tracing::warn!(
            transactional_id = id,
            timeout_ms = transaction.timeout_ms,
            "aborting a transaction that timed out"
        );
        transaction.epoch = transaction.epoch.saturating_add(1);
        if let Err(refusal) = finish(shared, &id, &mut transaction, false) {
            tracing::error!(transactional_id = id, error = %refusal.error, "could not abort a transaction");
        }
    }
    next.map(|left| Instant::now() + Duration::from_millis(left as u64))
}

/// After a restart: carries out what was decided, and aborts what nobody will end.
pub(crate) fn recover(shared: &Shared) {
    let _transacting = shared.transacting.lock();
    let all = shared.journal.lock().ledger().transactions.clone();
    let mut owned: BTreeSet<(String, i32, i64)> = BTreeSet::new();
    for (id, mut transaction) in all {
        if matches!(transaction.state, TransactionState::Ending { .. }) {
            if let Err(refusal) = finish(shared, &id, &mut transaction, false) {
                tracing::error!(transactional_id = id, error = %refusal.error, "could not finish a transaction");
            }
        } else if transaction.state == TransactionState::Ongoing {
            for (topic, partitions) in &transaction.partitions {
                owned.extend(partitions.iter().map(|p| (topic.clone(), *p, transaction.producer_id)));
            }
        }
    }
    for (name, topic) in shared.topics() {
        for (partition, log) in topic.partitions.iter().enumerate() {
            let mut log = log.lock();
            for (producer_id, epoch) in log.producers.open() {
                if owned.contains(&(name.clone(), partition as i32, producer_id)) {
                    continue;
                }
                tracing::warn!(
                    topic = name,
                    partition,
                    producer_id,
                    "aborting a transaction without an owner"
                );
                if let Err(refusal) = log.end_transaction(producer_id, epoch, false, now_ms()) {
                    tracing::error!(topic = name, partition, error = %refusal.error, "could not abort it");
                }
            }
        }
    }
}
