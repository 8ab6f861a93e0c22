//! Connections: a frame in, an answer out, in the order of the requests, as Kafka's clients expect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::dispatch;
use crate::state::{MEMORY_UNIT_BYTES, Shared};

/// A client that takes longer to send the rest of a request, or to take an answer, holds up memory that others
/// wait for.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
}

/// Takes connections until the broker stops.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(shared.limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles, most likely: back off, so that others can close theirs.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let max = shared.limits.connections_max;
            tracing::warn!(%address, connections_max = max, "closed a connection: too many are open");
            continue;
        };
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let _place = place;
            let stop = shared.stop.clone();
            tokio::select! {
                ended = serve(&shared, socket, address) => match ended {
                    Ok(()) => tracing::debug!(%address, "connection closed"),
                    Err(Hangup(reason)) => tracing::warn!(%address, reason, "closed a connection"),
                },
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Why the broker ends a connection by itself.
pub(crate) struct Hangup(pub(crate) String);

async fn serve(shared: &Shared, mut socket: TcpStream, address: SocketAddr) -> Result<(), Hangup> {
    let _ = socket.set_nodelay(true);
    let mut client = Client { address, id: String::new() };
    loop {
        let mut length = [0u8; 4];
        if socket.read_exact(&mut length).await.is_err() {
            return Ok(());
        }
        if length[..2] == [0x16, 0x03] {
            return Err(Hangup("the client speaks TLS, which the embedded broker does not".into()));
        }
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        let max = shared.limits.request_bytes_max;
        if length < 8 || length > max {
            return Err(Hangup(format!(
                "a request of {length} bytes: not Kafka's protocol, or over {max} bytes"
            )));
        }
        // A full memory makes clients wait, nothing else.
        let memory = shared.request_memory.acquire_many(units(shared, length)).await;
        let mut frame = BytesMut::zeroed(length);
        match timeout(STALLED_AFTER, socket.read_exact(&mut frame)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Hangup("the client sent only a part of a request".into())),
        }
        let answer = dispatch::answer(shared, frame.freeze(), &mut client).await?;
        drop(memory);
        let Some(answer) = answer else { continue };
        match timeout(STALLED_AFTER, socket.write_all(&answer.bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Hangup("the client did not take an answer".into())),
        }
    }
}

/// An encoded response and its share of the memory for responses.
pub(crate) struct Answer<'a> {
    pub(crate) bytes: Bytes,
    pub(crate) _memory: Option<tokio::sync::SemaphorePermit<'a>>,
}

/// So many bytes in units of memory, at most all there are.
pub(crate) fn units(shared: &Shared, bytes: usize) -> u32 {
    let all = (shared.limits.memory_bytes / 2) as usize / MEMORY_UNIT_BYTES;
    bytes.div_ceil(MEMORY_UNIT_BYTES).clamp(1, all.max(1)).min(u32::MAX as usize) as u32
}
