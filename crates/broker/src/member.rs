//! One member of a consumer group: what it offers, what it was given, and what it waits for.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::groups::{Joined, Synced};
use crate::journal::MemberEntry;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) session: Duration,
    pub(crate) rebalance: Duration,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(crate) expires_at: Instant,
    pub(crate) joining: Option<oneshot::Sender<Joined>>,
    pub(crate) syncing: Option<oneshot::Sender<Result<Synced, ResponseError>>>,
}

impl Member {
    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }

    /// Answers whatever the member waits for with an error.
    pub(crate) fn fail(&mut self, error: ResponseError, id: &str) {
        if let Some(joining) = self.joining.take() {
            let member = id.to_owned();
            let _ = joining.send(Joined { error: Some(error), member, generation: -1, ..Joined::default() });
        }
        if let Some(syncing) = self.syncing.take() {
            let _ = syncing.send(Err(error));
        }
    }

    pub(crate) fn entry(&self) -> MemberEntry {
        MemberEntry {
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            session_ms: self.session.as_millis() as u64,
            rebalance_ms: self.rebalance.as_millis() as u64,
            protocols: self
                .protocols
                .iter()
                .map(|(name, metadata)| (name.clone(), metadata.to_vec()))
                .collect(),
            assignment: self.assignment.to_vec(),
        }
    }

    pub(crate) fn restore(was: &MemberEntry) -> Member {
        let session = Duration::from_millis(was.session_ms);
        Member {
            instance: was.instance.clone(),
            client_id: was.client_id.clone(),
            session,
            rebalance: Duration::from_millis(was.rebalance_ms),
            protocols: was
                .protocols
                .iter()
                .map(|(name, m)| (name.clone(), Bytes::copy_from_slice(m)))
                .collect(),
            assignment: Bytes::copy_from_slice(&was.assignment),
            expires_at: Instant::now() + session,
            joining: None,
            syncing: None,
        }
    }
}
