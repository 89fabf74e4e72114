use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use watchkeeper_core::{
    author::make_safe,
    embed::{Entry as _, Registry},
    quote,
};

use crate::{
    global::Global,
    output::{Output, Status, Style, quoted_path},
};

/// Begin a detector of your own, and a program that links it
#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Detector(NewDetector),
}

/// Write a crate with a detector, its manual and its tests, and a program that
/// links it
#[derive(Debug, Args)]
struct NewDetector {
    /// The name of its kind and of its crate, with a prefix of your own:
    /// `acme-banned-tool`
    name: String,

    /// The folder to make its folder in
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    parent: PathBuf,

    /// Take watchkeeper's crates from this checkout, and not from a registry
    #[arg(long, value_name = "CHECKOUT")]
    path: Option<PathBuf>,
}

/// What the crates of a new detector are written from, and where they go.
const FILES: &[(&str, &str)] = &[
    (".gitignore", "/target\n"),
    ("Cargo.toml", include_str!("../../templates/detector/detector.Cargo.toml")),
    ("README.md", include_str!("../../templates/detector/README.md")),
    ("policy.test.toml", include_str!("../../templates/detector/policy.test.toml")),
    ("policy.toml", include_str!("../../templates/detector/policy.toml")),
    ("program/Cargo.toml", include_str!("../../templates/detector/program.Cargo.toml")),
    ("program/src/main.rs", include_str!("../../templates/detector/main.rs")),
    ("src/lib.rs", LIB),
];
const LIB: &str = include_str!("../../templates/detector/lib.rs");

/// What begins the names of the crates of detectors that ship with watchkeeper.
const STOCK: &str = "watchkeeper-detector-";

impl New {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        let What::Detector(detector) = self.what;
        let folder = match detector.write(registry) {
            Ok(it) => it,
            Err(message) => return Ok(output.fail(&format!("error: {message}\n"))),
        };
        if !global.quiet {
            let NewDetector { name, .. } = &detector;
            let folder = make_safe(&folder.display().to_string());
            let created = Style::Green.paint("Created", output.styles.err);
            writeln!(
                output.err,
                "{created} detector `{name}` in {folder}, and a program that links it

Next:
  cd {folder}
  cargo test                           # it finds what it should, and keeps the laws
  cargo run -- explain {name}
  cargo run -- test                    # what the policy finds, in virtual time
  cargo run -- --policy policy.toml check

Then make it yours: src/lib.rs is the detector, README.md its manual."
            )?;
        }
        Ok(Status::Success)
    }
}

impl NewDetector {
    /// Writes all files, and gives the folder that they are in.
    fn write(&self, registry: &Registry) -> Result<PathBuf, String> {
        let Self { name, parent, path } = self;
        check_name(name, registry)?;
        let origin = Origin::new(path.as_deref())?;
        let template = Template::new(name, &origin, registry);

        let folder = parent.join(name);
        fs::create_dir_all(parent).map_err(|err| format!("{}: {err}", quoted_path(parent)))?;
        // Fails if it is there, so nothing can be written over.
        fs::create_dir(&folder).map_err(|err| match err.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{} is there already; nothing was written", quoted_path(&folder))
            }
            _ => format!("{}: {err}", quoted_path(&folder)),
        })?;
        for (file, text) in FILES {
            let file = folder.join(file);
            let write = || {
                fs::create_dir_all(file.parent().unwrap_or(&folder))?;
                File::create_new(&file)?.write_all(template.fill(text).as_bytes())
            };
            write().map_err(|err| format!("{}: {err}", quoted_path(&file)))?;
        }
        Ok(folder)
    }
}

