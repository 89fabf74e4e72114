//! Finds the files that a policy extends, and lays them over each other.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeArray, DeValue},
};

use crate::{
    BUILTIN_DEFAULT, Diagnostic, Loader, builtin,
    diagnostic::Fix,
    files::Files,
    toml_text,
    tree::{self, Span, Table, Value},
};

/// How long a chain of files may be in which each extends the next.
const MAX_CHAIN: usize = 16;
/// The only version of the format there is.
const VERSION: &str = "1";

/// One file, and those it extends.
struct Layer {
    identity: PathBuf,
    file_idx: usize,
    /// Layers before this one, in the order in which they are laid.
    bases: Vec<usize>,
}

/// The files of a policy, each after those it extends.
pub(crate) struct Layers {
    layers: Vec<Layer>,
}

struct Finder<'a> {
    loader: &'a Loader<'a>,
    files: &'a mut Files,
    diagnostics: &'a mut Vec<Diagnostic>,
    layers: Vec<Layer>,
    /// The files that are being read, each extended by the one before.
    chain: Vec<PathBuf>,
}

impl Layers {
    /// Reads the file at `path` and all that it extends.
    pub(crate) fn find(
        loader: &Loader<'_>,
        path: &Path,
        files: &mut Files,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut finder =
            Finder { loader, files, diagnostics, layers: Vec::new(), chain: Vec::new() };
        match finder.read(path) {
            Ok(text) => {
                finder.add(path, text);
            }
            Err(err) => {
                let start = finder.files.add(path, String::new());
                let message = format!("cannot read the policy: {err}");
                finder.diagnostics.push(Diagnostic::error(start..start, message));
            }
        }
        Self { layers: finder.layers }
    }

    /// Lays the files over each other: tables merge, all else is replaced, and
    /// `add` and `remove` edit arrays.
    pub(crate) fn merge<'f>(
        &self,
        files: &'f Files,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Table<'f>> {
        let mut merged: Vec<Table<'f>> = Vec::new();
        let mut is_toml = true;
        for layer in &self.layers {
            let (text, start) = files.text(layer.file_idx)?;
            let mut own = tree::parse(text, start, diagnostics).unwrap_or_else(|| {
                is_toml = false;
                Table::new()
            });
            if is_toml {
                version(&own, "the policy", start, diagnostics);
            }
            own.remove("extends");
            let mut table = Table::new();
            for base_idx in &layer.bases {
                let base = merged.get(*base_idx)?.clone();
                table = lay_over(table, base, &[], diagnostics);
            }
            merged.push(lay_over(table, own, &[], diagnostics));
        }
        // Whatever follows from bad syntax would only be noise.
        let table = merged.pop().filter(|_| is_toml)?;
        Some(without_edits(table, diagnostics))
    }
}

