//! Reports of `check`: their content, and the formats in which it is written.

mod episodes;
mod explanation;
mod format;
mod github;
mod groups;
mod html;
mod json;
mod notices;
mod safe_json;
mod sarif;
mod summary;
#[cfg(all(test, unix))]
mod tests;
mod text;
mod usage;
mod warnings;
mod window;

pub(crate) use self::{
    episodes::EpisodeRecorder,
    explanation::Explanation,
    format::{Format, write, write_explanation, write_groups},
    groups::GroupBy,
    json::to_json,
    notices::unsupported_agents,
    safe_json::write_pretty,
    summary::{FindingTotals, Report, SessionPage, SessionReport, SkippedFile},
    usage::UsageRecorder,
    warnings::warn_about,
    window::{TimeArgument, Window},
};
