use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use thiserror::Error;

use crate::{
    Detector, DetectorKind, Environment, Level, Options, OptionsError, Sink, SinkKind, Source,
    SourceKind, Unit,
};

/// Registers a kind of detector with every program that links this crate: a
/// line such as `watchkeeper_core::register!(Timeout);` in the crate of the
/// kind.
///
/// A crate is linked only if the program names it (`use acme_detector as _;`).
#[macro_export]
macro_rules! register {
    ($kind:ty) => {
        $crate::register!(@submit DetectorEntry, $kind);
    };
    (@submit $entry:ident, $kind:ty) => {
        $crate::private::submit! {
            $crate::$entry::of::<$kind>(
                concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
            )
        }
    };
}

/// Registers a kind of sink with every program that links this crate.
#[macro_export]
macro_rules! register_sink {
    ($kind:ty) => {
        $crate::register!(@submit SinkEntry, $kind);
    };
}

/// Registers a kind of source with every program that links this crate.
#[macro_export]
macro_rules! register_source {
    ($kind:ty) => {
        $crate::register!(@submit SourceEntry, $kind);
    };
}

/// A kind of detector that was linked into the program.
pub struct DetectorEntry {
    about: About,
    /// What sort of trouble it finds.
    pub class: &'static str,
    /// What it measures.
    pub unit: Unit,
    /// The levels of a policy that names none.
    pub levels: &'static [Level],
    /// The level of a policy that names one severity.
    pub limit: u64,
    build: fn(Options<'_>) -> Result<Box<dyn Detector>, OptionsError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl DetectorEntry {
    /// Describes the kind `D`; use [`register!`](crate::register) instead.
    pub const fn of<D: DetectorKind>(origin: &'static str) -> Self {
        Self {
            about: About { kind: D::KIND, docs: D::DOCS, origin },
            class: D::CLASS,
            unit: D::UNIT,
            levels: D::LEVELS,
            limit: D::LIMIT,
            build: |options| Ok(Box::new(options.build(D::new)?)),
            schema: |generator| D::Options::json_schema(generator),
        }
    }

    /// Builds a detector from its table in a policy.
    pub fn build(&self, options: Options<'_>) -> Result<Box<dyn Detector>, OptionsError> {
        (self.build)(options)
    }

    /// Describes its table in a policy.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

/// A kind of sink that was linked into the program.
pub struct SinkEntry {
    about: About,
    build: fn(Options<'_>) -> Result<Box<dyn Sink>, OptionsError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl SinkEntry {
    /// Describes the kind `S`; use [`register_sink!`](crate::register_sink) instead.
    pub const fn of<S: SinkKind>(origin: &'static str) -> Self {
        Self {
            about: About { kind: S::KIND, docs: S::DOCS, origin },
            build: |options| Ok(Box::new(options.build(S::new)?)),
            schema: |generator| S::Options::json_schema(generator),
        }
    }

    /// Builds a sink from its table in a policy.
    pub fn build(&self, options: Options<'_>) -> Result<Box<dyn Sink>, OptionsError> {
        (self.build)(options)
    }

    /// Describes its table in a policy.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

/// A kind of source that was linked into the program.
pub struct SourceEntry {
    about: About,
    recognizes: fn(&Path, &[u8]) -> bool,
    folders: fn(&Environment<'_>) -> Vec<PathBuf>,
    is_rewritten: bool,
    open: fn(&Path) -> Box<dyn Source>,
}

impl SourceEntry {
    /// Describes the kind `S`; use [`register_source!`](crate::register_source) instead.
    pub const fn of<S: SourceKind>(origin: &'static str) -> Self {
        Self {
            about: About { kind: S::KIND, docs: S::DOCS, origin },
            recognizes: |path, head| S::recognizes(path, head),
            folders: |environment| S::folders(environment),
            is_rewritten: S::IS_REWRITTEN,
            open: |path| Box::new(S::new(path)),
        }
    }

    /// Whether a file that begins with `head` is of this kind.
    pub fn recognizes(&self, path: &Path, head: &[u8]) -> bool {
        (self.recognizes)(path, head)
    }

    /// The folders in which the agent keeps its sessions on this machine.
    pub fn folders(&self, environment: &Environment<'_>) -> Vec<PathBuf> {
        (self.folders)(environment)
    }

    /// Whether the agent writes a file anew as a whole, rather than adding
    /// lines to it.
    pub fn is_rewritten(&self) -> bool {
        self.is_rewritten
    }

    /// Begins to read a file.
    pub fn open(&self, path: &Path) -> Box<dyn Source> {
        (self.open)(path)
    }
}

struct About {
    kind: &'static str,
    docs: &'static str,
    origin: &'static str,
}

/// What every registered kind has.
pub trait Entry: 'static {
    /// What a policy or the command line calls it.
    fn kind(&self) -> &'static str;

    /// Its manual, in Markdown.
    fn docs(&self) -> &'static str;

    /// The crate it came from, with its version.
    fn origin(&self) -> &'static str;

    /// Its first line of documentation, for lists.
    fn summary(&self) -> &'static str {
        let mut lines =
            self.docs().lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.next().unwrap_or_default()
    }
}

macro_rules! entry {
    ($($entry:ident),*) => {$(
        inventory::collect!($entry);

        impl Entry for $entry {
            fn kind(&self) -> &'static str {
                self.about.kind
            }

            fn docs(&self) -> &'static str {
                self.about.docs
            }

            fn origin(&self) -> &'static str {
                self.about.origin
            }
        }

        impl fmt::Debug for $entry {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} (from {})", self.about.kind, self.about.origin)
            }
        }
    )*};
}

