//! What can happen, and how likely each is under a seed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One step of the world.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Send(usize),
    SaveCursor(usize),
    KillConnector(usize),
    Append,
    Publish,
    Work(usize),
    /// A step of what asks again.
    Revise,
    /// A step of a paused process, and of which of its workers.
    Wake(usize, usize),
    /// A step of what asks again in a paused process.
    WakeReviser(usize),
    Kill,
    Pause,
    /// Stops when it is at rest, and starts with another contract.
    Upgrade,
    Replay(usize),
    SaveReplay,
    KillReplay,
    Repeat,
    Fuse(usize),
    KillFuser(usize),
    Rewind(usize),
    Follow(usize),
    Checkpoint(usize),
    /// Another process takes the shard.
    Move(usize),
    /// A step of the process that had it before.
    WakeFuser(usize),
    Trim(usize),
    /// Where the normaliser moves: a step towards a checkpoint that counts, or what is announced under it.
    Keep,
    /// A checkpoint from time to time.
    Save,
    /// A step of the same in a paused process.
    WakeKeeping(usize),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    ConnectorKilled,
    NormaliserKilled,
    NormaliserPaused,
    ZombieRefused,
    FusionKilled,
    ReplayKilled,
    ReaderSetBack,
    MessageRepeated,
    GazetteerPublished,
    ContractChanged,
    MessageLost,
    EditionTaken,
    EditionHeld,
    RecordRevised,
    ReplaySuperseded,
    DumpEnded,
    DumpIncomplete,
    RecordMissing,
    WaitingMissing,
    FrameSkipped,
    FactSkipped,
    TimerDue,
    WarningChanged,
    ShardMoved,
    BatchMadeAgain,
    OwnerRefused,
    TailLate,
    NormaliserMoved,
    StateRestored,
    NormaliserSaved,
    NormaliserRevoked,
    ZombieCommitted,
    ZombieAnnounced,
    ZombieLacking,
    ZombieEnded,
    AnnouncementObeyed,
    AnnouncementLate,
    FactSaidAgain,
    ContractRefused,
}

