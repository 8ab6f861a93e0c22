//! What processes find that may have the normaliser where it moves: machines with their disks, and the checkpoints, which all
//! of them reach.
//!
//! ```text
//!  take: the next epoch ─► is the state on the disk the one that the owner before wrote? ── no ─► the newest checkpoint
//! ```
//!
//! Owners, claims and checkpoints are the real ones, on an object store in memory, as `crates/yibiao/src/pipeline/custody.rs`
//! uses them. A checkpoint's only file says which copy of a state's pairs and of which gazetteers it stands for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use yibiao_normalise::state::State;
use yibiao_state::{Bytes, Keyspace};
use yibiao_tables::checkpoint::{Checkpoints, Claims, Owner, Reached, Subject, Uploads};

use crate::setup::Setup;

const LAYOUT: &str = "copies";
const OWNER: &str = "owner";
const CLAIMING: &str = "claiming";
/// The fewest that the real ones keep.
const CHECKPOINTS_KEPT: usize = 2;

/// Gazetteers on a disk.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    pub has: BTreeSet<usize>,
    pub current: Option<usize>,
}

/// What one machine has on its disk.
#[derive(Clone)]
pub struct Machine {
    pub number: usize,
    pub state: State,
    pub folder: Folder,
    /// There is a state, which may be of the past.
    is_used: bool,
}

/// By feed and raw partition: by which gazetteer what stands before the first announcement is resolved.
pub type First = BTreeMap<(usize, i32), usize>;

/// A copy of a state and of its gazetteers.
pub struct Copied {
    folder: Folder,
    pairs: Vec<(Keyspace, Bytes, Bytes)>,
    pub resolves: First,
}

pub struct Machines {
    checkpoints: Checkpoints,
    copies: Vec<Copied>,
    /// Those on which no process runs.
    pub free: Vec<Machine>,
    /// Of the first checkpoint that counted and had one.
    pub first: First,
    claims: u64,
    dir: PathBuf,
}

impl Machines {
    /// `states` need not be empty, but for the first, which is the machine's that is taken first. `dir` is for files on their way.
    pub fn new(states: &[State], dir: &Path) -> Result<Self> {
        let machine = |(number, state): (usize, &State)| {
            empty(state)?;
            Ok(Machine { number, state: state.clone(), folder: Folder::default(), is_used: false })
        };
        Ok(Self {
            checkpoints: Checkpoints::open("memory:///")?,
            copies: Vec::new(),
            free: states.iter().enumerate().map(machine).collect::<Result<_>>()?,
            first: First::new(),
            claims: 0,
            dir: dir.to_path_buf(),
        })
    }

    /// Takes the next epoch. None where the process `dies` of it.
    pub async fn take(&mut self, machine: &mut Machine, dies: bool) -> Result<Option<Taken>> {
        let claim = self.new_claim();
        let claims = machine.is_used.then(|| claims_of(&machine.state)).transpose()?;
        let state = machine.state.clone();
        let note = |claims: &Claims, claim: &str| {
            let noting = |error: yibiao_normalise::Error| yibiao_tables::Error::Task(error.to_string());
            if let Some(owner) = claims.owner() {
                state.put_note(OWNER, &owner).map_err(noting)?;
            }
            state.put_note(CLAIMING, claim).map_err(noting)
        };
        let taking = self.checkpoints.take_for(Subject::Normaliser, claims, &claim, note);
        let (owner, is_newest) = taking.await?;
        if dies {
            return Ok(None);
        }
        let is_restored = !is_newest && owner.base_epoch().is_some();
        if is_restored {
            self.restore(&owner, machine).await?;
        }
        machine.is_used = true;
        machine.state.put_note(OWNER, &Claims::owned(owner.epoch(), &claim))?;
        Ok(Some(Taken { owner, is_restored }))
    }

    async fn restore(&mut self, owner: &Owner, machine: &mut Machine) -> Result<()> {
        let dir = self.dir.join("restored");
        owner.restore(&dir, LAYOUT).await?.context("a checkpoint that counts")?;
        let file = fs::read_dir(&dir)?.next().context("a checkpoint's file")??;
        let copy: usize = fs::read_to_string(file.path())?.parse()?;
        fs::remove_dir_all(&dir)?;
        let Copied { folder, pairs, .. } = &self.copies[copy];
        empty(&machine.state)?;
        let mut batch = machine.state.store().batch();
        for (keyspace, key, value) in pairs {
            batch.put(*keyspace, key.clone(), value.clone());
        }
        batch.commit()?;
        machine.folder = folder.clone();
        Ok(())
    }

    /// Puts a copy where others find it.
    pub async fn upload(
        &mut self,
        uploads: &mut Uploads,
        owner: &Owner,
        copied: Copied,
    ) -> Result<(), yibiao_tables::Error> {
        let (dir, number) = (self.dir.join("copied"), self.copies.len().to_string());
        self.copies.push(copied);
        let file = dir.join(&number);
        let written = fs::create_dir_all(&dir).and_then(|()| fs::write(&file, number));
        written.map_err(|source| yibiao_tables::Error::Write { path: file.clone(), source })?;
        let uploaded = uploads.upload(owner, LAYOUT, &dir, Reached::raw(Vec::new()), CHECKPOINTS_KEPT).await;
        fs::remove_file(&file).map_err(|source| yibiao_tables::Error::Write { path: file, source })?;
        uploaded.map(drop)
    }

    /// The next epoch, whose record names what was uploaded last.
    pub async fn renew(&mut self, owner: &Owner, state: &State) -> Result<Owner> {
        let claim = self.new_claim();
        state.put_note(CLAIMING, &claim)?;
        let owner = owner.renew(&claim).await?;
        state.put_note(OWNER, &Claims::owned(owner.epoch(), &claim))?;
        Ok(owner)
    }

    fn new_claim(&mut self) -> String {
        self.claims += 1;
        format!("claim-{}", self.claims)
    }
}

/// The normaliser, before its state is opened.
pub struct Taken {
    pub owner: Owner,
    pub is_restored: bool,
}

impl Machine {
    /// Its disk is lost.
    pub fn lose(&mut self) -> Result<()> {
        self.is_used = false;
        self.folder = Folder::default();
        empty(&self.state)
    }
}

impl Copied {
    /// The state as it is now; its gazetteers were copied before.
    pub fn of(setup: &Setup, state: &State, folder: Folder) -> Result<Self> {
        let mut resolves = First::new();
        for (id, record) in state.shards()? {
            let feed = setup.feeds.iter().position(|feed| feed.contract.feed == id.feed);
            let edition = record.gazetteer_version.and_then(|version| setup.edition(&version));
            if let Some((feed, edition)) = feed.zip(edition) {
                resolves.insert((feed, id.partition), edition);
            }
        }
        Ok(Self { folder, pairs: state.store().pairs().collect::<Result<_, _>>()?, resolves })
    }
}

fn claims_of(state: &State) -> Result<Claims> {
    let claims = Claims::parse(&state.note(OWNER)?, &state.note(CLAIMING)?);
    claims.map_err(|found| anyhow::anyhow!("the owner in the state cannot be read: {found}"))
}

fn empty(state: &State) -> Result<()> {
    let mut batch = state.store().batch();
    for pair in state.store().pairs() {
        let (keyspace, key, _) = pair?;
        batch.delete(keyspace, key);
    }
    Ok(batch.commit()?)
}
