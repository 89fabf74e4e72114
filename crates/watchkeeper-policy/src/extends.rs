//! Finds the files that a policy extends.

use std::{
    io,
    path::{Path, PathBuf},
};

use toml::de::DeValue;

use crate::{
    builtin::{self, BUILTIN_DEFAULT, builtin},
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    files::{Files, normalized},
    limits::{MAX_EXTENDED, MAX_LEN, MAX_VALUES},
    read_file::ResolvedFile,
    scan::Scan,
    toml_text,
    tree::{self, Span, Value},
};

const EXAMPLE: &str = "write a list of files: `extends = [\"builtin:default\"]`";
/// The maximum length of a chain of files in which each extends the next.
const MAX_CHAIN: usize = 16;

/// Follows the links of a path.
pub(crate) type Resolve<'a> = &'a dyn Fn(&Path) -> io::Result<ResolvedFile>;

/// The functions that read files.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// `None` to compare paths as texts, and to trust every file.
    pub(crate) resolve: Option<Resolve<'a>>,
}

/// A file and the files that it extends.
pub(crate) struct Layer {
    /// The path, without links.
    identity: PathBuf,
    pub(crate) file_idx: usize,
    pub(crate) scan: Scan,
    /// The indices of the extended layers, in the order of `extends`.
    pub(crate) bases: Vec<usize>,
}

struct Finder<'a> {
    reading: Reading<'a>,
    files: &'a mut Files,
    diagnostics: &'a mut DiagnosticList,
    layers: Vec<Layer>,
    /// The size of the files so far, in bytes.
    len: usize,
    /// The number of names in `extends` so far.
    n_extended: usize,
    /// The files from the policy to the current file, each extended by the one before.
    chain: Vec<PathBuf>,
}

/// A file with `extends`.
struct Extending<'a> {
    path: &'a Path,
    /// The file belongs to the user, or to the administrator of the machine.
    is_trusted: bool,
    /// The folder that contains all files that it may extend by relative paths.
    folder: &'a Path,
}

/// Reports an `extends` that is not a list.
pub(crate) fn not_a_list(span: Span) -> Diagnostic {
    Diagnostic::error(span, "`extends` is not a list").note(EXAMPLE)
}

/// Reads the file at `path` and every file that it extends, directly or indirectly. Returns each
/// file after the files that it extends.
pub(crate) fn find_layers(
    reading: Reading<'_>,
    path: &Path,
    files: &mut Files,
    diagnostics: &mut DiagnosticList,
) -> Vec<Layer> {
    let (layers, chain) = (Vec::new(), Vec::new());
    let mut finder = Finder { reading, files, diagnostics, layers, len: 0, n_extended: 0, chain };
    match finder.read(path) {
        Ok(text) => {
            // The path of an open file, such as `/dev/fd/3`, cannot be resolved.
            let lexical = || ResolvedFile { path: normalized(path), is_trusted: false };
            let resolved = finder.resolve(path).unwrap_or_else(|_| lexical());
            let folder = resolved.path.parent().unwrap_or(Path::new("")).to_owned();
            finder.add(path, resolved, text, &folder);
        }
        Err(err) => {
            let start = finder.files.add(path, String::new());
            let message = format!("cannot read the policy: {err}");
            finder.diagnostics.push(Diagnostic::error(start..start, message));
        }
    }
    finder.layers
}

