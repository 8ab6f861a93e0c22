//! Whose fault an error is, and whether trying again can help.

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The operator of this installation: configuration, permissions, disk.
    Operator,
    /// Somebody outside: a broker, a database, a department's file.
    Outside,
    /// This program: an invariant does not hold.
    Ours,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call may succeed later.
    Later,
    /// The same call fails again until somebody changes something.
    Never,
}

/// What every error of every crate can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub party: Party,
    pub retry: Retry,
}

impl Fault {
    /// The operator must change something.
    pub const OPERATOR: Fault = Fault { party: Party::Operator, retry: Retry::Never };
    /// Somebody outside is away; trying again may help.
    pub const OUTSIDE: Fault = Fault { party: Party::Outside, retry: Retry::Later };
    /// Somebody outside sent what cannot be used.
    pub const BAD_INPUT: Fault = Fault { party: Party::Outside, retry: Retry::Never };
    /// A defect of this program.
    pub const OURS: Fault = Fault { party: Party::Ours, retry: Retry::Never };

    /// The label of the metric `yibiao_errors_total`.
    pub fn code(self) -> &'static str {
        match (self.party, self.retry) {
            (Party::Operator, _) => "operator",
            (Party::Outside, Retry::Later) => "outside_away",
            (Party::Outside, Retry::Never) => "outside_bad_input",
            (Party::Ours, _) => "ours",
        }
    }
}
