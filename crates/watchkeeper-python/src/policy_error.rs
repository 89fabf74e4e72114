//! The errors of a policy, with their locations.

use pyo3::{
    Bound, PyErr, PyResult, Python,
    exceptions::{PyOSError, PyRuntimeError, PyValueError},
    pyclass, pymethods,
    types::{PyAnyMethods as _, PyDict, PyDictMethods as _, PyTuple},
};
use watchkeeper::{DiagnosticLevel, InvalidPolicy, PolicyError, StartError};

const LEVELS: [&str; 2] = ["error", "warning"];

/// An error or a warning about a policy.
#[pyclass(frozen, eq, get_all, module = "watchkeeper")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The file, or the name of a built-in policy.
    path: String,
    /// The line, counted from 1; `None` if the file cannot be read.
    line: Option<usize>,
    /// The column in characters, counted from 1; `None` if the file cannot be read.
    column: Option<usize>,
    /// `error` or `warning`.
    level: &'static str,
    /// The message.
    message: String,
    /// Additional information.
    notes: Vec<String>,
    /// A suggested correction, such as a name to use instead.
    fix: Option<String>,
}

#[pymethods]
impl Diagnostic {
    #[new]
    #[pyo3(signature = (
        path, message, *, level="error", line=None, column=None, notes=Vec::new(), fix=None,
    ))]
    fn new(
        path: String,
        message: String,
        level: &str,
        line: Option<usize>,
        column: Option<usize>,
        notes: Vec<String>,
        fix: Option<String>,
    ) -> PyResult<Self> {
        let Some(level) = LEVELS.into_iter().find(|known| *known == level) else {
            let message = format!("unknown level {level:?}; use error or warning");
            return Err(PyValueError::new_err(message));
        };
        Ok(Self { path, line, column, level, message, notes, fix })
    }

    /// Returns the arguments of the constructor, for `pickle` and `copy`.
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((&str, &str), Bound<'py, PyDict>)> {
        let options = PyDict::new(py);
        options.set_item("level", self.level)?;
        options.set_item("line", self.line)?;
        options.set_item("column", self.column)?;
        options.set_item("notes", &self.notes)?;
        options.set_item("fix", &self.fix)?;
        Ok(((&self.path, &self.message), options))
    }

    fn __repr__(&self) -> String {
        let Self { path, level, message, .. } = self;
        match (self.line, self.column) {
            (Some(line), Some(column)) => {
                format!("Diagnostic({path}:{line}:{column}: {level}: {message})")
            }
            _ => format!("Diagnostic({path}: {level}: {message})"),
        }
    }
}

/// Converts the error of a start to an exception.
pub(crate) fn start_error(py: Python<'_>, err: StartError) -> PyErr {
    match err {
        StartError::Policy(err) => policy_error(py, err),
        StartError::Thread(err) => PyOSError::new_err(format!("cannot start a thread: {err}")),
        err => PyRuntimeError::new_err(err.to_string()),
    }
}

/// Converts the error of a policy to a `PolicyError`.
pub(crate) fn policy_error(py: Python<'_>, err: PolicyError) -> PyErr {
    let message = err.to_string();
    match err {
        PolicyError::Read { path, source, .. } => {
            let message = format!("{message}: {source}");
            let diagnostic = Diagnostic {
                path: path.display().to_string(),
                line: None,
                column: None,
                level: "error",
                message: message.clone(),
                notes: Vec::new(),
                fix: None,
            };
            let err = exception(py, &message, vec![diagnostic]);
            err.set_cause(py, Some(source.into()));
            err
        }
        PolicyError::Invalid(invalid) => exception(py, &message, diagnostics(&invalid)),
        _ => exception(py, &message, Vec::new()),
    }
}

fn exception(py: Python<'_>, message: &str, diagnostics: Vec<Diagnostic>) -> PyErr {
    let make = || {
        let class = py.import("watchkeeper._errors")?.getattr("PolicyError")?;
        class.call1((message, PyTuple::new(py, diagnostics)?))
    };
    make().map_or_else(|err| err, PyErr::from_value)
}

fn diagnostics(invalid: &InvalidPolicy) -> Vec<Diagnostic> {
    let line_starts: Vec<Vec<usize>> = invalid.files.iter().map(|it| starts(&it.text)).collect();
    let diagnostics = invalid.diagnostics.iter().map(|diagnostic| {
        let file = invalid.files.get(diagnostic.file);
        let starts = line_starts.get(diagnostic.file).map_or(&[][..], Vec::as_slice);
        let line = starts.partition_point(|start| *start <= diagnostic.span.start).max(1);
        let line_start = starts.get(line - 1).copied().unwrap_or(0);
        let before = file.and_then(|file| file.text.get(line_start..diagnostic.span.start));
        Diagnostic {
            path: file.map(|file| file.path.display().to_string()).unwrap_or_default(),
            line: Some(line),
            column: Some(before.unwrap_or_default().chars().count() + 1),
            level: match diagnostic.level {
                DiagnosticLevel::Warning => "warning",
                _ => "error",
            },
            message: diagnostic.message.clone(),
            notes: diagnostic.notes.clone(),
            fix: diagnostic.fix.as_ref().map(|fix| fix.replacement.clone()),
        }
    });
    diagnostics.collect()
}

/// Returns the start of each line of a text, in bytes.
fn starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}
