//! Messages about files that were not read, and about the monitor itself.

use std::path::Path;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use watchkeeper_core::author::make_safe;

use super::summary::{Report, SkippedFile};
use crate::{numbers::counted, recorded::MisdatedLines};

/// Message about a report without sessions.
pub(super) const NO_SESSION: &str = "no session was read";
/// Message about a folder beside a named file.
pub(super) const UNREAD_SUB_AGENTS: &str =
    "sub-agents of the session are not read; add the folder to the paths to include them";

/// A message about files that were not read, or about the monitor itself.
#[derive(Debug)]
pub(crate) struct Notice<'a> {
    /// `true` if the file is named on the command line, or if no session was read.
    pub(crate) is_error: bool,
    pub(crate) file: Option<&'a Path>,
    pub(crate) text: String,
}

impl Notice<'_> {
    /// Returns the name of the level.
    pub(crate) fn level(&self) -> &'static str {
        if self.is_error { "error" } else { "warning" }
    }
}

impl Serialize for Notice<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut notice = to.serialize_struct("Notice", 3)?;
        notice.serialize_field("level", self.level())?;
        notice.serialize_field("file", &self.file.map(Path::to_string_lossy))?;
        notice.serialize_field("text", &self.text)?;
        notice.end()
    }
}

impl Report {
    /// Returns messages about files that were not read, the errors first.
    pub(crate) fn notices(&self) -> Vec<Notice<'_>> {
        let mut notices: Vec<Notice<'_>> = Vec::new();
        for SkippedFile { file, reason, is_named, .. } in &self.skipped_files {
            let (file, text) = (Some(file.as_path()), make_safe(reason));
            notices.push(Notice { is_error: *is_named, file, text });
        }
        for folder in &self.unread_sub_agents {
            let (file, text) = (Some(folder.as_path()), UNREAD_SUB_AGENTS.to_owned());
            notices.push(Notice { is_error: false, file, text });
        }
        for (file, misdated) in &self.misdated_files {
            let (file, text) = (Some(file.as_path()), misdated_lines(misdated));
            notices.push(Notice { is_error: false, file, text });
        }
        let others = [self.unsupported(), self.others()].into_iter().flatten();
        let about_monitor = self.about_monitor.iter().map(|it| make_safe(&it.message));
        let others = others.chain(about_monitor);
        notices.extend(others.map(|text| Notice { is_error: false, file: None, text }));
        if self.is_empty() {
            let text = NO_SESSION.to_owned();
            notices.push(Notice { is_error: true, file: None, text });
        }
        notices.sort_by_key(|notice| !notice.is_error);
        notices
    }

    /// Returns a line about the files of agents that are not supported.
    pub(super) fn unsupported(&self) -> Option<String> {
        let files = &self.unsupported_files;
        unsupported_agents(files.iter().map(|(agent, files)| (*agent, files.len())).collect())
    }

    /// Returns a line about files in folders that contain no session.
    pub(super) fn others(&self) -> Option<String> {
        match self.other_files.len() as u64 {
            0 => None,
            1 => Some("1 other file contains no session".to_owned()),
            n => Some(format!("{} contain no session", counted(n, "other file"))),
        }
    }
}

/// Returns a line about the lines of a file whose time is wrong.
pub(super) fn misdated_lines(misdated: &MisdatedLines) -> String {
    let MisdatedLines { n_lines, first, .. } = misdated;
    let (line, at) = first.unwrap_or_default();
    let example = format!("line {line} is of {}", at.strftime("%Y-%m-%d %H:%M UTC"));
    let lines = match n_lines {
        1 => "the time of 1 line is far from the times around it and was replaced".to_owned(),
        n => format!("the times of {n} lines are far from the times around them and were replaced"),
    };
    format!("{lines}: {example}")
}

/// Returns a line about the numbers of session files of agents that are not supported, or
/// `None` if there are none.
pub(crate) fn unsupported_agents(mut agents: Vec<(&str, usize)>) -> Option<String> {
    agents.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let n_files: usize = agents.iter().map(|(_, n)| n).sum();
    let counts: Vec<String> = agents.iter().map(|(agent, n)| format!("{agent} {n}")).collect();
    let files = counted(n_files as u64, "file");
    let (of, verb) = match agents.len() {
        0 => return None,
        1 => ("1 agent".to_owned(), "is"),
        n => (format!("{n} agents"), "are"),
    };
    Some(format!("{files} of {of} that {verb} not supported: {}", counts.join(", ")))
}
