use std::{ops::Range, path::Path};

use annotate_snippets::{AnnotationKind, Level, Origin, Patch, Renderer, Snippet};
use watchkeeper_core::author::{is_unsafe, make_safe};

use crate::{
    files::{Files, LineStarts, SourceFile},
    toml_text,
};

/// An error or a warning about a policy, with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The index of the file in [`Loaded::files`](crate::Loaded::files).
    pub file: usize,
    /// The bytes of the file to highlight. Always within its text and on
    /// character boundaries.
    pub span: Range<usize>,
    /// Error or warning.
    pub level: DiagnosticLevel,
    /// The message: lower case, no full stop.
    pub message: String,
    /// Additional information, shown below the message.
    pub notes: Vec<String>,
    /// A suggested correction, if there is one.
    pub fix: Option<Fix>,
}

/// The level of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DiagnosticLevel {
    /// The policy works, but probably not as intended.
    Warning,
    /// The policy cannot be used.
    Error,
}

/// A replacement that may correct the mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fix {
    /// A description of the correction: lower case, no full stop.
    pub title: String,
    /// The bytes to replace, in the file of the diagnostic.
    pub span: Range<usize>,
    /// The new text.
    pub replacement: String,
}

impl Diagnostic {
    /// Creates an error in the first file that was read. Characters that are unsafe
    /// for a terminal are escaped in the message, and a very long message is cut.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        let level = DiagnosticLevel::Error;
        let message = safe_text(&message.into());
        Self { file: 0, span, level, message, notes: Vec::new(), fix: None }
    }

    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { level: DiagnosticLevel::Warning, ..Self::error(span, message) }
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(safe_text(&note.into()));
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<Option<Fix>>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Turns spans into all files into spans into one file.
    pub(crate) fn settle(&mut self, files: &Files) {
        (self.file, self.span) = files.locate(&self.span);
        if let Some(fix) = &mut self.fix {
            (_, fix.span) = files.locate(&fix.span);
        }
    }
}

/// Removes the text of files that the policy must not quote, and replaces the errors in
/// each of them by one: a message can contain text of the file.
pub(crate) fn hide_foreign(files: &mut Files, policy: &Path, diagnostics: &mut Vec<Diagnostic>) {
    for file_idx in files.hide_foreign(policy) {
        let n_before = diagnostics.len();
        diagnostics.retain(|it| it.file != file_idx || it.level != DiagnosticLevel::Error);
        for diagnostic in diagnostics.iter_mut().filter(|it| it.file == file_idx) {
            (diagnostic.span, diagnostic.fix) = (0..0, None);
        }
        let n_errors = n_before - diagnostics.len();
        if 0 < n_errors {
            let noun = if n_errors == 1 { "error" } else { "errors" };
            let message = format!("this file is not a valid policy: {n_errors} {noun}");
            let note = "its text is not shown, because it is not a TOML file in the folder of the \
                        policy; to see the errors, validate this file itself";
            let error = Diagnostic::error(0..0, message).note(note);
            diagnostics.push(Diagnostic { file: file_idx, ..error });
        }
    }
}

impl Fix {
    pub(crate) fn new(
        title: impl Into<String>,
        span: Range<usize>,
        replacement: impl Into<String>,
    ) -> Self {
        Self { title: title.into(), span, replacement: replacement.into() }
    }

    /// Suggests the candidate most similar to `name`, written as a key. Returns
    /// `None` if none is similar.
    pub(crate) fn key<'a>(
        name: &str,
        span: Range<usize>,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let best = closest(name, candidates)?;
        Some(Self::new(SIMILAR, span, toml_text::key(best)))
    }

    /// Suggests the candidate most similar to `name`, written as a string. Returns
    /// `None` if none is similar.
    pub(crate) fn string<'a>(
        name: &str,
        span: Range<usize>,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let best = closest(name, candidates)?;
        Some(Self::new(SIMILAR, span, toml_text::string(best)))
    }
}

/// Escapes characters that are unsafe for a terminal, and cuts a text that contains a very long
/// name.
fn safe_text(text: &str) -> String {
    /// Longer than any text with names of usual lengths.
    const MAX_LEN: usize = 4096;
    if text.len() <= MAX_LEN {
        return make_safe(text);
    }
    let end = (0..=MAX_LEN).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", make_safe(&text[..end]))
}

pub(crate) const SIMILAR: &str = "there is one with a similar name";

