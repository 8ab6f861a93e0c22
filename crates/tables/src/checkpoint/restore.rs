//! From a checkpoint to a folder that a state is opened from.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::{
    Manifest, Owner,
    manifest::{File, hash},
};
use crate::Error;

impl Owner {
    /// Brings the newest checkpoint of the owners before into the folder `dir`, which must not be there. Gives None, and
    /// makes nothing, where there is none yet. Whatever is damaged, or of another `layout`, is refused.
    pub async fn restore(&self, dir: &Path, layout: &str) -> Result<Option<Manifest>, Error> {
        let Some(base) = self.base() else { return Ok(None) };
        let manifest = self.folder.manifest(base, layout).await?;
        let beside = dir.with_extension("restoring");
        let writing = |source| Error::Write { path: beside.clone(), source };
        match fs::remove_dir_all(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(writing(error)),
            _ => fs::create_dir_all(&beside).map_err(writing)?,
        }
        for file in &manifest.files {
            let bytes = self.fetch(file, &base.to_string()).await?;
            let to = beside.join(&file.path);
            tokio::task::spawn_blocking(move || write(&to, &bytes))
                .await
                .map_err(|error| Error::Task(error.to_string()))?
                .map_err(writing)?;
        }
        // Whatever it was before, the folder is whole from here on.
        fs::rename(&beside, dir).map_err(writing)?;
        let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        tracing::info!(
            subject = %self.subject(),
            checkpoint = %base,
            batch = manifest.batch,
            sequence = manifest.sequence,
            files = manifest.files.len(),
            bytes,
            "restored"
        );
        Ok(Some(manifest))
    }

    async fn fetch(&self, file: &File, checkpoint: &str) -> Result<Vec<u8>, Error> {
        let damaged =
            |what: &str| self.folder.damaged(checkpoint, format!("its file {} {what}", file.object));
        let bytes = self.folder.get(&file.object).await?.ok_or_else(|| damaged("is missing"))?;
        if bytes.len() as u64 != file.bytes {
            let what = format!("has {} bytes, and should have {}", bytes.len(), file.bytes);
            return Err(damaged(&what));
        }
        match hash(&bytes) == file.xxh3 {
            true => Ok(bytes),
            false => Err(damaged("is damaged: its checksum differs")),
        }
    }
}

fn write(to: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create(to)?;
    file.write_all(bytes)?;
    file.sync_all()
}
