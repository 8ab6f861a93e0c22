//! What an error means for who follows a group: somebody else has taken what it is about, or it may pass.

use yibiao_records::Retry;
use yibiao_tables::checkpoint::Subject;

fn of_tables(error: &anyhow::Error) -> Option<&yibiao_tables::Error> {
    let of_fusion = || match error.downcast_ref()? {
        yibiao_fusion::Error::Tables(error) => Some(error),
        _ => None,
    };
    let of_normalise = || match error.downcast_ref()? {
        yibiao_normalise::Error::Custody { source, .. } => source.downcast_ref(),
        _ => None,
    };
    error.downcast_ref().or_else(of_fusion).or_else(of_normalise)
}

/// What belongs to somebody else now, whoever tells.
pub(super) fn taken_by_others(error: &anyhow::Error) -> Option<Subject> {
    match of_tables(error)? {
        yibiao_tables::Error::Revoked { of, .. } => Some(*of),
        _ => None,
    }
}

/// A store or a broker that is away, or a state that something here still reads.
pub(super) fn passes(error: &anyhow::Error) -> bool {
    use yibiao_state::Error::InUse;
    let fault = match of_tables(error) {
        Some(yibiao_tables::Error::State(InUse { .. })) => return true,
        Some(error) => error.fault(),
        None => match (error.downcast_ref(), error.downcast_ref()) {
            (Some(error), _) => yibiao_fusion::Error::fault(error),
            (_, Some(yibiao_normalise::Error::State(InUse { .. }))) => return true,
            (_, Some(error)) => yibiao_normalise::Error::fault(error),
            (None, None) => return false,
        },
    };
    fault.retry == Retry::Later
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use anyhow::Context;
    use yibiao_records::Fault;
    use yibiao_tables::Error;

    use super::*;

    fn told(error: impl Into<anyhow::Error>) -> anyhow::Error {
        Err::<(), _>(error.into()).context("taking what a group gives").unwrap_err()
    }

    #[test]
    fn what_became_of_a_shard_is_known_whoever_tells() {
        let revoked = || Error::Revoked { of: Subject::Shard(3), epoch: 1 };
        assert_eq!(taken_by_others(&told(revoked())), Some(Subject::Shard(3)));
        assert_eq!(taken_by_others(&told(yibiao_fusion::Error::Tables(revoked()))), Some(Subject::Shard(3)));
        assert_eq!(taken_by_others(&told(Error::Owned { shard: 3 })), None);
        assert!(!passes(&told(revoked())));
        assert!(passes(&told(Error::State(yibiao_state::Error::InUse { path: "shard-3".into() }))));
        assert!(!passes(&told(yibiao_fusion::Error::Diverged { shard: 3, batch: 1 })));
        assert!(!passes(&anyhow::anyhow!("of another kind")));
    }

    #[test]
    fn what_became_of_the_normaliser_is_known_whoever_tells() {
        let of_stage = |error: Error| {
            let fault = error.fault();
            yibiao_normalise::Error::Custody { source: Box::new(error), fault }
        };
        let revoked = || Error::Revoked { of: Subject::Normaliser, epoch: 1 };
        let away = || yibiao_normalise::Error::Custody { source: "away".into(), fault: Fault::OUTSIDE };
        assert_eq!(taken_by_others(&told(revoked())), Some(Subject::Normaliser));
        assert_eq!(taken_by_others(&told(of_stage(revoked()))), Some(Subject::Normaliser));
        assert!(!passes(&told(of_stage(revoked()))));
        assert!(passes(&told(away())));
        assert_eq!(taken_by_others(&told(away())), None);
        assert!(passes(&told(yibiao_normalise::Error::Interrupted)));
        let in_use = yibiao_state::Error::InUse { path: "normalise".into() };
        assert!(passes(&told(yibiao_normalise::Error::State(in_use))));
    }
}
