//! The counts of a follower.

use std::collections::BTreeMap;

use watchkeeper_core::author::SkippedLines;

/// Counts of a [`Follower`](crate::Follower).
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
