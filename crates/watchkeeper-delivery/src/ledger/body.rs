//! The records of a ledger.

use watchkeeper_core::Fingerprint;

use crate::record::HEAD;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) is_accepted: bool,
    /// The second since 1970 before which the sink had the finding: the one of the outcome, or
    /// of the finding if that is later.
    pub(crate) second: i64,
}

/// A body: its kind, the id of the finding, and the rest.
pub(crate) enum Body<'a> {
    /// With the JSON of the finding.
    Pending(Fingerprint, &'a [u8]),
    Ended(Fingerprint, Outcome),
    /// With the second of the end.
    Withdrawn(Fingerprint, i64),
}

const PENDING: u8 = 1;
const ACCEPTED: u8 = 2;
const GIVEN_UP: u8 = 3;
const WITHDRAWN: u8 = 4;
/// The length of the kind and the id.
pub(super) const BODY_HEAD: usize = 9;
/// The length of a record about an outcome, or about an id that is not used again.
pub(super) const OUTCOME_LEN: u64 = (HEAD + BODY_HEAD + 8) as u64;

impl<'a> Body<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let id = Fingerprint::from(u64::from_le_bytes(*id));
        let second = || Some(i64::from_le_bytes(rest.try_into().ok()?));
        let ended = |is_accepted| Some(Self::Ended(id, Outcome { is_accepted, second: second()? }));
        match *kind {
            PENDING => Some(Self::Pending(id, rest)),
            ACCEPTED => ended(true),
            GIVEN_UP => ended(false),
            WITHDRAWN => Some(Self::Withdrawn(id, second()?)),
            _ => None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let second;
        let (kind, id, rest) = match self {
            Self::Pending(id, json) => (PENDING, id, *json),
            Self::Ended(id, outcome) => {
                second = outcome.second.to_le_bytes();
                (if outcome.is_accepted { ACCEPTED } else { GIVEN_UP }, id, second.as_slice())
            }
            Self::Withdrawn(id, ended_at) => {
                second = ended_at.to_le_bytes();
                (WITHDRAWN, id, second.as_slice())
            }
        };
        let mut body = vec![kind];
        body.extend(id.get().to_le_bytes());
        body.extend(rest);
        body
    }
}
