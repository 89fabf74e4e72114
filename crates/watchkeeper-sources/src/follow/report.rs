//! The counts of a follower.

use std::collections::BTreeMap;

use watchkeeper_core::author::SkippedLines;

use super::{Follower, tracked::State};

/// Counts of a [`Follower`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowReport {
    /// Folders that are followed.
    pub n_folders: usize,
    /// Session files that are being read.
    pub n_followed: usize,
    /// Files that are not read until they change.
    pub n_dormant: usize,
    /// Files that no source recognizes, or not yet, without those of `unsupported`.
    pub n_unrecognized: usize,
    /// The number of session files of each agent without a source.
    pub unsupported: BTreeMap<&'static str, usize>,
    /// Files and folders that cannot be read.
    pub n_unreadable: usize,
    /// Files whose source panicked.
    pub n_failed: usize,
    /// Truncations and rewrites of files.
    pub n_rewritten: u64,
    /// Lines, including skipped ones.
    pub n_lines: u64,
    /// Bytes in those lines.
    pub n_bytes: u64,
    /// Skipped lines and parts of lines, by reason.
    pub skipped_lines: SkippedLines,
}

impl Follower {
    /// Returns the current counts.
    pub fn report(&self) -> FollowReport {
        let mut report = FollowReport {
            n_folders: self.folders.len(),
            n_unreadable: self.folders.n_unreadable(),
            n_rewritten: self.n_rewritten,
            n_lines: self.shared.n_lines,
            n_bytes: self.shared.n_bytes,
            skipped_lines: self.shared.skipped_lines.clone(),
            unsupported: self.unsupported.counts(),
            ..FollowReport::default()
        };
        for file in self.files.values() {
            report.n_unreadable += usize::from(file.is_unreadable);
            *match (&file.state, file.agent) {
                (State::Dormant, _) => &mut report.n_dormant,
                (State::Unrecognized(_) | State::Unknown(_), Some(agent)) => {
                    report.unsupported.entry(agent).or_default()
                }
                (State::Unrecognized(_) | State::Unknown(_), None) => &mut report.n_unrecognized,
                (State::Reading(_), _) => &mut report.n_followed,
                (State::Failed, _) => &mut report.n_failed,
            } += 1;
        }
        report
    }
}
