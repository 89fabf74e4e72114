use watchkeeper_core::{ErrorCause, ErrorClass, Fingerprint, quote};

/// The most frequent cause of failures, if one of them causes most.
///
/// The majority vote of R. Boyer and J. Moore, *MJRTY*, 1991.
#[derive(Clone, Debug, Default)]
pub(crate) struct MainCause(Option<Candidate>);

#[derive(Clone, Debug)]
struct Candidate {
    cause: Fingerprint,
    class: ErrorClass,
    name: Option<Box<str>>,
    /// The failures with this cause, minus those with others, since it became the candidate.
    n_votes: u32,
    /// The failures with this cause since it became the candidate.
    n_failures: u32,
}

/// The longest name, in bytes, that is kept.
const LONGEST_NAME: usize = 120;

impl MainCause {
    /// Adds a failure.
    pub(crate) fn add(&mut self, cause: &ErrorCause<'_>) {
        let fingerprint = cause.fingerprint();
        match &mut self.0 {
            Some(candidate) if candidate.cause == fingerprint => {
                candidate.n_votes = candidate.n_votes.saturating_add(1);
                candidate.n_failures = candidate.n_failures.saturating_add(1);
            }
            Some(candidate) if candidate.n_votes != 0 => candidate.n_votes -= 1,
            _ => {
                let name = cause.name.filter(|name| name.len() <= LONGEST_NAME);
                self.0 = Some(Candidate {
                    cause: fingerprint,
                    class: cause.class,
                    name: name.map(Box::from),
                    n_votes: 1,
                    n_failures: 1,
                });
            }
        }
    }

    /// Describes the cause as a part of a message, if it caused more than one failure.
    pub(crate) fn describe(&self) -> Option<String> {
        let Candidate { class, name, n_failures, .. } = self.0.as_ref()?;
        let name = name.as_deref().map(quote);
        let condition = class.condition(name.as_deref()).filter(|_| 1 < *n_failures)?;
        Some(format!(" ({condition}: {n_failures})"))
    }
}
