//! Reports of `check`: their content, and the formats in which it is written.

mod explanation;
mod format;
mod github;
mod json;
mod sarif;
mod summary;
mod text;

pub(crate) use self::{
    explanation::Explanation,
    format::{Format, write, write_explanation},
    summary::{Report, SessionReport, SkippedFile},
};
