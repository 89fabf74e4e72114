//! `watchkeeper new`: creates the crate of a detector, a sink or a source.

mod dependencies;
mod error;
mod names;
mod templates;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use watchkeeper_core::{
    author::make_safe,
    embed::{Entry, Registry},
};

pub(crate) use self::error::NewError;
use self::{
    dependencies::Checkout,
    templates::{Scaffold, Template},
};
use crate::{
    error::Error,
    global::Global,
    output::{Output, Status, Style},
};

/// Create a crate with a detector, a sink or a source of your own
#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(subcommand)]
    kind: NewKind,
}

#[derive(Debug, Subcommand)]
enum NewKind {
    /// Create a crate with a detector, and a program that links it
    Detector(NewCrate),
    /// Create a crate with a sink, and a program that links it
    Sink(NewCrate),
    /// Create a crate with a source, and a program that links it
    Source(NewCrate),
}

#[derive(Debug, Args)]
struct NewCrate {
    /// Name of the kind and of the crate, in kebab-case with a prefix of your own, such as
    /// `acme-banned-tool`
    name: String,

    /// Folder in which to create the folder of the crate
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    parent: PathBuf,

    /// Depend on the crates of this checkout of watchkeeper instead of the published ones
    #[arg(long, value_name = "CHECKOUT")]
    path: Option<PathBuf>,
}

impl New {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let (scaffold, new_crate) = match &self.kind {
            NewKind::Detector(new_crate) => (&templates::DETECTOR, new_crate),
            NewKind::Sink(new_crate) => (&templates::SINK, new_crate),
            NewKind::Source(new_crate) => (&templates::SOURCE, new_crate),
        };
        let taken = match &self.kind {
            NewKind::Detector(new) => origin(registry.detectors.get(&new.name)),
            NewKind::Sink(new) => origin(registry.sinks.get(&new.name)),
            NewKind::Source(new) => origin(registry.sources.get(&new.name)),
        };
        let folder = new_crate.write(scaffold, taken, registry)?;
        if !global.quiet {
            let Scaffold { sort, next_steps, .. } = scaffold;
            let name = &new_crate.name;
            let folder = make_safe(&folder.display().to_string());
            let created = Style::Green.paint("Created", output.styles.err);
            let next_steps = next_steps.replace("kind-name", name);
            writeln!(
                output.err,
                "{created} {sort} `{name}` in {folder}\n\nNext steps:\n  cd {folder}\n{next_steps}"
            )?;
        }
        Ok(Status::Success)
    }
}

/// Returns the origin of a linked kind.
fn origin<E: Entry, U>(found: Result<&'static E, U>) -> Option<&'static str> {
    found.ok().map(Entry::origin)
}

impl NewCrate {
    /// Writes all files. Returns the folder of the crate.
    fn write(
        &self,
        scaffold: &Scaffold,
        taken: Option<&'static str>,
        registry: &Registry,
    ) -> Result<PathBuf, NewError> {
        let Self { name, parent, path } = self;
        names::check(name, scaffold.sort, taken, scaffold.identifiers())?;
        let checkout = path.as_deref().map(Checkout::open).transpose()?;

        let folder = parent.join(name);
        let io_error = |path: &Path| {
            let path = path.to_owned();
            |source: io::Error| NewError::Io { path, source }
        };
        fs::create_dir_all(parent).map_err(io_error(parent))?;
        // Fails for an existing folder, so that no file is overwritten.
        fs::create_dir(&folder).map_err(|err| match err.kind() {
            io::ErrorKind::AlreadyExists => NewError::FolderExists { path: folder.clone() },
            _ => io_error(&folder)(err),
        })?;
        let real_folder = fs::canonicalize(&folder).map_err(io_error(&folder))?;

        let template = Template { name, checkout: checkout.as_ref(), registry };
        for (relative, text) in scaffold.files() {
            let file = folder.join(relative);
            let real_parent = real_folder.join(relative).parent().map(Path::to_owned);
            let real_parent = real_parent.unwrap_or_else(|| real_folder.clone());
            fs::create_dir_all(&real_parent)
                .and_then(|()| File::create_new(&file))
                .and_then(|mut new| new.write_all(template.fill(text, &real_parent).as_bytes()))
                .map_err(io_error(&file))?;
        }
        Ok(folder)
    }
}