impl Finder<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        if let Some(text) = builtin(path) {
            return Ok(text.to_owned());
        }
        (self.loader.read_file)(path)
    }

    /// Adds a file after those that it extends. Gives back its index among the
    /// layers.
    fn add(&mut self, path: &Path, text: String) -> usize {
        // What is wrong with it is found once more when it is merged.
        let start = self.files.add(path, text.clone());
        let extended = tree::parse(&text, start, &mut Vec::new())
            .and_then(|mut it| it.remove("extends"))
            .map_or_else(Vec::new, |it| self.extended(it));
        let file_idx = self.files.locate(&(start..start)).0;
        let identity = identity(path);
        self.chain.push(identity.clone());
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut bases = Vec::new();
        for (name, span) in extended {
            bases.extend(self.base(folder, &name, span));
        }
        self.chain.pop();
        self.layers.push(Layer { identity, file_idx, bases });
        self.layers.len() - 1
    }

    /// The names of the files that are extended.
    fn extended(&mut self, value: Value<'_>) -> Vec<(String, Span)> {
        const EXAMPLE: &str = "write a list of files: `extends = [\"builtin:default\"]`";
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.diagnostics.push(Diagnostic::error(span, "`extends` is not a list").note(EXAMPLE));
            return Vec::new();
        };
        let mut res = Vec::new();
        for it in items {
            let span = it.span();
            match it.into_inner() {
                DeValue::String(it) => res.push((it.into_owned(), span)),
                it => {
                    let message = format!("expected the name of a file, found {}", it.type_str());
                    self.diagnostics.push(Diagnostic::error(span, message).note(EXAMPLE));
                }
            }
        }
        res
    }

    /// Finds one file that is extended. Gives back its index among the layers.
    fn base(&mut self, folder: &Path, name: &str, span: Span) -> Option<usize> {
        let path = if let Some(builtin) = name.strip_prefix("builtin:") {
            if crate::builtin(Path::new(name)).is_none() {
                let message = format!("there is no policy `{builtin}` built in");
                let fix = Fix::string(name, span.clone(), [BUILTIN_DEFAULT]).unwrap_or_else(|| {
                    Fix::new("there is this one", span.clone(), toml_text::string(BUILTIN_DEFAULT))
                });
                self.diagnostics.push(Diagnostic::error(span, message).fix(fix));
                return None;
            }
            PathBuf::from(name)
        } else {
            let path = if builtin(folder).is_some() { Path::new("") } else { folder };
            path.join(name).components().collect()
        };
        let identity = identity(&path);
        if let Some(at) = self.chain.iter().position(|it| *it == identity) {
            let mut chain: Vec<String> =
                self.chain[at..].iter().map(|it| format!("`{}`", it.display())).collect();
            chain.push(format!("`{}`", identity.display()));
            let message = format!("`{name}` would extend itself");
            let note = format!("the files go in a circle: {}", chain.join(" extends "));
            self.diagnostics.push(Diagnostic::error(span, message).note(note));
            return None;
        }
        if let Some(known) = self.layers.iter().position(|it| it.identity == identity) {
            return Some(known);
        }
        if self.chain.len() == MAX_CHAIN {
            let message = format!("more than {MAX_CHAIN} files extend each other");
            self.diagnostics.push(Diagnostic::error(span, message));
            return None;
        }
        match self.read(&path) {
            Ok(text) => Some(self.add(&path, text)),
            Err(err) => {
                let message = format!("cannot read `{}`: {err}", path.display());
                let note = "a file is looked for beside the one that extends it";
                let is_builtin = name == "default";
                let fix = is_builtin.then(|| {
                    Fix::new(
                        "this one is built in",
                        span.clone(),
                        toml_text::string(BUILTIN_DEFAULT),
                    )
                });
                self.diagnostics.push(Diagnostic::error(span, message).note(note).fix(fix));
                None
            }
        }
    }
}

/// What makes two paths the same file, as far as their names tell.
fn identity(path: &Path) -> PathBuf {
    let mut res = PathBuf::new();
    for it in path.components() {
        match it {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(res.components().next_back(), Some(Component::Normal(_))) =>
            {
                res.pop();
            }
            it => res.push(it),
        }
    }
    res
}

pub(crate) fn version(
    table: &Table<'_>,
    what: &str,
    start: usize,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(value) = table.get("version") else {
        let message = format!("{what} does not say which version of the format it is written in");
        let fix = Fix::new("say it first", start..start, "version = 1\n");
        diagnostics.push(Diagnostic::error(start..start, message).fix(fix));
        return;
    };
    let is_known = value.get_ref().as_integer().is_some_and(|it| it.to_string() == VERSION);
    if !is_known {
        let message = format!("version {} is not known", toml_text::value(value.get_ref()));
        let note = format!("this program reads version {VERSION}");
        let is_text = value.get_ref().as_str().is_some_and(|it| it.trim() == VERSION);
        let fix = is_text.then(|| Fix::new("leave the quotation marks out", value.span(), VERSION));
        diagnostics.push(Diagnostic::error(value.span(), message).note(note).fix(fix));
    }
}

/// Lays one table over another. `path` says where they are in the policy.
fn lay_over<'f>(
    mut base: Table<'f>,
    over: Table<'f>,
    path: &[&str],
    diagnostics: &mut Vec<Diagnostic>,
) -> Table<'f> {
    for (key, value) in over {
        let Some((_, below)) = base.remove_entry(key.get_ref().as_ref()) else {
            base.insert(key, value);
            continue;
        };
        let span = value.span();
        let value = match (below.into_inner(), value.into_inner()) {
            (DeValue::Table(below), DeValue::Table(value)) => {
                let name = key.get_ref().clone();
                let path: Vec<&str> = path.iter().copied().chain([name.as_ref()]).collect();
                let below = if matches!(path[..], ["detectors" | "sinks", _]) {
                    without_opposites(below, &value)
                } else {
                    below
                };
                DeValue::Table(lay_over(below, value, &path, diagnostics))
            }
            (DeValue::Array(below), DeValue::Table(edit)) => {
                let items = below.into_iter().collect();
                DeValue::Array(
                    edited(items, edit, key.get_ref(), diagnostics).into_iter().collect(),
                )
            }
            (_, value) => value,
        };
        base.insert(key, Spanned::new(span, value));
    }
    base
}