/// Returns the candidate most similar to `name`: one that starts with it, one that
/// makes up half of it, such as `day` of `dayly`, or one within a small edit distance.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const MAX_LEN: usize = 48;
    const MAX_CANDIDATES: usize = 512;
    /// Bounds the comparisons, each of which takes time in proportion to the product of both
    /// lengths.
    const MAX_EFFORT: usize = 100_000;
    const MIN_PREFIX_LEN: usize = 2;
    if MAX_LEN < name.len() {
        return None;
    }
    let name = name.to_lowercase();
    let name_len = name.chars().count();
    let max_distance = name_len.max(3) / 3;
    let mut n_remaining = MAX_EFFORT;
    let mut distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        if MIN_PREFIX_LEN <= name.len() && candidate.starts_with(&name) {
            return Some(1);
        }
        let is_start = MIN_PREFIX_LEN < candidate.len() && name.starts_with(&candidate);
        if is_start && name.len() <= 2 * candidate.len() {
            return Some(1);
        }
        let len = candidate.chars().count();
        if max_distance < name_len.abs_diff(len) {
            return None;
        }
        n_remaining = n_remaining.checked_sub(name_len * len)?;
        Some(strsim::osa_distance(&name, &candidate)).filter(|it| *it <= max_distance)
    };
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|it| it.len() <= MAX_LEN)
        .filter_map(|it| Some((distance(it)?, it)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Renders diagnostics about `files` for a person, each with its source lines.
/// `styled` adds ANSI colors. Diagnostics about other files are left out.
pub fn render_diagnostics(
    diagnostics: &[Diagnostic],
    files: &[SourceFile],
    styled: bool,
) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let files: Vec<_> = files.iter().map(ShownFile::new).collect();
    let reports = diagnostics.iter().filter_map(|diagnostic| {
        let file = files.get(diagnostic.file)?;
        Some(render_one(diagnostic, file, &renderer))
    });
    reports.collect::<Vec<_>>().join("\n\n")
}

/// A file whose lines are shown.
struct ShownFile {
    path: String,
    text: String,
    lines: LineStarts,
}

impl ShownFile {
    fn new(file: &SourceFile) -> Self {
        let text = without_unsafe(&file.text);
        let lines = LineStarts::new(&text);
        Self { path: make_safe(&file.path.display().to_string()), text, lines }
    }

    /// Returns the lines around a span, and the span in these lines; `None` if they are too
    /// long to show. A renderer reads all lines that it gets several times, so many diagnostics
    /// about a large file or a long line must not get all of it.
    fn snippet<T: Clone>(&self, span: &Range<usize>) -> Option<(Snippet<'_, T>, Range<usize>)> {
        const N_AROUND: usize = 2;
        const MAX_LEN: usize = 2048;
        let line = self.lines.line(span.start);
        let lines = |n_around: usize, last: usize| {
            let first = line.saturating_sub(n_around).max(1);
            let start = self.lines.start(first).unwrap_or(0);
            let end = self.lines.start(last + 1 + n_around).unwrap_or(self.text.len());
            (first, start..end)
        };
        let (first, shown) = [lines(N_AROUND, self.lines.line(span.end)), lines(0, line)]
            .into_iter()
            .find(|(_, shown)| shown.len() <= MAX_LEN)?;
        let text = &self.text[shown.clone()];
        let snippet = Snippet::source(text).line_start(first).path(self.path.as_str());
        Some((snippet, span.start - shown.start..span.end.min(shown.end) - shown.start))
    }

    /// Returns the line and the column of a span.
    fn origin(&self, span: &Range<usize>) -> Origin<'_> {
        let line = self.lines.line(span.start);
        let start = self.lines.start(line).unwrap_or(0);
        let column = self.text[start..span.start].chars().count() + 1;
        Origin::path(self.path.as_str()).line(line).char_column(column)
    }
}

fn render_one(diagnostic: &Diagnostic, file: &ShownFile, renderer: &Renderer) -> String {
    let Diagnostic { span, level, message, notes, fix, .. } = diagnostic;
    let level = match level {
        DiagnosticLevel::Error => Level::ERROR,
        DiagnosticLevel::Warning => Level::WARNING,
    };
    let title = level.primary_title(message);
    let mut first = if file.text.is_empty() {
        title.element(Origin::path(file.path.as_str()))
    } else if let Some((snippet, span)) = file.snippet(span) {
        title.element(snippet.annotation(AnnotationKind::Primary.span(span)))
    } else {
        title.element(file.origin(span))
    };
    for note in notes {
        first = first.element(Level::NOTE.message(note));
    }
    let mut groups = vec![first];
    if let Some(fix) = fix
        && let Some((snippet, span)) = file.snippet(&fix.span)
    {
        let snippet = snippet.fold(true).patch(Patch::new(span, &fix.replacement));
        groups.push(Level::HELP.secondary_title(&fix.title).element(snippet));
    }
    renderer.render(&groups)
}

/// Replaces characters that are unsafe for a terminal. The replacements have the
/// same number of bytes, so that spans remain valid.
fn without_unsafe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_line_end = c == '\n' || c == '\r' && chars.peek() == Some(&'\n');
        if is_line_end || c == '\t' || !is_unsafe(c) {
            safe.push(c);
            continue;
        }
        safe.push_str(match c.len_utf8() {
            1 => "?",
            2 => "\u{b7}",
            3 => "\u{fffd}",
            _ => "\u{fffd}?",
        });
    }
    safe
}
