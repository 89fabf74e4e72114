//! Sessions in which a person has labelled the stretches that are worth a report.

mod list;
mod score;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use watchkeeper_core::{
    Event,
    author::DedupCache,
    embed::{Kinds, SourceEntry},
};
use watchkeeper_testing::labels::{Labels, Stretch};

use crate::{
    error::{Error, read},
    reports::Response,
    rules::PEERS,
    watchkeeper::Watchkeeper,
};

use self::score::{Family, Score};
pub(crate) use self::{list::list, tables::render};

/// Reads a table of labels.
pub(crate) fn labels(path: &Path) -> Result<Labels, Error> {
    read(path)?.parse().map_err(|source| Error::Labels { path: path.to_owned(), source })
}

/// Returns the events of a session file, in the order of the file.
pub(crate) fn events(path: &Path, kinds: &Kinds<SourceEntry>) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    let mut file = watchkeeper_sources::open(path, None, kinds)?;
    let read = file.read(&mut DedupCache::default(), &mut |event| events.push(event));
    read.map_err(|source| Error::Session { path: path.to_owned(), source })?;
    Ok(events)
}

/// The scores of all systems.
#[derive(Debug)]
pub(crate) struct Scores {
    ours: Score,
    /// Those of [`PEERS`], in the same order.
    peers: Vec<Score>,
}

impl Default for Scores {
    fn default() -> Self {
        Self { ours: Score::default(), peers: vec![Score::default(); PEERS.len()] }
    }
}

/// Runs every system on every labelled session.
pub(crate) fn compare(
    folder: &Path,
    labels: &Labels,
    watchkeeper: &Watchkeeper,
) -> Result<Scores, Error> {
    let mut scores = Scores::default();
    for session in labels.sessions() {
        let events = events(&folder.join(session.file()), &watchkeeper.registry.sources)?;
        let source = events.iter().find_map(|event| event.origin.as_ref()).map(|it| it.source);
        let family = Family::of_source(source.unwrap_or_default());
        let findings = watchkeeper.findings(&events);
        let alarms: Vec<u64> =
            findings.iter().filter(|it| it.is_alarm()).map(|it| it.step).collect();
        scores.ours.add(family, session, &alarms);
        // A warning counts as a report where one is due, and is ignored in quiet sessions.
        let weakest = if session.is_due() { Response::Warn } else { Response::Stop };
        for (peer, score) in PEERS.iter().zip(&mut scores.peers) {
            score.add(family, session, &peer.reports(&events).steps(weakest));
        }
    }
    Ok(scores)
}

/// Returns the number of steps from the step at which the owner should be notified to `step`; 0
/// for an earlier report.
pub(crate) fn delay(stretch: &Stretch, step: u64) -> u64 {
    step.saturating_sub(stretch.tell_step)
}
