//! Checkpoints from time to time, while the shards go on.

use std::{
    collections::BTreeMap,
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use yibiao_records::fault::Retry;

use super::{
    Uploads,
    upload::{Reached, Uploaded},
};
use crate::{Error, Shard};

/// Keeps the checkpoints of the shards that this process owns.
pub struct Checkpointer {
    shards: Vec<Shard>,
    every: Duration,
    kept: usize,
    uploads: BTreeMap<u32, Uploads>,
    /// The last batch in a checkpoint of this process.
    reached: BTreeMap<u32, u64>,
}

impl Checkpointer {
    pub fn new(shards: Vec<Shard>, every: Duration, kept: usize) -> Self {
        // So that it shows also where none can ever be made.
        shards.iter().for_each(is_kept);
        Self { shards, every, kept, uploads: BTreeMap::new(), reached: BTreeMap::new() }
    }

    /// The shards that this process owns from now on. Of those that stay, what their checkpoints have is known.
    pub fn own(&mut self, shards: Vec<Shard>) {
        let epoch = |shard: &Shard| shard.owner().map(super::Owner::epoch);
        let before: BTreeMap<_, _> = self.shards.iter().map(|shard| (shard.number(), epoch(shard))).collect();
        let after: BTreeMap<_, _> = shards.iter().map(|shard| (shard.number(), epoch(shard))).collect();
        let stays = |number: &u32| after.get(number).is_some_and(|now| before.get(number) == Some(now));
        self.uploads.retain(|number, _| stays(number));
        self.reached.retain(|number, _| stays(number));
        shards.iter().filter(|shard| !stays(&shard.number())).for_each(is_kept);
        self.shards = shards;
    }

    /// Until `shutdown`. A store that is away is tried again.
    pub async fn run(shared: Arc<Mutex<Self>>, shutdown: CancellationToken) -> Result<(), Error> {
        loop {
            let mut checkpointer = shared.lock().await;
            let every = checkpointer.every;
            match checkpointer.all().await {
                Err(error) if error.fault().retry == Retry::Later => {
                    tracing::warn!(%error, retry_in = ?every, "no checkpoint could be made");
                    let code = error.fault().code();
                    metrics::counter!("yibiao_errors_total", "stage" => "checkpoint", "code" => code)
                        .increment(1);
                }
                done => done?,
            }
            drop(checkpointer);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// A checkpoint of every shard that has gone on since its last one.
    pub async fn all(&mut self) -> Result<(), Error> {
        self.of(&self.shards.clone()).await
    }

    /// The same of some of them.
    pub async fn of(&mut self, shards: &[Shard]) -> Result<(), Error> {
        for shard in shards {
            let batch = shard.view().last_batch()?;
            if self.reached.get(&shard.number()) != Some(&batch) {
                self.one(shard).await?;
                self.reached.insert(shard.number(), batch);
            }
            is_kept(shard);
        }
        Ok(())
    }

    async fn one(&mut self, shard: &Shard) -> Result<Uploaded, Error> {
        let Some(owner) = shard.owner() else { return Ok(Uploaded::default()) };
        let beside = shard.path().with_extension("checkpoint");
        clear(&beside)?;
        let began = Instant::now();
        let (copied, to) = (shard.clone(), beside.clone());
        let at = tokio::task::spawn_blocking(move || Reached::of(&copied.copy(&to)?))
            .await
            .map_err(|error| Error::Task(error.to_string()))??;
        let batch = at.batch;
        let copied = began.elapsed();
        let layout = Shard::layout(shard.number(), shard.tables());
        let uploads = self.uploads.entry(shard.number()).or_default();
        let uploaded = uploads.upload(owner, &layout, &beside, at, self.kept).await?;
        clear(&beside)?;
        metrics::counter!("yibiao_checkpoint_bytes_total", "stage" => "checkpoint")
            .increment(uploaded.bytes_new);
        tracing::info!(
            shard = shard.number(),
            batch,
            files = uploaded.files,
            bytes = uploaded.bytes,
            files_new = uploaded.files_new,
            bytes_new = uploaded.bytes_new,
            copied_ms = copied.as_millis() as u64,
            took_ms = began.elapsed().as_millis() as u64,
            "checkpoint made"
        );
        Ok(uploaded)
    }
}

/// Nothing of the shard is without a checkpoint now, or it was just taken.
fn is_kept(shard: &Shard) {
    let number = shard.number().to_string();
    metrics::gauge!("yibiao_checkpoint_at_seconds", "stage" => "checkpoint", "shard" => number)
        .set(chrono::Utc::now().timestamp() as f64);
}

/// Takes away what is in the way of a copy, or was copied.
pub fn clear(folder: &std::path::Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Write { path: folder.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