impl Event {
    pub const ALL: [Event; 39] = [
        Event::ConnectorKilled,
        Event::NormaliserKilled,
        Event::NormaliserPaused,
        Event::ZombieRefused,
        Event::FusionKilled,
        Event::ReplayKilled,
        Event::ReaderSetBack,
        Event::MessageRepeated,
        Event::GazetteerPublished,
        Event::ContractChanged,
        Event::MessageLost,
        Event::EditionTaken,
        Event::EditionHeld,
        Event::RecordRevised,
        Event::ReplaySuperseded,
        Event::DumpEnded,
        Event::DumpIncomplete,
        Event::RecordMissing,
        Event::WaitingMissing,
        Event::FrameSkipped,
        Event::FactSkipped,
        Event::TimerDue,
        Event::WarningChanged,
        Event::ShardMoved,
        Event::BatchMadeAgain,
        Event::OwnerRefused,
        Event::TailLate,
        Event::NormaliserMoved,
        Event::StateRestored,
        Event::NormaliserSaved,
        Event::NormaliserRevoked,
        Event::ZombieCommitted,
        Event::ZombieAnnounced,
        Event::ZombieLacking,
        Event::ZombieEnded,
        Event::AnnouncementObeyed,
        Event::AnnouncementLate,
        Event::FactSaidAgain,
        Event::ContractRefused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Event::ConnectorKilled => "connectors killed",
            Event::NormaliserKilled => "normalisers killed",
            Event::NormaliserPaused => "normalisers paused and replaced",
            Event::ZombieRefused => "commits of paused ones refused",
            Event::FusionKilled => "fusion shards killed",
            Event::ReplayKilled => "replays killed",
            Event::ReaderSetBack => "readers set back",
            Event::MessageRepeated => "messages repeated",
            Event::GazetteerPublished => "gazetteers put in force",
            Event::ContractChanged => "contracts changed",
            Event::MessageLost => "messages lost with their producer",
            Event::EditionTaken => "shards that took another gazetteer",
            Event::EditionHeld => "batches that had to keep theirs",
            Event::RecordRevised => "records asked again",
            Event::ReplaySuperseded => "replayed records that came too late",
            Event::DumpEnded => "full dumps that ended at a partition",
            Event::DumpIncomplete => "ends of full dumps that were refused",
            Event::RecordMissing => "records that stood and were missing in a full dump",
            Event::WaitingMissing => "records that waited for a gazetteer and were missing in a full dump",
            Event::FrameSkipped => "frames that were applied before",
            Event::FactSkipped => "facts that were applied before",
            Event::TimerDue => "timers that were due",
            Event::WarningChanged => "warnings raised, updated or cleared",
            Event::ShardMoved => "fusion shards moved",
            Event::BatchMadeAgain => "batches of tails made again",
            Event::OwnerRefused => "former owners refused",
            Event::TailLate => "late tails of former owners",
            Event::NormaliserMoved => "normalisers that went on on another machine",
            Event::StateRestored => "normalisers restored from a checkpoint",
            Event::NormaliserSaved => "checkpoints of normalisers",
            Event::NormaliserRevoked => "paused normalisers that were refused a checkpoint",
            Event::ZombieCommitted => "commits of paused normalisers to states of their own",
            Event::ZombieAnnounced => "announcements of paused normalisers",
            Event::ZombieLacking => "paused normalisers that read of a gazetteer that they do not have",
            Event::ZombieEnded => "paused normalisers that ended",
            Event::AnnouncementObeyed => "shards that took a gazetteer that was announced",
            Event::AnnouncementLate => "announcements that came too late",
            Event::FactSaidAgain => "facts that were said again, and alike",
            Event::ContractRefused => {
                "other contracts that were refused, as something was still owed by the former"
            }
        }
    }
}

/// How likely each step is, against the others. A seed leaves some faults out and has much of others.
#[derive(Debug)]
pub struct Weights {
    pub send: u32,
    pub append: u32,
    pub work: u32,
    pub fuse: u32,
    pub wake: u32,
    pub revise: u32,
    pub kill_connector: u32,
    pub kill: u32,
    pub pause: u32,
    pub upgrade: u32,
    pub publish: u32,
    pub replay: u32,
    pub kill_replay: u32,
    pub repeat: u32,
    pub kill_fuser: u32,
    pub rewind: u32,
    pub moves: bool,
    pub replays_at_end: bool,
    pub fuse_messages_max: usize,
    /// The normaliser moves.
    pub wanders: bool,
}

impl Weights {
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut often = |least: u32| rng.random_range(4 * least..=40 * least);
        let (send, append, work, fuse, wake) = (often(2), often(10), often(6), often(4), often(1));
        let revise = often(8);
        let mut seldom = || [0, 0, 1, 2, 6][rng.random_range(0..5)];
        let mut weights = Self {
            send,
            append,
            work,
            fuse,
            wake,
            revise,
            kill_connector: seldom(),
            kill: seldom() * 2,
            pause: seldom() * 3,
            upgrade: seldom(),
            publish: seldom(),
            replay: seldom(),
            kill_replay: seldom(),
            repeat: seldom(),
            kill_fuser: seldom(),
            rewind: seldom(),
            moves: rng.random_range(0..4) == 0,
            replays_at_end: rng.random(),
            fuse_messages_max: rng.random_range(1..=6),
            wanders: false,
        };
        // From a stream of its own, so that all else is as it was before there was this.
        let mut rng = rng.clone();
        rng.set_stream(1);
        if rng.random_range(0..3) == 0 {
            weights.wanders = true;
            // Most of what is to be seen begins with a gazetteer.
            weights.publish += 3;
        }
        weights
    }
}
