//! Fusion, projection and checkpoints of some shards, for as long as these are the ones that this process has.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use yibiao_fusion::Fusion;
use yibiao_tables::{Projector, Shard, checkpoint::Checkpointer};

pub(super) struct Generation {
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Generation {
    pub fn start(
        fusion: Fusion,
        projector: Projector<Shard>,
        checkpointer: Arc<Mutex<Checkpointer>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(fusion, projector, checkpointer, stop.clone()));
        Self { stop, task }
    }

    /// When it has ended by itself: why.
    pub async fn ended(&mut self) -> Result<()> {
        (&mut self.task).await.context("fusion, projection or checkpoints panicked")?
    }

    /// Ends it in order: the batch is finished, and the lake is level with the shards.
    pub async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        self.ended().await
    }
}

/// Where one of the three ends, the others end too; fusion first, so that the last projection has all of it.
async fn run(
    fusion: Fusion,
    projector: Projector<Shard>,
    checkpointer: Arc<Mutex<Checkpointer>>,
    stop: CancellationToken,
) -> Result<()> {
    let fused = CancellationToken::new();
    let fusing = async {
        let ended = fusion.run(stop.clone()).await;
        fused.cancel();
        ended
    };
    let projecting = async {
        let ended = projector.run(fused.clone()).await;
        stop.cancel();
        ended
    };
    let keeping = async {
        let ended = Checkpointer::run(checkpointer, fused.clone()).await;
        stop.cancel();
        ended
    };
    let (fusing, projecting, keeping) = tokio::join!(fusing, projecting, keeping);
    projecting?;
    keeping?;
    fusing?;
    Ok(())
}