entry!(DetectorEntry, SinkEntry, SourceEntry);

/// The kinds of detector, sink and source that a program knows.
#[derive(Debug)]
pub struct Registry {
    /// The kinds of detector.
    pub detectors: Kinds<DetectorEntry>,
    /// The kinds of sink.
    pub sinks: Kinds<SinkEntry>,
    /// The kinds of source.
    pub sources: Kinds<SourceEntry>,
}

impl Registry {
    /// Collects every kind linked into this program.
    pub fn linked() -> Result<Self, RegistryError> {
        Ok(Self {
            detectors: Kinds::new("detectors", inventory::iter::<DetectorEntry>)?,
            sinks: Kinds::new("sinks", inventory::iter::<SinkEntry>)?,
            sources: Kinds::new("sources", inventory::iter::<SourceEntry>)?,
        })
    }
}

/// Kinds of one sort, by name.
pub struct Kinds<E: 'static> {
    sort: &'static str,
    entries: BTreeMap<&'static str, &'static E>,
}

impl<E: Entry> Kinds<E> {
    /// Collects kinds of one sort, which is named in the plural.
    pub fn new(
        sort: &'static str,
        entries: impl IntoIterator<Item = &'static E>,
    ) -> Result<Self, RegistryError> {
        let mut res = BTreeMap::new();
        for entry in entries {
            if let Some(other) = res.insert(entry.kind(), entry) {
                // The linker decides which comes first; the message must not.
                let mut origins = [other.origin(), entry.origin()];
                origins.sort_unstable();
                return Err(RegistryError::Duplicate { sort, kind: entry.kind(), origins });
            }
        }
        Ok(Self { sort, entries: res })
    }

    /// Looks a kind up by name.
    pub fn get(&self, kind: &str) -> Result<&'static E, UnknownKind> {
        self.entries.get(kind).copied().ok_or_else(|| UnknownKind {
            sort: self.sort.strip_suffix('s').unwrap_or(self.sort),
            kind: kind.to_owned(),
            known: self.entries.keys().copied().collect(),
        })
    }

    /// All kinds, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &'static E> + '_ {
        self.entries.values().copied()
    }
}

impl<E: fmt::Debug> fmt::Debug for Kinds<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.values()).finish()
    }
}

/// Why the kinds linked into a program cannot live together.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two crates use one name.
    #[error("two {sort} are called `{kind}`: one from {}, one from {}", .origins[0], .origins[1])]
    Duplicate {
        /// What they are, in the plural.
        sort: &'static str,
        /// The name.
        kind: &'static str,
        /// The crates, sorted.
        origins: [&'static str; 2],
    },
}

/// A name that no linked kind has.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{sort} kind `{kind}` is not compiled in")]
pub struct UnknownKind {
    /// What was looked for: a detector, a sink or a source.
    pub sort: &'static str,
    /// The name.
    pub kind: String,
    /// The names there are, sorted.
    pub known: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::{DetectorEntry, Entry as _, Kinds};
    use crate::{Context, Detector, DetectorKind, Event, InvalidOption};

    #[derive(Clone, Debug)]
    struct Quiet;

    impl Detector for Quiet {
        fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
    }

    impl DetectorKind for Quiet {
        const KIND: &'static str = "quiet";
        const DOCS: &'static str = "# quiet\n\nFinds nothing.\n\nNever.\n";
        const CLASS: &'static str = "none";
        type Options = ();

        fn new((): ()) -> Result<Self, InvalidOption> {
            Ok(Self)
        }
    }

    static OURS: DetectorEntry = DetectorEntry::of::<Quiet>("watchkeeper-quiet 0.1.0");
    static THEIRS: DetectorEntry = DetectorEntry::of::<Quiet>("acme-quiet 3.2.1");

    #[test]
    fn two_kinds_of_one_name_are_refused_in_whatever_order_they_are_linked() {
        let message = "two detectors are called `quiet`: one from acme-quiet 3.2.1, \
                       one from watchkeeper-quiet 0.1.0";
        for entries in [[&OURS, &THEIRS], [&THEIRS, &OURS]] {
            let err = Kinds::new("detectors", entries).expect_err("two have one name");
            assert_eq!(err.to_string(), message);
        }
    }

    #[test]
    fn a_kind_that_was_not_linked_is_said_to_be_missing() {
        let kinds = Kinds::new("detectors", [&OURS]).expect("there is only one");
        let err = kinds.get("quite").expect_err("it is called `quiet`");
        assert_eq!(err.to_string(), "detector kind `quite` is not compiled in");
        assert_eq!(err.known, ["quiet"]);
        let found = kinds.get("quiet").expect("it is there");
        assert_eq!(
            (found.summary(), found.origin()),
            ("Finds nothing.", "watchkeeper-quiet 0.1.0")
        );
    }
}