fn check_name(name: &str, registry: &Registry) -> Result<(), String> {
    const LONGEST: usize = 64;
    let shown = quote(name);
    let is_kebab = name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.split('-').all(|part| {
            let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            !part.is_empty() && part.bytes().all(is_plain)
        });
    if !is_kebab {
        let hint = kebab(name).filter(|it| it.len() <= LONGEST);
        let hint = hint.map(|it| format!("; perhaps `{it}`")).unwrap_or_default();
        return Err(format!("{shown} is not in kebab-case{hint}"));
    }
    if !name.contains('-') {
        return Err(format!(
            "{shown} may be anyone's; give it a prefix of your own, as in `acme-{name}`"
        ));
    }
    if name.starts_with("watchkeeper-") {
        return Err(format!("{shown} is one of watchkeeper's own; use a prefix of your own"));
    }
    if let Ok(it) = registry.detectors.get(name) {
        return Err(format!("a detector {shown} is linked in already, from {}", it.origin()));
    }
    // The code has more words than its own.
    if words(LIB).any(|it| it == camel(name)) {
        return Err(format!("{shown} is a word of watchkeeper's own; use another"));
    }
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

/// `BannedTool`, `banned_tool` and `Banned tool` are `banned-tool`.
fn kebab(name: &str) -> Option<String> {
    let mut res = String::new();
    for c in name.chars() {
        let is_new_word = c.is_ascii_uppercase() || !c.is_ascii_alphanumeric();
        if is_new_word && !res.is_empty() && !res.ends_with('-') {
            res.push('-');
        }
        if c.is_ascii_alphanumeric() {
            res.push(c.to_ascii_lowercase());
        }
    }
    let res = res.trim_matches('-');
    let is_name = res.starts_with(|c: char| c.is_ascii_lowercase());
    is_name.then(|| if res.contains('-') { res.to_owned() } else { format!("acme-{res}") })
}

/// `banned-tool` is `BannedTool`.
fn camel(name: &str) -> String {
    let mut res = String::new();
    for part in name.split('-') {
        let mut chars = part.chars();
        res.extend(chars.next().map(|it| it.to_ascii_uppercase()));
        res.push_str(chars.as_str());
    }
    res
}

/// Where watchkeeper's crates come from.
enum Origin {
    Registry,
    Checkout(PathBuf),
}

impl Origin {
    fn new(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::Registry) };
        let shown = quoted_path(path);
        let root = fs::canonicalize(path).map_err(|err| format!("{shown}: {err}"))?;
        if !root.join("crates/watchkeeper-core/Cargo.toml").is_file() {
            return Err(format!("{shown} is no checkout of watchkeeper"));
        }
        Ok(Self::Checkout(root))
    }

    /// The line of a `Cargo.toml` that depends on one of our crates.
    fn dependency(&self, name: &str, version: &str) -> String {
        match self {
            Self::Registry => format!("{name} = \"{version}\""),
            Self::Checkout(root) => {
                let folder = match name.strip_prefix(STOCK) {
                    Some(kind) => root.join("detectors").join(kind),
                    None => root.join("crates").join(name),
                };
                let folder = serde_json::Value::from(folder.to_string_lossy());
                format!("{name} = {{ path = {folder} }}")
            }
        }
    }
}

/// Fills in what differs from detector to detector.
struct Template<'a> {
    name: &'a str,
    origin: &'a Origin,
    /// The crates of the detectors that ship with watchkeeper, and their versions.
    stock: Vec<(&'static str, &'static str)>,
}

impl<'a> Template<'a> {
    fn new(name: &'a str, origin: &'a Origin, registry: &Registry) -> Self {
        let mut stock: Vec<_> = registry
            .detectors
            .iter()
            .filter_map(|it| it.origin().split_once(' '))
            .filter(|(name, _)| name.starts_with(STOCK))
            .collect();
        stock.sort_unstable();
        stock.dedup();
        Self { name, origin, stock }
    }

    fn fill(&self, text: &str) -> String {
        let mut res = String::new();
        for line in text.lines() {
            let lines = match line.strip_suffix(" = \"0.0.0\"") {
                Some("stock-detectors") => {
                    let lines =
                        self.stock.iter().map(|(it, version)| self.origin.dependency(it, version));
                    lines.collect()
                }
                Some(ours) => vec![self.origin.dependency(ours, env!("CARGO_PKG_VERSION"))],
                None if line == "use linked_detectors as _;" => {
                    let stock = self.stock.iter().map(|(it, _)| *it);
                    let mut crates: Vec<String> =
                        stock.chain([self.name]).map(|it| it.replace('-', "_")).collect();
                    crates.sort_unstable();
                    crates.iter().map(|it| format!("use {it} as _;")).collect()
                }
                None => vec![
                    line.replace("detector-name", self.name)
                        .replace("DetectorName", &camel(self.name)),
                ],
            };
            for line in lines {
                res.push_str(&line);
                res.push('\n');
            }
        }
        res
    }
}

#[cfg(test)]
mod tests {
    use super::{camel, kebab};

    #[test]
    fn names_are_put_right() {
        let right = ["BannedTool", "banned_tool", "Banned  tool!", "x", "7", ""].map(kebab);
        let right = right.map(Option::unwrap_or_default);
        assert_eq!(right, ["banned-tool", "banned-tool", "banned-tool", "acme-x", "", ""]);
        assert_eq!(camel("acme-2-banned-tool"), "Acme2BannedTool");
    }
}
