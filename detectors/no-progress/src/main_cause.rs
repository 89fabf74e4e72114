use watchkeeper_core::{ErrorCause, ErrorClass, Fingerprint, quote};

/// The most frequent cause of failures, if one of them causes most.
///
/// The candidate of the majority vote of R. Boyer and J. Moore, *MJRTY*, 1991.
#[derive(Clone, Debug)]
pub(crate) struct MainCause {
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
    /// Adds a failure to the vote.
    pub(crate) fn add(main: &mut Option<Self>, cause: &ErrorCause<'_>) {
        let fingerprint = cause.fingerprint();
        match main {
            Some(main) if main.cause == fingerprint => {
                main.n_votes = main.n_votes.saturating_add(1);
                main.n_failures = main.n_failures.saturating_add(1);
            }
            Some(main) if main.n_votes != 0 => main.n_votes -= 1,
            _ => {
                let name = cause.name.filter(|name| name.len() <= LONGEST_NAME);
                *main = Some(Self {
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
        let name = self.name.as_deref().map(quote);
        let condition = self.class.condition(name.as_deref()).filter(|_| 1 < self.n_failures)?;
        Some(format!(" ({condition}: {})", self.n_failures))
    }
}