/// Lays what an override says of a detector over it.
pub(crate) fn overridden<'f>(
    below: Table<'f>,
    mut over: Table<'f>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Table<'f> {
    let mut below = without_opposites(below, &over);
    // The first exception can be added, too.
    if let Some((key, value)) = over.remove_entry("exceptions") {
        if !below.contains_key("exceptions") && value.get_ref().is_table() {
            let none = Spanned::new(value.span(), DeValue::Array(DeArray::new()));
            below.insert(key.clone(), none);
        }
        over.insert(key, value);
    }
    without_edits(lay_over(below, over, &[], diagnostics), diagnostics)
}

/// What stays of a detector or a sink when another file says more of it: the
/// options of another kind mean nothing, and of `severity` and `levels` the
/// later holds.
fn without_opposites<'f>(mut below: Table<'f>, over: &Table<'f>) -> Table<'f> {
    if let (Some(new), Some(old)) = (over.get("kind"), below.get("kind"))
        && !tree::is_same(new.get_ref(), old.get_ref())
    {
        return Table::new();
    }
    for (one, other) in [("severity", "levels"), ("levels", "severity")] {
        if over.contains_key(one) {
            below.remove(other);
        }
    }
    below
}

/// Does what `add` and `remove` say.
fn edited<'f>(
    mut items: Vec<Value<'f>>,
    edit: Table<'f>,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Value<'f>> {
    let mut added = Vec::new();
    for (key, value) in edit {
        let verb = key.get_ref().as_ref();
        if !matches!(verb, "add" | "remove") {
            let message = format!("`{name}` is a list: `{verb}` cannot be done to it");
            let fix = Fix::key(verb, key.span(), ["add", "remove"]);
            let note = format!("write `{name} = […]`, `{name}.add = […]` or `{name}.remove = […]`");
            diagnostics.push(Diagnostic::error(key.span(), message).note(note).fix(fix));
            continue;
        }
        let span = value.span();
        let DeValue::Array(operands) = value.into_inner() else {
            let message = format!("`{name}.{verb}` is not a list");
            diagnostics.push(Diagnostic::error(span, message));
            continue;
        };
        if verb == "add" {
            added.extend(operands);
            continue;
        }
        for it in operands {
            let n_before = items.len();
            items.retain(|item| !tree::is_same(item.get_ref(), it.get_ref()));
            if items.len() == n_before {
                let message = format!("there is nothing like this in `{name}` to remove");
                diagnostics.push(Diagnostic::warning(it.span(), message));
            }
        }
    }
    items.extend(added);
    items
}

/// Whether a table says how to edit an array.
fn is_edit(table: &Table<'_>) -> bool {
    let is_verb = |(key, it): (&tree::Key<'_>, &Value<'_>)| {
        matches!(key.get_ref().as_ref(), "add" | "remove") && it.get_ref().is_array()
    };
    !table.is_empty() && table.iter().all(is_verb)
}

/// Takes out the edits that found nothing to edit, and points at them.
fn without_edits<'f>(table: Table<'f>, diagnostics: &mut Vec<Diagnostic>) -> Table<'f> {
    let mut res = Table::new();
    for (key, value) in table {
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::Table(edit) if is_edit(&edit) => {
                for (key, _) in &edit {
                    let message = match key.get_ref().as_ref() {
                        "add" => "there is no list to add to",
                        _ => "there is no list to remove from",
                    };
                    let note = "only a list in a policy that this one extends can be edited";
                    diagnostics.push(Diagnostic::error(key.span(), message).note(note));
                }
                continue;
            }
            DeValue::Table(table) => DeValue::Table(without_edits(table, diagnostics)),
            other => other,
        };
        res.insert(key, Spanned::new(span, value));
    }
    res
}
