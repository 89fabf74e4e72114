//! Reads `[secrets]`, and inserts the secrets into the options of sinks.

use std::{collections::BTreeMap, io, path::PathBuf};

use thiserror::Error;
use toml::{Spanned, de::DeValue};
use watchkeeper_core::author::make_safe;

use crate::{
    diagnostic::{Diagnostic, Fix},
    read_file::mode_for_all,
    reader::{Reader, Variables},
    tree::{Span, Table, Value},
};

/// The keys of a secret.
pub(crate) const KEYS: &[&str] = &["env", "file", "optional"];

/// The secrets of a policy, by name. Each is looked up on first use.
#[derive(Default)]
pub(crate) struct Secrets(BTreeMap<String, Secret>);

struct Secret {
    span: Span,
    /// `None` if the entry in the policy is invalid.
    place: Option<Spanned<Place>>,
    is_optional: bool,
    /// Set if any sink uses the secret, even a disabled one.
    is_used: bool,
    /// The result of the lookup.
    lookup: Option<Lookup>,
}

/// The location of a secret.
enum Place {
    /// The name of an environment variable.
    Environment(String),
    File(PathBuf),
}

#[derive(Debug, Error)]
enum SecretError {
    #[error("environment variable `{0}` is not set")]
    NotSet(String),
    #[error("environment variable `{0}` is not UTF-8")]
    NotUtf8(String),
    #[error("cannot read the secret in `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "any user may use the secret in `{0}` (mode {1:04o}); run `chmod 600 {0}`",
        make_safe(&.path.display().to_string()), .mode
    )]
    OpenToAll { path: PathBuf, mode: u32 },
    #[error("the secret is empty")]
    EmptyVariable,
    #[error("the secret is empty")]
    EmptyFile,
}

impl SecretError {
    /// Returns whether an optional secret may fail this way. An empty file is a
    /// mistake, an empty variable is the usual way to unset one.
    fn is_absence(&self) -> bool {
        match self {
            Self::NotSet(_) | Self::EmptyVariable => true,
            Self::Unreadable { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::NotUtf8(_) | Self::OpenToAll { .. } | Self::EmptyFile => false,
        }
    }
}

/// The result of looking up a secret.
#[derive(Clone)]
enum Lookup {
    /// The text of the secret.
    Text(String),
    /// The secret is optional and does not exist.
    Absent,
    /// The secret was not looked up, or its error has been reported.
    Skipped,
}

/// The secrets that were inserted into a table.
#[derive(Default)]
pub(crate) struct InsertedSecrets {
    /// The texts of the secrets.
    pub(crate) texts: Vec<String>,
    /// The spans of secrets without a text.
    pub(crate) unresolved: Vec<Span>,
    /// Set if an optional secret does not exist.
    pub(crate) is_absent: bool,
    /// Set to look up secrets that were not looked up yet.
    is_on: bool,
}

impl Reader<'_> {
    pub(crate) fn secrets(&mut self, section: Option<Value<'_>>) -> Secrets {
        let mut secrets = BTreeMap::new();
        for (name, mut table) in self.entries(section) {
            let whole = table.span();
            let keys = table.get_mut();
            let env = keys.remove_entry("env");
            let file = keys.remove_entry("file");
            let is_optional = self.take(keys, "optional").unwrap_or(false);
            self.reject_keys(keys, KEYS);
            let place = match (env, file) {
                (Some((_, value)), None) => {
                    self.place(value, |_, name, _| Some(Place::Environment(name)))
                }
                (None, Some((_, value))) => {
                    self.place(value, |reader, name, span| reader.path(name, span).map(Place::File))
                }
                (Some(_), Some((key, _))) => {
                    let message = "`env` and `file` cannot be used together";
                    self.push(Diagnostic::error(key.span(), message));
                    None
                }
                (None, None) => {
                    let message =
                        format!("secret `{}` has neither `env` nor `file`", name.get_ref());
                    let note = "write `{ env = \"VARIABLE\" }` or `{ file = \"path\" }`";
                    self.push(Diagnostic::error(whole, message).note(note));
                    None
                }
            };
            let secret =
                Secret { span: name.span(), place, is_optional, is_used: false, lookup: None };
            secrets.insert(name.into_inner(), secret);
        }
        Secrets(secrets)
    }

    fn place(
        &mut self,
        value: Value<'_>,
        make: impl FnOnce(&mut Self, String, &Span) -> Option<Place>,
    ) -> Option<Spanned<Place>> {
        let span = value.span();
        let name = self.read::<String>(value)?;
        if name.is_empty() || name.contains(['\0', '=']) && !name.contains('/') {
            self.push(Diagnostic::error(span, "this is not a valid name"));
            return None;
        }
        let place = make(self, name, &span)?;
        Some(Spanned::new(span, place))
    }

