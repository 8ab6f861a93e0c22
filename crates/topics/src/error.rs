//! What can go wrong with topics, and whose fault it is.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use yibiao_records::Fault;

/// An error of reading or writing topics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the kafka client was not made: {detail}; correct the setting in the [topics] section")]
    Config { detail: String },
    #[error(
        "the kafka property {name} is set by the program, because records would be lost without it: remove it from the configuration"
    )]
    ReservedProperty { name: String },
    #[error(
        "{doing}: the broker at {bootstrap} did not answer within {waited_s} s ({detail}); check that it runs and is reachable"
    )]
    Away { doing: String, bootstrap: String, waited_s: u64, detail: String },
    #[error("{doing}: the broker refused: {detail}")]
    Refused { doing: String, detail: String },
    #[error(
        "topic {topic} (partition {partition:?}) does not exist; create it with `ensure`, or correct its name"
    )]
    UnknownTopic { topic: String, partition: Option<i32> },
    #[error("topics differ from their description: {}", .0.join("; "))]
    Differs(Vec<String>),
    #[error(
        "reading {reader}: {detail}: records were deleted before they were read, or the topic was made anew; decide where to go on"
    )]
    PositionGone { reader: String, detail: String },
    #[error("sending to {topic}: the queue stayed full for {waited_s} s; the broker is away or too slow")]
    QueueFull { topic: String, waited_s: u64 },
    #[error(
        "sending to {topic}: the record of {bytes} bytes is over the limit; raise max_record_bytes on client and topic, or make it smaller"
    )]
    TooLarge { topic: String, bytes: usize },
    #[error(
        "a record sent to {topic} was refused for good ({detail}); nothing after it may be trusted: start the stage again"
    )]
    Poisoned { topic: String, detail: String },
    #[error(
        "the header {header} of a record in {topic} (partition {partition}, offset {offset}) cannot be read: {detail}"
    )]
    Header { header: &'static str, topic: String, partition: i32, offset: i64, detail: String },
    #[error("{doing} {topic}: this client may only read it")]
    ReadOnly { doing: String, topic: String },
    #[error("a task of the kafka client ended by a panic while {doing}")]
    Panicked { doing: String },
}

impl Error {
    /// Whose fault it is, and whether to try again.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Away { .. } | Error::QueueFull { .. } => Fault::OUTSIDE,
            Error::Config { .. }
            | Error::ReservedProperty { .. }
            | Error::Refused { .. }
            | Error::UnknownTopic { .. }
            | Error::Differs(_)
            | Error::PositionGone { .. }
            | Error::TooLarge { .. } => Fault::OPERATOR,
            Error::Poisoned { .. } => Fault::OUTSIDE,
            Error::Header { .. } => Fault::BAD_INPUT,
            Error::ReadOnly { .. } | Error::Panicked { .. } => Fault::OURS,
        }
    }

    pub(crate) fn config(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, detail, name, value) if name.contains("password") => {
                Error::Config { detail: format!("{detail} ({name}, a value of {} characters)", value.len()) }
            }
            other => Error::Config { detail: other.to_string() },
        }
    }
}

/// True where trying again can help without anybody changing anything.
pub(crate) fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    matches!(
        code,
        BrokerTransportFailure
            | AllBrokersDown
            // The connection that the question was on was given up meanwhile.
            | DestroyBroker
            | OperationTimedOut
            | TimedOutQueue
            | MessageTimedOut
            | RequestTimedOut
            | Resolve
            | WaitingForCoordinator
            | CoordinatorLoadInProgress
            | CoordinatorNotAvailable
            | NotCoordinator
            | LeaderNotAvailable
            | NotLeaderForPartition
            | BrokerNotAvailable
            | ReplicaNotAvailable
            | NetworkException
            | NotEnoughReplicas
            | NotEnoughReplicasAfterAppend
            | NotController
            | FencedLeaderEpoch
            | UnknownLeaderEpoch
            | OffsetNotAvailable
            | KafkaStorageError
            | ThrottlingQuotaExceeded
            | Retry
    )
}

pub(crate) fn unknown_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicId
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_wrong_setting_is_not_told() {
        let client = rdkafka::ClientConfig::new().set("sasl.passwordd", "geheim").create_native_config();
        let error = Error::config(client.err().expect("no such property"));
        assert!(!error.to_string().contains("geheim"), "{error}");
        assert_eq!(error.fault(), Fault::OPERATOR);
    }
}
