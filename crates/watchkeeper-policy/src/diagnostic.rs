use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Patch, Renderer, Snippet};
use watchkeeper_core::{is_unsafe, make_safe};

use crate::{
    Loaded,
    files::{Files, SourceFile},
    toml_text,
};

/// One thing wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The index of the file in [`Loaded::files`].
    pub file: usize,
    /// The bytes of the file to point at: in its text, and between characters.
    pub span: Range<usize>,
    /// How bad it is.
    pub level: DiagnosticLevel,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What else the reader should know.
    pub notes: Vec<String>,
    /// What would put it right, if that can be guessed.
    pub fix: Option<Fix>,
}

/// How bad a mistake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiagnosticLevel {
    /// The policy works, but somebody did not mean what it says.
    Warning,
    /// The policy cannot be used.
    Error,
}

/// A replacement that may put a mistake right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fix {
    /// What it does: lower case, no full stop.
    pub title: String,
    /// The bytes to replace, in the file of the diagnostic.
    pub span: Range<usize>,
    /// What to replace them with.
    pub replacement: String,
}

impl Diagnostic {
    /// Points at what is wrong in the first of the files that were read.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        let level = DiagnosticLevel::Error;
        let message = make_safe(&message.into());
        Self { file: 0, span, level, message, notes: Vec::new(), fix: None }
    }

    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { level: DiagnosticLevel::Warning, ..Self::error(span, message) }
    }

    /// Adds what else the reader should know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(make_safe(&note.into()));
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<Option<Fix>>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Turns spans into all files into spans into one.
    pub(crate) fn settle(&mut self, files: &Files) {
        (self.file, self.span) = files.locate(&self.span);
        if let Some(fix) = &mut self.fix {
            (_, fix.span) = files.locate(&fix.span);
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

    /// Suggests the key most like the one `written`, if any is alike at all.
    pub(crate) fn key<'a>(
        written: &str,
        span: Range<usize>,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let best = closest(written, candidates)?;
        Some(Self::new(SIMILAR, span, toml_text::key(best)))
    }

    /// Suggests the string most like the one `written`, if any is alike at all.
    pub(crate) fn string<'a>(
        written: &str,
        span: Range<usize>,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let best = closest(written, candidates)?;
        Some(Self::new(SIMILAR, span, toml_text::string(best)))
    }
}

const SIMILAR: &str = "there is one with a similar name";

/// The candidate most like `written`: one that it begins, or one that few
/// changes make of it.
fn closest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Comparing takes time quadratic in the length; no name is that long.
    const LONGEST: usize = 64;
    const SHORTEST_BEGINNING: usize = 2;
    if LONGEST < written.len() {
        return None;
    }
    let written = written.to_lowercase();
    let n_changes = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        if SHORTEST_BEGINNING <= written.len() && candidate.starts_with(&written) {
            return Some(1);
        }
        let most = written.chars().count().max(3) / 3;
        Some(strsim::osa_distance(&written, &candidate)).filter(|it| *it <= most)
    };
    candidates
        .into_iter()
        .filter(|it| it.len() <= LONGEST)
        .filter_map(|it| Some((n_changes(it)?, it)))
        .min_by_key(|(n_changes, _)| *n_changes)
        .map(|(_, it)| it)
}

/// Renders what is wrong with a policy for a person, each mistake with the
/// lines it is about.
pub fn render(loaded: &Loaded, styled: bool) -> String {
    render_diagnostics(&loaded.diagnostics, &loaded.files, styled)
}

/// Renders diagnostics about these files; see [`render`].
pub fn render_diagnostics(
    diagnostics: &[Diagnostic],
    files: &[SourceFile],
    styled: bool,
) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let reports = diagnostics.iter().filter_map(|it| {
        let file = files.get(it.file)?;
        Some(render_one(it, file, &renderer))
    });
    reports.collect::<Vec<_>>().join("\n\n")
}

fn render_one(diagnostic: &Diagnostic, file: &SourceFile, renderer: &Renderer) -> String {
    let Diagnostic { span, level, message, notes, fix, .. } = diagnostic;
    let path = make_safe(&file.path.display().to_string());
    let level = match level {
        DiagnosticLevel::Error => Level::ERROR,
        DiagnosticLevel::Warning => Level::WARNING,
    };
    let title = level.primary_title(message);
    let text = harmless(&file.text);
    let mut first = if text.is_empty() {
        title.element(Origin::path(path.as_str()))
    } else {
        let place = AnnotationKind::Primary.span(span.clone());
        title.element(Snippet::source(&text).path(path.as_str()).annotation(place))
    };
    for note in notes {
        first = first.element(Level::NOTE.message(note));
    }
    let mut groups = vec![first];
    if let Some(fix) = fix {
        let patch = Patch::new(fix.span.clone(), &fix.replacement);
        let snippet = Snippet::source(&text).path(path.as_str()).fold(true).patch(patch);
        groups.push(Level::HELP.secondary_title(&fix.title).element(snippet));
    }
    renderer.render(&groups)
}

/// A text that a terminal can be shown, in which everything stands where it
/// stood: what is unsafe is replaced by as many bytes.
fn harmless(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_line_end = c == '\n' || c == '\r' && chars.peek() == Some(&'\n');
        if is_line_end || c == '\t' || !is_unsafe(c) {
            res.push(c);
            continue;
        }
        res.push_str(match c.len_utf8() {
            1 => "?",
            2 => "\u{b7}",
            3 => "\u{fffd}",
            _ => "\u{fffd}?",
        });
    }
    res
}
