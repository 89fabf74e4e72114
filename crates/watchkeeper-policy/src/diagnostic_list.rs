use crate::{
    diagnostic::{Diagnostic, DiagnosticLevel},
    files::Files,
    limits::MAX_REPORTED,
};

/// The diagnostics of one reading: of each level the first, up to a limit.
///
/// A text can contain a mistake in every line, and most diagnostics search for a similar name.
/// Code that reads a list stops at its limit of errors.
#[derive(Debug, Default)]
pub(crate) struct DiagnosticList {
    diagnostics: Vec<Diagnostic>,
    errors: Count,
    warnings: Count,
}

/// The diagnostics of one level.
#[derive(Debug, Default)]
struct Count {
    n: usize,
    /// Set if a diagnostic was left out.
    is_exceeded: bool,
}

impl DiagnosticList {
    /// Adds a diagnostic, unless there are too many of its level.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.level {
            DiagnosticLevel::Error => &mut self.errors,
            DiagnosticLevel::Warning => &mut self.warnings,
        };
        if count.n == MAX_REPORTED {
            count.is_exceeded = true;
        } else {
            count.n += 1;
            self.diagnostics.push(diagnostic);
        }
    }

    /// Adds a diagnostic, unless the list contains the same one.
    pub(crate) fn push_new(&mut self, diagnostic: Diagnostic) {
        if !self.diagnostics.contains(&diagnostic) {
            self.push(diagnostic);
        }
    }

    /// Adds the diagnostics of another list that this one does not contain.
    pub(crate) fn append(&mut self, other: Self) {
        other.diagnostics.into_iter().for_each(|it| self.push_new(it));
        self.errors.is_exceeded |= other.errors.is_exceeded;
        self.warnings.is_exceeded |= other.warnings.is_exceeded;
    }

    /// Returns whether further errors are left out.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.is_exceeded
    }

    /// Returns whether further warnings are left out.
    pub(crate) fn is_full_of_warnings(&self) -> bool {
        self.warnings.is_exceeded
    }

    pub(crate) fn has_errors(&self) -> bool {
        0 < self.errors.n
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Returns the diagnostics, with spans into single files.
    pub(crate) fn settled(self, files: &Files) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics;
        for diagnostic in &mut diagnostics {
            diagnostic.settle(files);
        }
        diagnostics
    }

    /// Returns diagnostics about the diagnostics that were left out.
    pub(crate) fn left_out(&self) -> Vec<Diagnostic> {
        let mut left_out = Vec::new();
        if self.warnings.is_exceeded {
            let message = format!("more than {MAX_REPORTED} warnings; the others are not shown");
            left_out.push(Diagnostic::warning(0..0, message));
        }
        if self.errors.is_exceeded {
            let message = format!("more than {MAX_REPORTED} errors; correct these first");
            left_out.push(Diagnostic::error(0..0, message));
        }
        left_out
    }
}

impl Extend<Diagnostic> for DiagnosticList {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: T) {
        diagnostics.into_iter().for_each(|it| self.push(it));
    }
}
