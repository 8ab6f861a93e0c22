//! The normaliser's state where others find it: its own, the gazetteers, and the facts that these are made of.
//!
//! ```text
//!  take: the next epoch ─► is the state here the one that the owner before wrote? ── no ─► the newest checkpoint, in its place
//!  found: checkpoint ─► the next epoch, whose record names it        (before anything is sent, and before a gazetteer is announced)
//!  keep: a checkpoint from time to time; a last one when the stage has ended in order
//! ```
//!
//! Epochs say whose checkpoints count, and nothing else: what two normalisers send at the same time is the same
//! (docs/adr/0015).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use yibiao_normalise::{
    Custodian, GazetteerFacts, GazetteerFolder,
    state::{ShardId, State},
};
use yibiao_records::{CrashPoint, NextOffset, Retry};
use yibiao_tables::{
    Error,
    checkpoint::{Checkpoints, Claims, Owner, Reached, Subject, Uploads, clear, new_claim, set_aside},
};

use crate::config::{Config, Layout};

/// What a checkpoint of the normaliser consists of; another form is not restored.
const LAYOUT: &str = "format 1: state, gazetteer, gazetteer/facts";
const OWNER: &str = "owner";
const CLAIMING: &str = "claiming";

/// The normaliser, before its state is opened.
pub(super) struct Taken {
    owner: Owner,
    claim: String,
}

/// What keeps it.
pub(super) struct Custody {
    /// One checkpoint at a time.
    keeping: Arc<Mutex<Keeping>>,
    every: Duration,
}

struct Keeping {
    owner: Owner,
    uploads: Uploads,
    /// What the newest checkpoint of this process has.
    reached: Option<Has>,
    state: State,
    gazetteers: GazetteerFolder,
    facts: Option<GazetteerFacts>,
    /// Where a copy is made.
    beside: PathBuf,
    checkpoints_kept: usize,
}

/// How far a state is, and which gazetteer is there.
#[derive(PartialEq, Eq)]
struct Has {
    next: BTreeMap<ShardId, NextOffset>,
    gazetteer: Option<String>,
}

/// Takes the normaliser, and brings the newest state here where somebody else had it since.
pub(super) async fn take(location: &str, config: &Config, layout: &Layout) -> Result<Taken> {
    let checkpoints = Checkpoints::open(location)?;
    checkpoints.prove().await?;
    let claim = new_claim();
    let is_here = layout.normalise.exists();
    let state = is_here.then(|| State::open(&layout.normalise, &config.normalise.state())).transpose()?;
    let claims = state.as_ref().map(claims_of).transpose()?;
    let note = |claims: &Claims, claim: &str| match &state {
        Some(state) => note_claim(state, claims, claim),
        None => Ok(()),
    };
    let (owner, is_newest) = checkpoints.take_for(Subject::Normaliser, claims, &claim, note).await?;
    drop(state);
    // Without a checkpoint nobody has sent anything yet.
    if !is_newest && owner.base_epoch().is_some() {
        let restored = layout.normalise.with_extension("restored");
        clear(&restored)?;
        owner.restore(&restored, LAYOUT).await?;
        // A checkpoint knows of files only, and there may be no gazetteer yet.
        let gazetteer = restored.join("gazetteer");
        fs::create_dir_all(&gazetteer).with_context(|| format!("making {}", gazetteer.display()))?;
        // The state last: as long as it is not there, all of it is brought again.
        put_in_place(&gazetteer, &layout.gazetteer)?;
        CrashPoint::NormaliseRestoring.pass();
        put_in_place(&restored.join("state"), &layout.normalise)?;
        clear(&restored)?;
    }
    Ok(Taken { owner, claim })
}

/// Refuses a state that has an owner, where no place for checkpoints is configured.
pub(super) fn refuse_owned(state: &State) -> Result<()> {
    anyhow::ensure!(
        claims_of(state)?.epoch == 0,
        "the normaliser's state {} has an owner, and this process knows no place for checkpoints: set normalise.checkpoints to \
         the one that was used",
        state.path().display()
    );
    Ok(())
}

