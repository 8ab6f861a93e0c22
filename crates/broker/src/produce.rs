//! Produce: batches go to the ends of their partitions' logs.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use crate::batch::Header;
use crate::error::Refusal;
use crate::log::Appended;
use crate::state::{Shared, now_ms};
use crate::transactions;

/// Appends the batches of a request.
pub(crate) fn produce(shared: &Shared, request: ProduceRequest) -> ProduceResponse {
    let acks_known = (-1..=1).contains(&request.acks);
    let responses = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|data| {
            let empty = bytes::Bytes::new();
            let batch = data.records.as_ref().unwrap_or(&empty);
            let appended = if acks_known {
                append(shared, &topic.name, data.index, batch)
            } else {
                Err(ResponseError::InvalidRequiredAcks.into())
            };
            let answer = PartitionProduceResponse::default().with_index(data.index);
            match appended {
                Ok((at, start)) => answer
                    .with_base_offset(at.base_offset)
                    .with_log_append_time_ms(at.append_time)
                    .with_log_start_offset(start),
                Err(refusal) => {
                    tracing::debug!(topic = &**topic.name, partition = data.index, error = %refusal.error,
                        reason = refusal.message, "refused a batch");
                    answer
                        .with_error_code(refusal.code())
                        .with_error_message(refusal.text())
                        .with_base_offset(-1)
                        .with_log_append_time_ms(-1)
                        .with_log_start_offset(-1)
                }
            }
        });
        TopicProduceResponse::default()
            .with_partition_responses(partitions.collect())
            .with_name(topic.name.clone())
    });
    ProduceResponse::default().with_responses(responses.collect())
}

/// The first error in an answer.
pub(crate) fn failed(response: &ProduceResponse) -> Option<ResponseError> {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.find_map(|partition| ResponseError::try_from_code(partition.error_code))
}

fn append(
    shared: &Shared,
    topic: &str,
    partition: i32,
    batch: &bytes::Bytes,
) -> Result<(Appended, i64), Refusal> {
    let log = shared.log(topic, partition)?;
    let header = Header::read(batch);
    let transactional = header.filter(Header::is_transactional);
    // Held until the batch is written: the transaction must not end between the check and the write.
    let _transacting = transactional.map(|_| shared.transacting.lock());
    if let Some(header) = transactional {
        transactions::check_part(shared, header.producer_id, header.producer_epoch, topic, partition)?;
    }
    let mut log = log.lock();
    let appended = log.append(batch, now_ms())?;
    Ok((appended, log.start))
}