    /// Replaces references to secrets by their texts. For a disabled sink, no
    /// secret is looked up.
    pub(crate) fn insert_secrets(
        &mut self,
        table: &mut Table<'_>,
        secrets: &mut Secrets,
        is_on: bool,
    ) -> InsertedSecrets {
        let mut inserted = InsertedSecrets { is_on, ..InsertedSecrets::default() };
        self.insert_into_table(table, secrets, &mut inserted);
        inserted
    }

    fn insert_into_table(
        &mut self,
        table: &mut Table<'_>,
        secrets: &mut Secrets,
        inserted: &mut InsertedSecrets,
    ) {
        for (_, value) in &mut *table {
            self.insert_into(value, secrets, inserted);
        }
    }

    fn insert_into(
        &mut self,
        value: &mut Value<'_>,
        secrets: &mut Secrets,
        inserted: &mut InsertedSecrets,
    ) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => {
                let name = table.get("secret").filter(|_| table.len() == 1);
                let Some(name) = name.and_then(|it| Some((it.get_ref().as_str()?, it.span())))
                else {
                    self.insert_into_table(table, secrets, inserted);
                    return;
                };
                match self.find_secret(name.0, name.1, secrets, inserted.is_on) {
                    Lookup::Text(text) => {
                        *value.get_mut() = DeValue::String(text.clone().into());
                        inserted.texts.push(text);
                    }
                    Lookup::Absent => {
                        inserted.is_absent = true;
                        inserted.unresolved.push(span);
                    }
                    Lookup::Skipped => inserted.unresolved.push(span),
                }
            }
            DeValue::Array(items) => {
                for item in items.iter_mut() {
                    self.insert_into(item, secrets, inserted);
                }
            }
            _ => {}
        }
    }

    fn find_secret(
        &mut self,
        name: &str,
        span: Span,
        secrets: &mut Secrets,
        is_on: bool,
    ) -> Lookup {
        let Some(secret) = secrets.0.get_mut(name) else {
            let message = format!("unknown secret `{name}`");
            let note = format!("define it in `[secrets]`: `{name} = {{ env = \"VARIABLE\" }}`");
            let fix = Fix::string(name, span.clone(), secrets.0.keys().map(String::as_str));
            self.push(Diagnostic::error(span, message).note(note).fix(fix));
            return Lookup::Skipped;
        };
        secret.is_used = true;
        if let Some(lookup) = &secret.lookup {
            return lookup.clone();
        }
        if !is_on {
            return Lookup::Skipped;
        }
        let lookup = match &secret.place {
            Some(place) => self.look_up(place, secret.is_optional),
            None => Lookup::Skipped,
        };
        secret.lookup.insert(lookup).clone()
    }

    fn look_up(&mut self, place: &Spanned<Place>, is_optional: bool) -> Lookup {
        let Some(environment) = self.environment else { return Lookup::Skipped };
        let err = match self.secret_text(place.get_ref(), environment) {
            Ok(text) => return Lookup::Text(text),
            Err(err) if is_optional && err.is_absence() => return Lookup::Absent,
            Err(err) => err,
        };
        let diagnostic = Diagnostic::error(place.span(), err.to_string())
            .note("with `optional = true`, a secret may be missing; its sinks are then disabled")
            .note("use `--no-environment` to check a policy without its secrets");
        self.push(diagnostic);
        Lookup::Skipped
    }

    fn secret_text(
        &self,
        place: &Place,
        environment: Variables<'_>,
    ) -> Result<String, SecretError> {
        match place {
            Place::Environment(name) => {
                let text = environment(name).ok_or_else(|| SecretError::NotSet(name.clone()))?;
                if text.is_empty() {
                    return Err(SecretError::EmptyVariable);
                }
                text.into_string().map_err(|_| SecretError::NotUtf8(name.clone()))
            }
            Place::File(path) => {
                if let Some(mode) = mode_for_all(path) {
                    return Err(SecretError::OpenToAll { path: path.clone(), mode });
                }
                let mut text = (self.read_file)(path)
                    .map_err(|source| SecretError::Unreadable { path: path.clone(), source })?;
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                if text.is_empty() { Err(SecretError::EmptyFile) } else { Ok(text) }
            }
        }
    }

    /// Warns of each secret that no sink uses.
    pub(crate) fn warn_unused(&mut self, secrets: &Secrets) {
        for (name, secret) in secrets.0.iter().filter(|(_, it)| !it.is_used) {
            let message = format!("secret `{name}` is not used");
            self.push(Diagnostic::warning(secret.span.clone(), message));
        }
    }
}