fn claims_of(state: &State) -> Result<Claims> {
    let claims = Claims::parse(&state.note(OWNER)?, &state.note(CLAIMING)?);
    claims.map_err(|found| {
        anyhow::anyhow!("the owner in the state {} cannot be read: {found}", state.path().display())
    })
}

/// Whose it is by `claims`, and that an epoch is about to be taken under `claim`.
fn note_claim(state: &State, claims: &Claims, claim: &str) -> Result<(), Error> {
    if let Some(owner) = claims.owner() {
        state.put_note(OWNER, &owner).map_err(of_stage)?;
    }
    state.put_note(CLAIMING, claim).map_err(of_stage)
}

fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    set_aside(Subject::Normaliser, to)?;
    let failed = || format!("moving {} to {}", from.display(), to.display());
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(failed)?;
    }
    fs::rename(from, to).with_context(failed)
}

impl Custody {
    /// Of the state that was opened where it had been taken to.
    pub fn new(
        taken: Taken,
        state: State,
        gazetteers: GazetteerFolder,
        facts: Option<GazetteerFacts>,
        config: &Config,
    ) -> Result<Arc<Self>> {
        let Taken { owner, claim } = taken;
        state.put_note(OWNER, &Claims::owned(owner.epoch(), &claim))?;
        is_kept();
        let (uploads, beside) = (Uploads::default(), state.path().with_extension("checkpoint"));
        let checkpoints_kept = config.normalise.checkpoints_kept;
        let keeping =
            Keeping { owner, uploads, reached: None, state, gazetteers, facts, beside, checkpoints_kept };
        let every = config.normalise.checkpoint_every;
        Ok(Arc::new(Self { keeping: Arc::new(Mutex::new(keeping)), every }))
    }

    /// Checkpoints until `shutdown`. A store that is away is tried again.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.every) => {}
            }
            match self.keeping.lock().await.checkpoint_of_changes().await {
                Err(error) if error.fault().retry == Retry::Later => {
                    tracing::warn!(%error, retry_in = ?self.every, "no checkpoint of the normaliser could be made");
                    let code = error.fault().code();
                    metrics::counter!("yibiao_errors_total", "stage" => "checkpoint", "code" => code)
                        .increment(1);
                }
                done => done?,
            }
        }
    }

    /// After the stage has ended in order: whoever has it next has nothing to judge again.
    pub async fn last(&self) -> Result<()> {
        match self.keeping.lock().await.checkpoint().await {
            Err(error) if error.fault().retry == Retry::Later => {
                tracing::warn!(%error, "no last checkpoint: the next owner judges some records again");
                Ok(())
            }
            done => Ok(done?),
        }
    }
}

impl Keeping {
    async fn checkpoint_of_changes(&mut self) -> Result<(), Error> {
        let shards = self.state.shards().map_err(of_stage)?.into_iter();
        let now = Has {
            next: shards.map(|(id, record)| (id, record.next)).collect(),
            gazetteer: self.gazetteers.current().map_err(of_stage)?,
        };
        if self.reached.as_ref() != Some(&now) {
            return self.checkpoint().await;
        }
        self.owner.check().await?;
        is_kept();
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        // Who was out for long should not send its files first.
        self.owner.check().await?;
        let gazetteer = self.gazetteers.current().map_err(of_stage)?;
        clear(&self.beside)?;
        let copying = (self.state.clone(), self.gazetteers.clone(), self.facts.clone(), self.beside.clone());
        let next = tokio::task::spawn_blocking(move || copy(copying))
            .await
            .map_err(|error| Error::Task(error.to_string()))??;
        let copied = began.elapsed();
        let of = |(id, next): (&ShardId, &NextOffset)| (id.feed.raw_topic(), id.partition, next.get());
        let at = Reached::raw(next.iter().map(of).collect());
        let Self { owner, uploads, beside, checkpoints_kept, .. } = self;
        let uploaded = uploads.upload(owner, LAYOUT, beside, at, *checkpoints_kept).await?;
        self.reached = Some(Has { next, gazetteer });
        clear(&self.beside)?;
        metrics::counter!("yibiao_checkpoint_bytes_total", "stage" => "checkpoint")
            .increment(uploaded.bytes_new);
        is_kept();
        tracing::info!(
            of = %Subject::Normaliser,
            epoch = self.owner.epoch(),
            files = uploaded.files,
            bytes = uploaded.bytes,
            files_new = uploaded.files_new,
            bytes_new = uploaded.bytes_new,
            copied_ms = copied.as_millis() as u64,
            took_ms = began.elapsed().as_millis() as u64,
            "checkpoint made"
        );
        Ok(())
    }

