//! `[secrets]`: the only place a secret is named.

use std::{collections::BTreeMap, path::PathBuf};

use toml::{Spanned, de::DeValue};

use crate::{
    Diagnostic,
    diagnostic::Fix,
    reader::Reader,
    tree::{Span, Table, Value},
};

const KEYS: &[&str] = &["env", "file", "optional"];

/// The secrets of a policy, by name. Each is looked up when it is first used.
#[derive(Default)]
pub(crate) struct Secrets(BTreeMap<String, Secret>);

struct Secret {
    span: Span,
    /// `None` if what the policy says of it is wrong.
    place: Option<Spanned<Place>>,
    is_optional: bool,
    /// Some sink uses it, if only one that is off.
    is_named: bool,
    found: Option<Found>,
}

enum Place {
    Environment(String),
    File(PathBuf),
}

/// What became of looking a secret up.
#[derive(Clone)]
pub(crate) enum Found {
    /// Its text.
    Text(String),
    /// It is not there, and need not be.
    Absent,
    /// It was not looked up, or what is wrong with it has been said.
    SkippedLines,
}

/// What the secrets in a table came to.
#[derive(Default)]
pub(crate) struct Used {
    /// The texts that were put in.
    pub(crate) texts: Vec<String>,
    /// Where secrets are named that have no text.
    pub(crate) unread: Vec<Span>,
    /// One is absent, and need not be there.
    pub(crate) is_absent: bool,
    is_on: bool,
}

impl Reader<'_> {
    pub(crate) fn secrets(&mut self, section: Option<Value<'_>>) -> Secrets {
        let mut res = BTreeMap::new();
        for (name, mut table) in self.entries(section) {
            let whole = table.span();
            let keys = table.get_mut();
            let env = keys.remove_entry("env");
            let file = keys.remove_entry("file");
            let is_optional = self.take(keys, "optional").unwrap_or(false);
            self.refuse_rest(keys, KEYS);
            let place = match (env, file) {
                (Some((_, value)), None) => self.place(value, |_, it| Place::Environment(it)),
                (None, Some((_, value))) => {
                    self.place(value, |folder, it| Place::File(folder.join(it)))
                }
                (Some(_), Some((key, _))) => {
                    let message = "a secret is either in the environment or in a file";
                    self.push(Diagnostic::error(key.span(), message));
                    None
                }
                (None, None) => {
                    let message = format!("nothing says where secret `{}` is", name.get_ref());
                    let note = "write `{ env = \"VARIABLE\" }` or `{ file = \"path\" }`";
                    self.push(Diagnostic::error(whole, message).note(note));
                    None
                }
            };
            let secret =
                Secret { span: name.span(), place, is_optional, is_named: false, found: None };
            res.insert(name.into_inner(), secret);
        }
        Secrets(res)
    }

    fn place(
        &mut self,
        value: Value<'_>,
        make: impl FnOnce(PathBuf, String) -> Place,
    ) -> Option<Spanned<Place>> {
        let span = value.span();
        let name = self.read::<String>(value)?;
        if name.is_empty() || name.contains(['\0', '=']) && !name.contains('/') {
            self.push(Diagnostic::error(span, "nothing can have this name"));
            return None;
        }
        let folder = self.files.folder(&span).to_owned();
        Some(Spanned::new(span, make(folder, name)))
    }

    /// Puts the texts of secrets in the place of their names; of a sink that is
    /// off, none is looked up.
    pub(crate) fn put_secrets(
        &mut self,
        table: &mut Table<'_>,
        secrets: &mut Secrets,
        is_on: bool,
    ) -> Used {
        let mut used = Used { is_on, ..Used::default() };
        self.put_in_table(table, secrets, &mut used);
        used
    }

    fn put_in_table(&mut self, table: &mut Table<'_>, secrets: &mut Secrets, used: &mut Used) {
        for (_, value) in &mut *table {
            self.put_in(value, secrets, used);
        }
    }

    fn put_in(&mut self, value: &mut Value<'_>, secrets: &mut Secrets, used: &mut Used) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => {
                let name = table.get("secret").filter(|_| table.len() == 1);
                let Some(name) = name.and_then(|it| Some((it.get_ref().as_str()?, it.span())))
                else {
                    self.put_in_table(table, secrets, used);
                    return;
                };
                match self.find_secret(name.0, name.1, secrets, used.is_on) {
                    Found::Text(text) => {
                        *value.get_mut() = DeValue::String(text.clone().into());
                        used.texts.push(text);
                    }
                    Found::Absent => {
                        used.is_absent = true;
                        used.unread.push(span);
                    }
                    Found::SkippedLines => used.unread.push(span),
                }
            }
            DeValue::Array(items) => {
                for it in items.iter_mut() {
                    self.put_in(it, secrets, used);
                }
            }
            _ => {}
        }
    }

    fn find_secret(&mut self, name: &str, span: Span, secrets: &mut Secrets, is_on: bool) -> Found {
        let Some(secret) = secrets.0.get_mut(name) else {
            let message = format!("there is no secret `{name}`");
            let note = format!("name it in `[secrets]`: `{name} = {{ env = \"VARIABLE\" }}`");
            let fix = Fix::string(name, span.clone(), secrets.0.keys().map(String::as_str));
            self.push(Diagnostic::error(span, message).note(note).fix(fix));
            return Found::SkippedLines;
        };
        secret.is_named = true;
        if let Some(found) = &secret.found {
            return found.clone();
        }
        if !is_on {
            return Found::SkippedLines;
        }
        let found = match &secret.place {
            Some(place) => self.look_up(place, secret.is_optional),
            None => Found::SkippedLines,
        };
        secret.found.insert(found).clone()
    }

    fn look_up(&mut self, place: &Spanned<Place>, is_optional: bool) -> Found {
        let Some(environment) = self.loader.environment else { return Found::SkippedLines };
        let text = match place.get_ref() {
            Place::Environment(name) => match environment(name) {
                Some(it) if it.is_empty() && is_optional => return Found::Absent,
                None if is_optional => return Found::Absent,
                None => Err(format!("environment variable `{name}` is not set")),
                Some(it) => it
                    .into_string()
                    .map_err(|_| format!("environment variable `{name}` is not UTF-8")),
            },
            Place::File(path) => match (self.loader.read_file)(path) {
                Ok(mut it) => {
                    it.truncate(it.trim_end_matches(['\r', '\n']).len());
                    Ok(it)
                }
                Err(err) if is_optional && err.kind() == std::io::ErrorKind::NotFound => {
                    return Found::Absent;
                }
                Err(err) => Err(format!("cannot read the secret in `{}`: {err}", path.display())),
            },
        };
        let message = match text {
            Ok(it) if it.is_empty() => "the secret is empty".to_owned(),
            Ok(it) => return Found::Text(it),
            Err(message) => message,
        };
        let diagnostic = Diagnostic::error(place.span(), message)
            .note("a secret that is `optional = true` may be missing; its sinks are then off")
            .note("`--no-environment` checks a policy without its secrets");
        self.push(diagnostic);
        Found::SkippedLines
    }

    /// Points at the secrets that nothing uses.
    pub(crate) fn warn_of_unused(&mut self, secrets: &Secrets) {
        for (name, it) in secrets.0.iter().filter(|(_, it)| !it.is_named) {
            let message = format!("nothing uses secret `{name}`");
            self.push(Diagnostic::warning(it.span.clone(), message));
        }
    }
}
