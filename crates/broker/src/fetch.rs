//! Reading: Fetch, which waits for a write when there is nothing yet, and the offsets by time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use tokio::sync::{Notify, SemaphorePermit};
use tokio::time::Instant;

use crate::log::Log;
use crate::server::units;
use crate::state::Shared;

const READ_COMMITTED: i8 = 1;

/// Answers once `min_bytes` are there to read, something is wrong, or `max_wait_ms` have passed. The answer
/// keeps its share of the memory for responses until it is written.
pub(crate) async fn fetch(
    shared: &Shared,
    request: FetchRequest,
) -> (FetchResponse, Option<SemaphorePermit<'_>>) {
    let committed = request.isolation_level == READ_COMMITTED;
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(shared.limits.response_bytes_max);
    loop {
        let waiter = Arc::new(Notify::new());
        let there = look(shared, &request, committed, &waiter);
        let enough = there.is_none_or(|bytes| bytes >= u64::try_from(request.min_bytes).unwrap_or(0));
        let late = Instant::now() >= deadline;
        if enough || late {
            let wanted = there.unwrap_or(0).min(bytes_max as u64) as usize;
            let memory = shared.response_memory.acquire_many(units(shared, wanted)).await.ok();
            let response = read(shared, &request, committed, bytes_max);
            // Where compaction left no records there is nothing to read, whatever the offsets say.
            if late || request.min_bytes <= 0 || tells(&response) {
                return (response, memory);
            }
        }
        tokio::select! {
            () = waiter.notified() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// Whether an answer has records or an error in it.
fn tells(response: &FetchResponse) -> bool {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|p| p.error_code != 0 || p.records.as_ref().is_some_and(|records| !records.is_empty()))
}

/// How many bytes there are to read, about; `None` when a partition has an error to tell. Has `waiter`
/// notified of the next write to any of the partitions.
fn look(shared: &Shared, request: &FetchRequest, committed: bool, waiter: &Arc<Notify>) -> Option<u64> {
    let mut bytes = 0;
    for topic in &request.topics {
        for partition in &topic.partitions {
            let log = shared.log(&topic.topic, partition.partition).ok()?;
            let mut log = log.lock();
            check(&log, partition.fetch_offset).ok()?;
            if partition.fetch_offset < upper(&log, committed) {
                let most = u64::try_from(partition.partition_max_bytes).unwrap_or(0);
                bytes += log.bytes_from(partition.fetch_offset).min(most.max(1));
            }
            log.wait(waiter);
        }
    }
    Some(bytes)
}

fn check(log: &Log, offset: i64) -> Result<(), ResponseError> {
    if log.is_deleted() {
        Err(ResponseError::UnknownTopicOrPartition)
    } else if offset < log.start || offset > log.end() {
        Err(ResponseError::OffsetOutOfRange)
    } else {
        Ok(())
    }
}

/// The offset that a reader may not reach.
fn upper(log: &Log, committed: bool) -> i64 {
    if committed { log.stable_end() } else { log.end() }
}

fn read(shared: &Shared, request: &FetchRequest, committed: bool, bytes_max: usize) -> FetchResponse {
    let mut left = bytes_max;
    let mut anything = false;
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let data = read_partition(shared, &topic.topic, wanted, committed, left, anything);
            let data = data.unwrap_or_else(|error| {
                PartitionData::default()
                    .with_partition_index(wanted.partition)
                    .with_error_code(error.code())
                    .with_high_watermark(-1)
                    .with_last_stable_offset(-1)
                    .with_log_start_offset(-1)
                    .with_aborted_transactions(None)
                    .with_records(Some(Bytes::new()))
            });
            let read = data.records.as_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(read);
            anything |= read > 0;
            data
        });
        FetchableTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_topic(topic.topic.clone())
    });
    FetchResponse::default().with_responses(responses.collect())
}

fn read_partition(
    shared: &Shared,
    topic: &str,
    wanted: &FetchPartition,
    committed: bool,
    left: usize,
    anything: bool,
) -> Result<PartitionData, ResponseError> {
    let log = shared.log(topic, wanted.partition)?;
    let data = {
        let log = log.lock();
        check(&log, wanted.fetch_offset)?;
        PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_high_watermark(log.end())
            .with_last_stable_offset(log.stable_end())
            .with_log_start_offset(log.start)
    };
    let upper = if committed { data.last_stable_offset } else { data.high_watermark };
    let most = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(left);
    let mut records = Bytes::new();
    let mut from = wanted.fetch_offset;
    // The first batch of an answer is given whole, whatever its size, so that every reader gets on.
    while from < upper && records.is_empty() && (most > 0 || !anything) {
        let span = log.lock().span(from);
        let Some(span) = span.map_err(storage)? else { break };
        records = span.read(from, upper, most).map_err(storage)?;
        from = span.next_offset;
    }
    if anything && records.len() > most {
        records = Bytes::new();
    }
    let aborted = committed.then(|| {
        let end = crate::batch::ends_before(&records).unwrap_or(wanted.fetch_offset);
        let log = log.lock();
        let aborted = log.producers.aborted(wanted.fetch_offset, end).map(|a| {
            AbortedTransaction::default()
                .with_producer_id(a.producer_id.into())
                .with_first_offset(a.first_offset)
        });
        aborted.collect()
    });
    Ok(data.with_aborted_transactions(aborted).with_records(Some(records)))
}

fn storage(error: std::io::Error) -> ResponseError {
    tracing::error!(%error, "could not read a log segment");
    ResponseError::KafkaStorageError
}

/// ListOffsets: the start, the end, or the first record of a time or later.
pub(crate) fn list_offsets(shared: &Shared, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let found = shared.log(&topic.name, wanted.partition_index).and_then(|log| {
                let mut log = log.lock();
                match wanted.timestamp {
                    -1 => Ok(Some((-1, upper(&log, committed)))),
                    -2 => Ok(Some((-1, log.start))),
                    -3 => log.latest_time().map_err(storage),
                    time if time >= 0 => {
                        let upper = upper(&log, committed);
                        let found = log.find_time(time).map_err(storage)?;
                        Ok(found.filter(|(_, offset)| *offset < upper))
                    }
                    _ => Err(ResponseError::InvalidRequest),
                }
            });
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index)
                .with_timestamp(-1)
                .with_offset(-1);
            match found {
                Ok(Some((time, offset))) => {
                    answer.with_timestamp(time).with_offset(offset).with_leader_epoch(0)
                }
                Ok(None) => answer,
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        ListOffsetsTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// OffsetForLeaderEpoch: there is one leader and one epoch, 0, which ends at the log's end.
pub(crate) fn offset_for_leader_epoch(
    shared: &Shared,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let answer = EpochEndOffset::default().with_partition(wanted.partition);
            match shared.log(&topic.topic, wanted.partition) {
                Ok(log) if wanted.leader_epoch >= 0 => {
                    answer.with_leader_epoch(0).with_end_offset(log.lock().end())
                }
                Ok(_) => answer,
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_partitions(partitions.collect())
            .with_topic(topic.topic.clone())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