    async fn found(&mut self) -> Result<u64, Error> {
        self.checkpoint().await?;
        CrashPoint::NormaliseCheckpointed.pass();
        let claim = new_claim();
        self.state.put_note(CLAIMING, &claim).map_err(of_stage)?;
        self.owner = self.owner.renew(&claim).await?;
        CrashPoint::NormaliseFounded.pass();
        self.state.put_note(OWNER, &Claims::owned(self.owner.epoch(), &claim)).map_err(of_stage)?;
        Ok(self.owner.epoch())
    }
}

type Copying = (State, GazetteerFolder, Option<GazetteerFacts>, PathBuf);

/// An error of the state or of the gazetteers' folder.
fn of_stage(error: yibiao_normalise::Error) -> Error {
    match error {
        yibiao_normalise::Error::State(error) => Error::State(error),
        yibiao_normalise::Error::File { path, source, .. } => Error::Write { path, source },
        other => Error::Task(other.to_string()),
    }
}

fn copy((state, gazetteers, facts, to): Copying) -> Result<BTreeMap<ShardId, NextOffset>, Error> {
    fs::create_dir_all(&to).map_err(|source| Error::Write { path: to.clone(), source })?;
    // The state last: what it resolves by was announced before, and stays in the folder until no shard needs it.
    gazetteers.copy(&to.join("gazetteer")).map_err(of_stage)?;
    if let Some(facts) = facts {
        facts.copy(&to.join("gazetteer/facts")).map_err(of_stage)?;
    }
    state.copy(&to.join("state")).map_err(of_stage)
}

fn is_kept() {
    metrics::gauge!("yibiao_checkpoint_at_seconds", "stage" => "checkpoint", "shard" => "normaliser")
        .set(chrono::Utc::now().timestamp() as f64);
}

#[async_trait]
impl Custodian for Custody {
    async fn found(&self) -> Result<u64, yibiao_normalise::Error> {
        let mut keeping = self.keeping.clone().lock_owned().await;
        // Whoever stops waiting, as at a stop, leaves no half of a copy to the next checkpoint, which waits for the end of this one.
        let founding = tokio::spawn(async move { keeping.found().await });
        let founded = founding.await.unwrap_or_else(|error| Err(Error::Task(error.to_string())));
        founded.map_err(|error| {
            let fault = error.fault();
            yibiao_normalise::Error::Custody { source: Box::new(error), fault }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_no_gazetteer_yet_comes_back_on_another_machine() {
        let dir = tempfile::tempdir().unwrap();
        let config = |machine: &str| -> Config {
            toml::from_str(&format!("data = {:?}\n[kafka]\n", dir.path().join(machine))).unwrap()
        };
        let (one, other) = (config("one"), config("other"));
        let open = |of: &Config| State::open(&of.layout().normalise, &of.normalise.state()).unwrap();
        let location = dir.path().join("checkpoints");
        let location = location.to_str().unwrap();
        let taken = take(location, &one, &one.layout()).await.unwrap();
        let folder = GazetteerFolder::new(one.layout().gazetteer).unwrap();
        let custody = Custody::new(taken, open(&one), folder, None, &one).unwrap();
        let epoch = Custodian::found(&*custody).await.unwrap();
        drop(take(location, &other, &other.layout()).await.unwrap());
        // Copied under the epoch before.
        assert_eq!(claims_of(&open(&other)).unwrap().epoch, epoch - 1);
        assert!(other.layout().gazetteer.is_dir());
    }
}
