use std::{
    ops::Range,
    path::{Component, Path, PathBuf},
};

use crate::builtin::builtin;

/// A file that a policy was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceFile {
    /// The path, or `builtin:default`.
    pub path: PathBuf,
    /// The text; empty if the file could not be read.
    pub text: String,
}

impl SourceFile {
    /// Creates a file, for [`render_diagnostics`](crate::render_diagnostics).
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// The start of each line of a text, in bytes.
#[derive(Debug)]
pub(crate) struct LineStarts(Vec<usize>);

impl LineStarts {
    pub(crate) fn new(text: &str) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes());
        Self(std::iter::once(0).chain(ends.map(|end| end + 1)).collect())
    }

    /// Returns the line of the byte at `at`, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }

    /// Returns the start of a line, or `None` after the last line.
    pub(crate) fn start(&self, line: usize) -> Option<usize> {
        self.0.get(line.checked_sub(1)?).copied()
    }
}

/// The files of a policy, concatenated: a span into the whole identifies both a
/// file and a range in it.
#[derive(Debug, Default)]
pub(crate) struct Files {
    sources: Vec<SourceFile>,
    /// The start of each file in the whole.
    starts: Vec<usize>,
    /// The lines of each file.
    lines: Vec<LineStarts>,
    /// The extended files that could not be read.
    unreadable: Vec<PathBuf>,
}

impl Files {
    /// Adds a file and returns its start in the whole.
    pub(crate) fn add(&mut self, path: &Path, text: String) -> usize {
        // The extra byte keeps the end of one file apart from the start of the next.
        let end = |(start, file): (&usize, &SourceFile)| start + file.text.len() + 1;
        let start = self.starts.last().zip(self.sources.last()).map_or(0, end);
        self.lines.push(LineStarts::new(&text));
        self.sources.push(SourceFile::new(path, text));
        self.starts.push(start);
        start
    }

    /// Adds an extended file that could not be read.
    pub(crate) fn add_unreadable(&mut self, path: &Path) {
        self.unreadable.push(path.to_owned());
    }

    /// Returns the index of the file that contains a span, and the span in that
    /// file. The returned span is within the text and on character boundaries.
    pub(crate) fn locate(&self, span: &Range<usize>) -> (usize, Range<usize>) {
        let file_idx = self.starts.partition_point(|it| *it <= span.start).saturating_sub(1);
        let Some((file, start)) = self.sources.get(file_idx).zip(self.starts.get(file_idx)) else {
            return (0, 0..0);
        };
        let floor = |at: usize| {
            let at = at.saturating_sub(*start).min(file.text.len());
            (0..=at).rev().find(|it| file.text.is_char_boundary(*it)).unwrap_or(0)
        };
        let (from, to) = (floor(span.start), floor(span.end));
        (file_idx, from..to.max(from))
    }

    /// Returns the text of a file and its start in the whole.
    pub(crate) fn text(&self, file_idx: usize) -> Option<(&str, usize)> {
        let (file, start) = self.sources.get(file_idx).zip(self.starts.get(file_idx))?;
        Some((&file.text, *start))
    }

    /// Returns the source text of a span.
    pub(crate) fn source(&self, span: &Range<usize>) -> &str {
        let (file_idx, span) = self.locate(span);
        self.get(file_idx).and_then(|it| it.text.get(span)).unwrap_or("")
    }

    pub(crate) fn get(&self, file_idx: usize) -> Option<&SourceFile> {
        self.sources.get(file_idx)
    }

    /// Returns the folder of the file that contains a span.
    pub(crate) fn folder(&self, span: &Range<usize>) -> &Path {
        let (file_idx, _) = self.locate(span);
        self.get(file_idx).and_then(|it| it.path.parent()).unwrap_or(Path::new(""))
    }

    /// Returns the file and line of a span, such as `policy.toml:12`.
    pub(crate) fn origin(&self, span: &Range<usize>) -> String {
        let (file_idx, span) = self.locate(span);
        let file = self.get(file_idx).zip(self.lines.get(file_idx));
        let Some((file, lines)) = file else { return String::new() };
        format!("{}:{}", file.path.display(), lines.line(span.start))
    }

    /// Removes the text of files that the policy must not quote: all except TOML files
    /// in its own folder. Any file can be named in `extends`. Returns their indices.
    pub(crate) fn hide_foreign(&mut self, policy: &Path) -> Vec<usize> {
        let folder = normalized(policy.parent().unwrap_or(Path::new("")));
        let is_own = |path: &Path| {
            let path = normalized(path);
            let is_toml = path.extension().is_some_and(|it| it == "toml");
            let is_inside = path.strip_prefix(&folder).is_ok_and(|it| !it.starts_with(".."));
            is_toml && is_inside && path.is_absolute() == folder.is_absolute()
        };
        let mut foreign = Vec::new();
        for (file_idx, file) in self.sources.iter_mut().enumerate().skip(1) {
            if builtin(&file.path).is_none() && !is_own(&file.path) {
                file.text.clear();
                foreign.push(file_idx);
            }
        }
        foreign
    }

    /// Returns the files, and the extended files that could not be read.
    pub(crate) fn into_files(self) -> (Vec<SourceFile>, Vec<PathBuf>) {
        (self.sources, self.unreadable)
    }
}

/// Normalizes a path lexically, to recognize a file that is extended twice.
pub(crate) fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(normalized.components().next_back(), Some(Component::Normal(_))) =>
            {
                normalized.pop();
            }
            other => normalized.push(other),
        }
    }
    normalized
}
