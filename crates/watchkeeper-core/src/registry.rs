use std::{
    any,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use thiserror::Error;

use crate::{
    Database, Detector, DetectorKind, Environment, Level, Options, OptionsError, Sink, SinkKind,
    Source, SourceKind, Unit, source::matches_name,
};

/// Registers a kind of detector with every program that links this crate: a
/// line such as `watchkeeper_core::register!(Timeout);` in the crate of the
/// kind.
///
/// Cargo links a crate only if the program names it (`use acme_detector as _;`).
/// [`RegistryBuilder::detector`] registers a kind without a macro.
#[macro_export]
macro_rules! register {
    ($kind:ty) => {
        $crate::register!(@submit DetectorEntry, $kind);
    };
    (@submit $entry:ident, $kind:ty) => {
        $crate::private::submit! {
            $crate::private::$entry::of::<$kind>(
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

/// A kind of detector that the program knows.
pub struct DetectorEntry {
    about: About,
    /// The class of its findings.
    pub class: &'static str,
    /// The unit of its measure.
    pub unit: Unit,
    /// The levels of a policy that sets none.
    pub levels: &'static [Level],
    /// The level of a policy that sets one severity.
    pub limit: u64,
    build: fn(Options<'_>) -> Result<Box<dyn Detector>, OptionsError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl DetectorEntry {
    /// Describes the kind `D`, for [`register!`](crate::register).
    #[doc(hidden)]
    pub const fn of<D: DetectorKind>(package: &'static str) -> Self {
        Self::new::<D>(EntryOrigin::Package(package))
    }

    const fn new<D: DetectorKind>(origin: EntryOrigin) -> Self {
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

    /// Returns the JSON schema of the kind's table in a policy.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

/// A kind of sink that the program knows.
pub struct SinkEntry {
    about: About,
    build: fn(Options<'_>) -> Result<Box<dyn Sink>, OptionsError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl SinkEntry {
    /// Describes the kind `S`, for [`register_sink!`](crate::register_sink).
    #[doc(hidden)]
    pub const fn of<S: SinkKind>(package: &'static str) -> Self {
        Self::new::<S>(EntryOrigin::Package(package))
    }

    const fn new<S: SinkKind>(origin: EntryOrigin) -> Self {
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

    /// Returns the JSON schema of the kind's table in a policy.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

/// A kind of source that the program knows.
pub struct SourceEntry {
    about: About,
    recognizes: fn(&Path, &[u8]) -> bool,
    folders: fn(&Environment<'_>) -> Vec<PathBuf>,
    files: &'static [&'static str],
    is_rewritten: bool,
    database: Option<Database>,
    open: fn(&Path) -> Box<dyn Source>,
}

impl SourceEntry {
    /// Describes the kind `S`, for [`register_source!`](crate::register_source).
    #[doc(hidden)]
    pub const fn of<S: SourceKind>(package: &'static str) -> Self {
        Self::new::<S>(EntryOrigin::Package(package))
    }

    const fn new<S: SourceKind>(origin: EntryOrigin) -> Self {
        Self {
            about: About { kind: S::KIND, docs: S::DOCS, origin },
            recognizes: |path, head| S::recognizes(path, head),
            folders: |environment| S::folders(environment),
            files: S::FILES,
            is_rewritten: S::IS_REWRITTEN,
            database: S::DATABASE,
            open: |path| Box::new(S::new(path)),
        }
    }

    /// Returns whether a file whose first bytes are `head` has this kind's format.
    pub fn recognizes(&self, path: &Path, head: &[u8]) -> bool {
        (self.recognizes)(path, head)
    }

    /// Returns the folders in which the agent keeps its sessions on this machine.
    pub fn folders(&self, environment: &Environment<'_>) -> Vec<PathBuf> {
        (self.folders)(environment)
    }

    /// Returns whether the name of the file at `path` is one that the kind reads
    /// in folders: see [`SourceKind::FILES`].
    pub fn reads_name(&self, path: &Path) -> bool {
        matches_name(self.files, path)
    }

    /// Returns whether the agent replaces the whole file instead of appending
    /// lines.
    pub fn is_rewritten(&self) -> bool {
        self.is_rewritten
    }

    /// Returns the lines of the agent's database, if the agent has one.
    pub fn database(&self) -> Option<Database> {
        self.database
    }

    /// Returns a reader for one file of this kind.
    pub fn open(&self, path: &Path) -> Box<dyn Source> {
        (self.open)(path)
    }
}

/// The name, manual and origin of a kind.
struct About {
    kind: &'static str,
    docs: &'static str,
    origin: EntryOrigin,
}

/// The place that registered a kind.
enum EntryOrigin {
    /// A package, with its version: one of the `register` macros.
    Package(&'static str),
    /// The program, which named this type: a [`RegistryBuilder`].
    Type(fn() -> &'static str),
}

impl EntryOrigin {
    fn name(&self) -> &'static str {
        match self {
            Self::Package(package) => package,
            Self::Type(name) => name(),
        }
    }
}

mod sealed {
    /// Keeps [`Entry`](super::Entry) to the entries of this module.
    pub trait Sealed {}
}

/// The common part of [`DetectorEntry`], [`SinkEntry`] and [`SourceEntry`].
pub trait Entry: sealed::Sealed + 'static {
    /// Returns the name of the kind in policies and on the command line.
    fn kind(&self) -> &'static str;

    /// Returns the manual of the kind, in Markdown.
    fn docs(&self) -> &'static str;

    /// Returns the package that registered the kind, with its version, or the
    /// path of the type if the program registered it by itself.
    fn origin(&self) -> &'static str;

    /// Returns the first line of the manual that is not a heading, for lists.
    fn summary(&self) -> &'static str {
        let mut lines =
            self.docs().lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.next().unwrap_or_default()
    }
}

macro_rules! entry {
    ($($entry:ident),*) => {$(
        inventory::collect!($entry);

        impl sealed::Sealed for $entry {}

        impl Entry for $entry {
            fn kind(&self) -> &'static str {
                self.about.kind
            }

            fn docs(&self) -> &'static str {
                self.about.docs
            }

            fn origin(&self) -> &'static str {
                self.about.origin.name()
            }
        }

        impl fmt::Debug for $entry {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} (from {})", self.kind(), self.origin())
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
    /// Collects the kinds that the crates linked into this program register.
    pub fn linked() -> Result<Self, RegistryError> {
        Self::builder().build()
    }

    /// Returns a builder, which adds kinds to those linked into this program.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }
}

/// Builds a registry of the kinds that linked crates register and further kinds.
///
/// ```
/// # use watchkeeper_core::{Context, Detector, DetectorKind, Event, InvalidOption, embed::{Entry, Registry}};
/// # #[derive(Clone, Debug)]
/// # struct Quiet;
/// # impl Detector for Quiet {
/// #     fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
/// # }
/// # impl DetectorKind for Quiet {
/// #     const KIND: &'static str = "quiet";
/// #     const DOCS: &'static str = "# quiet\n\nReports nothing.\n";
/// #     const CLASS: &'static str = "none";
/// #     type Options = ();
/// #     fn new((): ()) -> Result<Self, InvalidOption> {
/// #         Ok(Self)
/// #     }
/// # }
/// let registry = Registry::builder().detector::<Quiet>().build()?;
/// assert!(registry.detectors.iter().any(|entry| entry.kind() == "quiet"));
/// # Ok::<(), watchkeeper_core::embed::RegistryError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RegistryBuilder {
    detectors: Vec<&'static DetectorEntry>,
    sinks: Vec<&'static SinkEntry>,
    sources: Vec<&'static SourceEntry>,
}

impl RegistryBuilder {
    /// Adds a kind of detector.
    #[must_use]
    pub fn detector<D: DetectorKind>(mut self) -> Self {
        let entry = const { &DetectorEntry::new::<D>(EntryOrigin::Type(any::type_name::<D>)) };
        self.detectors.push(entry);
        self
    }

    /// Adds a kind of sink.
    #[must_use]
    pub fn sink<S: SinkKind>(mut self) -> Self {
        let entry = const { &SinkEntry::new::<S>(EntryOrigin::Type(any::type_name::<S>)) };
        self.sinks.push(entry);
        self
    }

    /// Adds a kind of source.
    #[must_use]
    pub fn source<S: SourceKind>(mut self) -> Self {
        let entry = const { &SourceEntry::new::<S>(EntryOrigin::Type(any::type_name::<S>)) };
        self.sources.push(entry);
        self
    }

    /// Builds the registry. Returns an error if two kinds of one sort have the
    /// same name.
    pub fn build(self) -> Result<Registry, RegistryError> {
        let Self { detectors, sinks, sources } = self;
        let linked_detectors = inventory::iter::<DetectorEntry>.into_iter();
        let linked_sinks = inventory::iter::<SinkEntry>.into_iter();
        let linked_sources = inventory::iter::<SourceEntry>.into_iter();
        Ok(Registry {
            detectors: Kinds::new("detectors", linked_detectors.chain(detectors))?,
            sinks: Kinds::new("sinks", linked_sinks.chain(sinks))?,
            sources: Kinds::new("sources", linked_sources.chain(sources))?,
        })
    }
}

/// Kinds of one sort, by name.
pub struct Kinds<E: 'static> {
    sort: &'static str,
    entries: BTreeMap<&'static str, &'static E>,
}

impl<E: Entry> Kinds<E> {
    /// Collects kinds of one sort; `sort` is its plural, such as `detectors`.
    pub fn new(
        sort: &'static str,
        entries: impl IntoIterator<Item = &'static E>,
    ) -> Result<Self, RegistryError> {
        let mut by_name = BTreeMap::new();
        for entry in entries {
            if let Some(other) = by_name.insert(entry.kind(), entry) {
                // The linker decides the order of entries; the message must not
                // depend on it.
                let mut origins = [other.origin(), entry.origin()];
                origins.sort_unstable();
                return Err(RegistryError::Duplicate { sort, kind: entry.kind(), origins });
            }
        }
        Ok(Self { sort, entries: by_name })
    }

    /// Returns the kind with this name.
    pub fn get(&self, kind: &str) -> Result<&'static E, UnknownKind> {
        self.entries.get(kind).copied().ok_or_else(|| UnknownKind {
            sort: self.sort.strip_suffix('s').unwrap_or(self.sort),
            kind: kind.to_owned(),
            known: self.entries.keys().copied().collect(),
        })
    }

    /// Returns all kinds, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &'static E> + '_ {
        self.entries.values().copied()
    }
}

impl<E: fmt::Debug> fmt::Debug for Kinds<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.values()).finish()
    }
}

/// A registry that could not be built.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two kinds of one sort have the same name.
    #[error("two {sort} are called `{kind}`: one from {}, one from {}", .origins[0], .origins[1])]
    Duplicate {
        /// The sort, in the plural: `detectors`, `sinks` or `sources`.
        sort: &'static str,
        /// The shared name.
        kind: &'static str,
        /// The origins of both, sorted; see [`Entry::origin`].
        origins: [&'static str; 2],
    },
}

/// The name of a kind that the registry does not contain.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{sort} kind `{kind}` is not compiled in")]
#[non_exhaustive]
pub struct UnknownKind {
    /// The sort: `detector`, `sink` or `source`.
    pub sort: &'static str,
    /// The unknown name.
    pub kind: String,
    /// The names of all kinds of this sort, sorted.
    pub known: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::{DetectorEntry, Entry as _, Kinds, Registry};
    use crate::{Context, Detector, DetectorKind, Event, InvalidOption};

    #[derive(Clone, Debug)]
    struct Quiet;

    impl Detector for Quiet {
        fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
    }

    impl DetectorKind for Quiet {
        const KIND: &'static str = "quiet";
        const DOCS: &'static str = "# quiet\n\nReports nothing.\n\nNever.\n";
        const CLASS: &'static str = "none";
        type Options = ();

        fn new((): ()) -> Result<Self, InvalidOption> {
            Ok(Self)
        }
    }

    static OURS: DetectorEntry = DetectorEntry::of::<Quiet>("watchkeeper-quiet 0.1.0");
    static THEIRS: DetectorEntry = DetectorEntry::of::<Quiet>("acme-quiet 3.2.1");

    #[test]
    fn refuses_two_kinds_with_one_name_in_any_link_order() {
        let message = "two detectors are called `quiet`: one from acme-quiet 3.2.1, \
                       one from watchkeeper-quiet 0.1.0";
        for entries in [[&OURS, &THEIRS], [&THEIRS, &OURS]] {
            let err = Kinds::new("detectors", entries).expect_err("both are called `quiet`");
            assert_eq!(err.to_string(), message);
        }
    }

    #[test]
    fn an_unknown_kind_is_an_error_that_lists_the_known_kinds() {
        let kinds = Kinds::new("detectors", [&OURS]).expect("there is one kind");
        let err = kinds.get("quite").expect_err("the kind is called `quiet`");
        assert_eq!(err.to_string(), "detector kind `quite` is not compiled in");
        assert_eq!(err.known, ["quiet"]);
        let found = kinds.get("quiet").expect("`quiet` is registered");
        assert_eq!(
            (found.summary(), found.origin()),
            ("Reports nothing.", "watchkeeper-quiet 0.1.0")
        );
    }

    #[test]
    fn a_program_adds_kinds_without_a_macro() {
        let registry = Registry::builder().detector::<Quiet>().build().expect("one is `quiet`");
        let entry = registry.detectors.get("quiet").expect("`quiet` is registered");
        assert_eq!(entry.origin(), "watchkeeper_core::registry::tests::Quiet");
    }

    #[test]
    fn refuses_a_kind_that_is_added_twice() {
        let err = Registry::builder().detector::<Quiet>().detector::<Quiet>().build();
        let message = "two detectors are called `quiet`: \
                       one from watchkeeper_core::registry::tests::Quiet, \
                       one from watchkeeper_core::registry::tests::Quiet";
        assert_eq!(err.expect_err("both are called `quiet`").to_string(), message);
    }
}
