//! Points between two writes, where tests make a process die: `YIBIAO_CRASH_AT=deliver-audited:2` ends it when it comes by
//! the second time, as a power cut would. Only in builds with debug assertions; elsewhere a point is nothing.

/// Where a process may be made to die, in the order of a record's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CrashPoint {
    ConnectSent,
    ConnectAcknowledged,
    ConnectSaved,
    NormaliseSent,
    NormaliseAcknowledged,
    NormaliseCommitted,
    GazetteerWritten,
    GazetteerNamed,
    GazetteerInForce,
    FusionApplied,
    FusionCommitted,
    ProjectChangesWritten,
    ProjectChangesCommitted,
    ProjectBucketsWritten,
    ProjectBucketsCommitted,
    ProjectTrimmed,
    DeliverAudited,
    DeliverSent,
    DeliverCommitted,
    LoadRead,
    LoadWritten,
    LoadSynced,
    LoadMoved,
    LoadCheckpointed,
    LoadFounded,
    NormaliseRestoring,
    NormaliseCheckpointed,
    NormaliseFounded,
    NormaliseAnnounced,
    SwapJournalled,
    SwapHandedOver,
    SwapQuarantined,
    SwapSetAside,
    SwapMoved,
    SwapDropped,
}

impl CrashPoint {
    /// Those of the first load of a fusion shard, in their order. Stages come by them only where they find a backlog.
    pub const LOAD: [CrashPoint; 4] =
        [CrashPoint::LoadRead, CrashPoint::LoadWritten, CrashPoint::LoadSynced, CrashPoint::LoadMoved];

    /// Those that follow where the shard moves, and needs a checkpoint before it goes on.
    pub const LOAD_OWNED: [CrashPoint; 2] = [CrashPoint::LoadCheckpointed, CrashPoint::LoadFounded];

    /// Those of a normaliser that moves: where it comes back from a checkpoint, and before it sends anything.
    pub const NORMALISER_OWNED: [CrashPoint; 4] = [
        CrashPoint::NormaliseRestoring,
        CrashPoint::NormaliseCheckpointed,
        CrashPoint::NormaliseFounded,
        CrashPoint::NormaliseAnnounced,
    ];

    /// Those between the writes of one swap of tables, in their order. Stages do not come by them.
    pub const SWAP: [CrashPoint; 6] = [
        CrashPoint::SwapJournalled,
        CrashPoint::SwapHandedOver,
        CrashPoint::SwapQuarantined,
        CrashPoint::SwapSetAside,
        CrashPoint::SwapMoved,
        CrashPoint::SwapDropped,
    ];

    /// Those of the stages.
    pub const STAGES: [CrashPoint; 19] = [
        CrashPoint::ConnectSent,
        CrashPoint::ConnectAcknowledged,
        CrashPoint::ConnectSaved,
        CrashPoint::NormaliseSent,
        CrashPoint::NormaliseAcknowledged,
        CrashPoint::NormaliseCommitted,
        CrashPoint::GazetteerWritten,
        CrashPoint::GazetteerNamed,
        CrashPoint::GazetteerInForce,
        CrashPoint::FusionApplied,
        CrashPoint::FusionCommitted,
        CrashPoint::ProjectChangesWritten,
        CrashPoint::ProjectChangesCommitted,
        CrashPoint::ProjectBucketsWritten,
        CrashPoint::ProjectBucketsCommitted,
        CrashPoint::ProjectTrimmed,
        CrashPoint::DeliverAudited,
        CrashPoint::DeliverSent,
        CrashPoint::DeliverCommitted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            CrashPoint::ConnectSent => "connect-sent",
            CrashPoint::ConnectAcknowledged => "connect-acknowledged",
            CrashPoint::ConnectSaved => "connect-saved",
            CrashPoint::NormaliseSent => "normalise-sent",
            CrashPoint::NormaliseAcknowledged => "normalise-acknowledged",
            CrashPoint::NormaliseCommitted => "normalise-committed",
            CrashPoint::GazetteerWritten => "gazetteer-written",
            CrashPoint::GazetteerNamed => "gazetteer-named",
            CrashPoint::GazetteerInForce => "gazetteer-in-force",
            CrashPoint::FusionApplied => "fusion-applied",
            CrashPoint::FusionCommitted => "fusion-committed",
            CrashPoint::ProjectChangesWritten => "project-changes-written",
            CrashPoint::ProjectChangesCommitted => "project-changes-committed",
            CrashPoint::ProjectBucketsWritten => "project-buckets-written",
            CrashPoint::ProjectBucketsCommitted => "project-buckets-committed",
            CrashPoint::ProjectTrimmed => "project-trimmed",
            CrashPoint::DeliverAudited => "deliver-audited",
            CrashPoint::DeliverSent => "deliver-sent",
            CrashPoint::DeliverCommitted => "deliver-committed",
            CrashPoint::LoadRead => "load-read",
            CrashPoint::LoadWritten => "load-written",
            CrashPoint::LoadSynced => "load-synced",
            CrashPoint::LoadMoved => "load-moved",
            CrashPoint::LoadCheckpointed => "load-checkpointed",
            CrashPoint::LoadFounded => "load-founded",
            CrashPoint::NormaliseRestoring => "normalise-restoring",
            CrashPoint::NormaliseCheckpointed => "normalise-checkpointed",
            CrashPoint::NormaliseFounded => "normalise-founded",
            CrashPoint::NormaliseAnnounced => "normalise-announced",
            CrashPoint::SwapJournalled => "swap-journalled",
            CrashPoint::SwapHandedOver => "swap-handed-over",
            CrashPoint::SwapQuarantined => "swap-quarantined",
            CrashPoint::SwapSetAside => "swap-set-aside",
            CrashPoint::SwapMoved => "swap-moved",
            CrashPoint::SwapDropped => "swap-dropped",
        }
    }

    /// The process comes by here.
    #[inline]
    pub fn pass(self) {
        #[cfg(debug_assertions)]
        armed::pass(self);
    }
}

/// The environment variable that arms one point: its name, a colon, and which time.
pub const CRASH_AT: &str = "YIBIAO_CRASH_AT";

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    use super::{CRASH_AT, CrashPoint};

    static ARMED: OnceLock<Option<(CrashPoint, AtomicU32)>> = OnceLock::new();

    fn armed() -> Option<(CrashPoint, AtomicU32)> {
        let text = std::env::var(CRASH_AT).ok()?;
        let (name, nth) = text.split_once(':')?;
        let loads = CrashPoint::LOAD.into_iter().chain(CrashPoint::LOAD_OWNED);
        let owned = CrashPoint::NORMALISER_OWNED;
        let mut points = CrashPoint::STAGES.into_iter().chain(loads).chain(owned).chain(CrashPoint::SWAP);
        let point = points.find(|point| point.as_str() == name)?;
        Some((point, AtomicU32::new(nth.parse().ok()?)))
    }

    pub fn pass(point: CrashPoint) {
        if let Some((at, left)) = ARMED.get_or_init(armed)
            && *at == point
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            eprintln!("{CRASH_AT}: dying at {}", point.as_str());
            std::process::abort();
        }
    }
}
