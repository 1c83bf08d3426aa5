//! The states of an operation, and the one table of what may follow what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an operation stands. The words are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum State {
    /// Accepted; nothing has moved yet.
    Started,
    /// Segments are on their way.
    Transferring,
    /// All segments have arrived; what is left is the commit, or to learn how it went.
    Transferred,
    /// Done: the backup can be restored, or the restored collections are in the store.
    Success,
    /// Ended by an error; nothing of it counts.
    Failed,
    /// Ended by request; nothing of it counts.
    Canceled,
}

/// Every step an operation can take.
const TRANSITIONS: [(State, State); 9] = [
    (State::Started, State::Transferring),
    (State::Started, State::Failed),
    (State::Started, State::Canceled),
    (State::Transferring, State::Transferred),
    (State::Transferring, State::Failed),
    (State::Transferring, State::Canceled),
    (State::Transferred, State::Success),
    (State::Transferred, State::Failed),
    (State::Transferred, State::Canceled),
];

impl State {
    /// Whether an operation in this state may go on to `next`.
    pub fn may_become(self, next: Self) -> bool {
        TRANSITIONS.contains(&(self, next))
    }

    /// Whether an operation in this state has ended.
    pub fn is_final(self) -> bool {
        !TRANSITIONS.iter().any(|(from, _)| *from == self)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "STARTED",
            Self::Transferring => "TRANSFERRING",
            Self::Transferred => "TRANSFERRED",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 6] = [
        State::Started,
        State::Transferring,
        State::Transferred,
        State::Success,
        State::Failed,
        State::Canceled,
    ];

    #[test]
    fn ends_are_final_and_every_other_state_can_fail() {
        for state in ALL {
            let ends = matches!(state, State::Success | State::Failed | State::Canceled);
            assert_eq!(state.is_final(), ends, "{state}");
            assert_eq!(state.may_become(State::Failed), !ends, "{state}");
            assert!(!state.may_become(State::Started), "{state}");
        }
    }

    #[test]
    fn success_comes_after_the_transfer_alone() {
        let before: Vec<State> =
            ALL.into_iter().filter(|state| state.may_become(State::Success)).collect();
        assert_eq!(before, [State::Transferred]);
    }

    #[test]
    fn words_are_those_of_the_api() {
        for state in ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
