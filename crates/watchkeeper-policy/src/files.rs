use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// A file that a policy was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, or `builtin:default`.
    pub path: PathBuf,
    /// What it says; empty if it could not be read.
    pub text: String,
}

impl SourceFile {
    /// The line that the byte at `at` is in, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.split(|it| *it == b'\n').count()
    }
}

/// The files of a policy, laid end to end: a span into the whole says both the
/// file and the place in it.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<SourceFile>,
    /// Where each begins.
    starts: Vec<usize>,
}

impl Files {
    /// Adds a file. Gives back where it begins.
    pub(crate) fn add(&mut self, path: &Path, text: String) -> usize {
        // One more than its text, so that its end is not the next one's start.
        let end = |(start, file): (&usize, &SourceFile)| start + file.text.len() + 1;
        let start = self.starts.last().zip(self.files.last()).map_or(0, end);
        self.files.push(SourceFile { path: path.to_owned(), text });
        self.starts.push(start);
        start
    }

    /// The file that a span is in, by its index, and the span in that file: in
    /// its text, and between characters.
    pub(crate) fn locate(&self, span: &Range<usize>) -> (usize, Range<usize>) {
        let file_idx = self.starts.partition_point(|it| *it <= span.start).saturating_sub(1);
        let Some((file, start)) = self.files.get(file_idx).zip(self.starts.get(file_idx)) else {
            return (0, 0..0);
        };
        let floor = |at: usize| {
            let at = at.saturating_sub(*start).min(file.text.len());
            (0..=at).rev().find(|it| file.text.is_char_boundary(*it)).unwrap_or(0)
        };
        let (from, to) = (floor(span.start), floor(span.end));
        (file_idx, from..to.max(from))
    }

    /// The text of a file, and where it begins.
    pub(crate) fn text(&self, file_idx: usize) -> Option<(&str, usize)> {
        let (file, start) = self.files.get(file_idx).zip(self.starts.get(file_idx))?;
        Some((&file.text, *start))
    }

    /// What stands at a span.
    pub(crate) fn written(&self, span: &Range<usize>) -> &str {
        let (file_idx, span) = self.locate(span);
        self.get(file_idx).and_then(|it| it.text.get(span)).unwrap_or("")
    }

    pub(crate) fn get(&self, file_idx: usize) -> Option<&SourceFile> {
        self.files.get(file_idx)
    }

    /// The folder of the file that a span is in.
    pub(crate) fn folder(&self, span: &Range<usize>) -> &Path {
        let (file_idx, _) = self.locate(span);
        self.get(file_idx).and_then(|it| it.path.parent()).unwrap_or(Path::new(""))
    }

    /// `policy.toml:12`.
    pub(crate) fn origin(&self, span: &Range<usize>) -> String {
        let (file_idx, span) = self.locate(span);
        let Some(file) = self.get(file_idx) else { return String::new() };
        format!("{}:{}", file.path.display(), file.line(span.start))
    }

    pub(crate) fn into_files(self) -> Vec<SourceFile> {
        self.files
    }
}
