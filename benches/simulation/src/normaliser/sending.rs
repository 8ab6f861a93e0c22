//! Raw records as a shard sees them, and what it sends of them, as messages.

use std::rc::Rc;

use yibiao_normalise::{Error, decode::RawRecord, emit::Outlet};
use yibiao_records::Rejection;

use crate::{
    setup::Setup,
    topics::{About, Message, Producer},
};

/// Whether it is no record of the feed, but the end of a dump or an announcement.
pub fn stands_alone((offset, message): &(i64, Rc<Message>)) -> bool {
    let record = raw(*offset, message);
    record.ends_dump().is_some() || record.announces().is_some()
}

pub fn raw(offset: i64, message: &Message) -> RawRecord<'_> {
    let (provenance, origin, revised) = match &message.about {
        About::Raw { provenance, origin, revised, .. } => (Some(&**provenance), *origin, *revised),
        _ => (None, None, false),
    };
    let gazetteer = match &message.about {
        About::Announced { header } => Some(header.as_slice()),
        _ => None,
    };
    let key = Some(message.key.as_slice()).filter(|key| !key.is_empty());
    let value = message.value.as_deref();
    RawRecord {
        offset,
        timestamp_ms: message.timestamp_ms,
        key,
        value,
        provenance,
        origin,
        revised,
        gazetteer,
    }
}

pub struct Sending<'a> {
    pub setup: &'a Setup,
    pub feed: usize,
    pub producer: &'a mut Producer,
    pub now_ms: i64,
}

impl Outlet for Sending<'_> {
    fn frame(&mut self, topic: &str, partition: u32, header: &[u8], value: &[u8]) -> Result<(), Error> {
        let about = About::Frame { header: header.to_vec() };
        let message =
            Message { timestamp_ms: self.now_ms, key: Vec::new(), value: Some(value.to_vec()), about };
        self.producer.send((topic.into(), partition as i32), message);
        Ok(())
    }

    fn quarantine(
        &mut self,
        topic: &str,
        record: &RawRecord<'_>,
        rejection: &Rejection,
    ) -> Result<(), Error> {
        debug_assert_eq!(topic, &*self.setup.feeds[self.feed].quarantine_topic);
        let (partition, offset) = (rejection.partition, rejection.offset);
        let message = Message {
            timestamp_ms: record.timestamp_ms,
            key: record.key.unwrap_or_default().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
            about: About::Refused { partition, offset, origin: record.origin },
        };
        self.producer.send((topic.into(), 0), message);
        Ok(())
    }
}