impl Finder<'_> {
    /// Reads a file, unless the files of the policy are too large together.
    fn read(&mut self, path: &Path) -> io::Result<String> {
        if let Some(text) = builtin(path) {
            return Ok(text.to_owned());
        }
        let text = (self.reading.read_file)(path)?;
        self.len += text.len();
        if MAX_LEN < self.len {
            let message = "a policy has at most 256 KiB, with all files that it extends";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(text)
    }

    /// Returns the path of a file without links, and whether it is trusted.
    fn resolve(&self, path: &Path) -> io::Result<ResolvedFile> {
        match self.reading.resolve {
            Some(resolve) if builtin(path).is_none() => resolve(path),
            _ => Ok(ResolvedFile { path: normalized(path), is_trusted: true }),
        }
    }

    /// Adds a file after the files that it extends, and returns its layer index. `folder` is the
    /// one that contains all files that it may extend by relative paths.
    fn add(&mut self, path: &Path, resolved: ResolvedFile, text: String, folder: &Path) -> usize {
        let start = self.files.add(path, text.clone());
        let scan = Scan::new(&text);
        // Syntax errors and too many values are reported later, by `Layers::merge`.
        let is_readable = !scan.has_mistakes && scan.n_values <= MAX_VALUES;
        let extended = is_readable
            .then(|| tree::parse_valid(&text[..scan.start_len], start))
            .flatten()
            .and_then(|mut table| table.remove("extends"))
            .map_or_else(Vec::new, |extends| self.extended(extends));
        let file_idx = self.files.locate(&(start..start)).0;
        let ResolvedFile { path: identity, is_trusted } = resolved;
        self.chain.push(identity.clone());
        let extending = Extending { path, is_trusted, folder };
        let mut bases = Vec::new();
        for (name, span) in extended {
            bases.extend(self.base(&extending, &name, span));
        }
        self.chain.pop();
        self.layers.push(Layer { identity, file_idx, scan, bases });
        self.layers.len() - 1
    }

    /// Reads the file names in `extends`.
    fn extended(&mut self, value: Value<'_>) -> Vec<(String, Span)> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.diagnostics.push(not_a_list(span));
            return Vec::new();
        };
        let mut names = Vec::new();
        for item in items {
            let span = item.span();
            if self.n_extended == MAX_EXTENDED {
                let message = format!("the policy extends more than {MAX_EXTENDED} files");
                self.diagnostics.push(Diagnostic::error(span, message));
                break;
            }
            self.n_extended += 1;
            match item.into_inner() {
                DeValue::String(name) => names.push((name.into_owned(), span)),
                other => {
                    let message = format!("expected a file name, found {}", other.type_str());
                    self.diagnostics.push(Diagnostic::error(span, message).note(EXAMPLE));
                }
            }
        }
        names
    }

    /// Reads an extended file, unless it is known already, and returns its layer
    /// index.
    fn base(&mut self, extending: &Extending<'_>, name: &str, span: Span) -> Option<usize> {
        let path = if let Some(short_name) = name.strip_prefix("builtin:") {
            if builtin(Path::new(name)).is_none() {
                let message = format!("unknown built-in policy `{short_name}`");
                let fix = Fix::string(name, span.clone(), builtin::names()).unwrap_or_else(|| {
                    let replacement = toml_text::string(BUILTIN_DEFAULT);
                    Fix::new("use the built-in policy", span.clone(), replacement)
                });
                self.diagnostics.push(Diagnostic::error(span, message).fix(fix));
                return None;
            }
            PathBuf::from(name)
        } else {
            let folder = extending.path.parent().unwrap_or(Path::new(""));
            folder.join(name).components().collect()
        };
        let resolved = match self.resolve(&path) {
            Ok(resolved) => resolved,
            Err(err) => {
                self.unreadable(&path, name, span, &err);
                return None;
            }
        };
        let folder = self.allowed_folder(extending, name, &resolved.path, &span)?;
        let identity = &resolved.path;
        if let Some(at) = self.chain.iter().position(|it| it == identity) {
            let mut chain: Vec<String> =
                self.chain[at..].iter().map(|it| format!("`{}`", it.display())).collect();
            chain.push(format!("`{}`", identity.display()));
            let message = format!("`{name}` extends itself");
            let note = format!("the cycle is: {}", chain.join(" extends "));
            self.diagnostics.push(Diagnostic::error(span, message).note(note));
            return None;
        }
        if let Some(known) = self.layers.iter().position(|it| it.identity == *identity) {
            return Some(known);
        }
        if self.chain.len() == MAX_CHAIN {
            let message = format!("the chain of extended files is longer than {MAX_CHAIN}");
            self.diagnostics.push(Diagnostic::error(span, message));
            return None;
        }
        match self.read(&path) {
            Ok(text) => Some(self.add(&path, resolved, text, &folder)),
            Err(err) => {
                self.unreadable(&path, name, span, &err);
                None
            }
        }
    }

    /// Returns the folder of the files that an extended file may extend by relative paths.
    /// Returns `None` and reports an error if the file itself may not be extended.
    ///
    /// A policy can come from a stranger, who may guess the paths of other files of this machine.
    fn allowed_folder(
        &mut self,
        extending: &Extending<'_>,
        name: &str,
        path: &Path,
        span: &Span,
    ) -> Option<PathBuf> {
        let folder = extending.folder;
        let is_inside = path.strip_prefix(folder).is_ok_and(|it| !it.starts_with(".."))
            && path.is_absolute() == folder.is_absolute();
        if builtin(path).is_some() || is_inside {
            return Some(folder.to_owned());
        }
        if !Path::new(name).is_absolute() {
            let message = format!("`{name}` is outside of the folder of the policy");
            let note = "to extend this file, write its absolute path";
            self.diagnostics.push(Diagnostic::error(span.clone(), message).note(note));
            return None;
        }
        if !extending.is_trusted {
            let message = format!("`{name}` is outside of the folder of the policy");
            let note = "a policy that belongs to another user extends only files in its folder";
            self.diagnostics.push(Diagnostic::error(span.clone(), message).note(note));
            return None;
        }
        Some(path.parent().unwrap_or(Path::new("")).to_owned())
    }

    /// Reports an extended file that cannot be read.
    fn unreadable(&mut self, path: &Path, name: &str, span: Span, err: &io::Error) {
        self.files.add_unreadable(path);
        let message = format!("cannot read `{}`: {err}", path.display());
        let note = "the path is relative to the file with `extends`";
        let named = builtin::names().find(|it| it.strip_prefix("builtin:") == Some(name));
        let fix = named.map(|builtin| {
            let replacement = toml_text::string(builtin);
            Fix::new("use the built-in policy", span.clone(), replacement)
        });
        self.diagnostics.push(Diagnostic::error(span, message).note(note).fix(fix));
    }
}
