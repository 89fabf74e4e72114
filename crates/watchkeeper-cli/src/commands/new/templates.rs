//! The files of a new crate.

use std::path::Path;

use watchkeeper_core::embed::{Entry, Registry};

use super::{
    dependencies::{Checkout, DETECTOR_PREFIX, dependency},
    names::camel_case,
};

/// The files of a crate, before the names are filled in.
pub(super) struct Scaffold {
    /// `detector`, `sink` or `source`.
    pub(super) sort: &'static str,
    /// The commands to try first, and the files to change.
    pub(super) next_steps: &'static str,
    lib: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// The files of every crate.
const COMMON_FILES: &[(&str, &str)] = &[
    ("program/Cargo.toml", include_str!("../../../templates/program/program.Cargo.toml")),
    ("program/src/main.rs", include_str!("../../../templates/program/main.rs")),
];

pub(super) const DETECTOR: Scaffold = Scaffold {
    sort: "detector",
    next_steps: "  cargo test                            # run the tests of the detector
  cargo run -- explain kind-name
  cargo run -- test                     # run the tests of the policy
  cargo run -- --policy policy.toml check

Then edit src/lib.rs (the detector) and README.md (its manual).",
    lib: include_str!("../../../templates/detector/lib.rs"),
    files: &[
        (".gitignore", "/target\n"),
        ("Cargo.toml", include_str!("../../../templates/detector/detector.Cargo.toml")),
        ("README.md", include_str!("../../../templates/detector/README.md")),
        ("policy.test.toml", include_str!("../../../templates/detector/policy.test.toml")),
        ("policy.toml", include_str!("../../../templates/detector/policy.toml")),
    ],
};

pub(super) const SINK: Scaffold = Scaffold {
    sort: "sink",
    next_steps: "  cargo test                            # run the tests of the sink
  cargo run -- explain kind-name
  cargo run -- --policy policy.toml watch

Then edit src/lib.rs (the sink) and README.md (its manual).",
    lib: include_str!("../../../templates/sink/lib.rs"),
    files: &[
        (".gitignore", "/findings\n/target\n"),
        ("Cargo.toml", include_str!("../../../templates/sink/sink.Cargo.toml")),
        ("README.md", include_str!("../../../templates/sink/README.md")),
        ("policy.toml", include_str!("../../../templates/sink/policy.toml")),
    ],
};

pub(super) const SOURCE: Scaffold = Scaffold {
    sort: "source",
    next_steps: "  cargo test                            # run the tests of the source
  cargo run -- explain kind-name
  cargo run -- check samples            # check the sample session

Then edit src/lib.rs (the source), README.md (its manual) and samples.",
    lib: include_str!("../../../templates/source/lib.rs"),
    files: &[
        (".gitignore", "/target\n"),
        ("Cargo.toml", include_str!("../../../templates/source/source.Cargo.toml")),
        ("README.md", include_str!("../../../templates/source/README.md")),
        ("samples/r1.jsonl", include_str!("../../../templates/source/samples/r1.jsonl")),
    ],
};

impl Scaffold {
    /// Returns the paths and the texts of all files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let lib = ("src/lib.rs", self.lib);
        self.files.iter().chain(COMMON_FILES).copied().chain([lib])
    }

    /// Returns the words of the code, which include all names of types.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = &'static str> {
        self.lib.split(|c: char| !c.is_ascii_alphanumeric())
    }
}

/// The values that differ from crate to crate.
pub(super) struct Template<'a> {
    pub(super) name: &'a str,
    pub(super) checkout: Option<&'a Checkout>,
    pub(super) registry: &'a Registry,
}

impl Template<'_> {
    /// Fills in the text of a file in `folder`, which is absolute and without symbolic links.
    ///
    /// A line `NAME = "0.0.0"` becomes a dependency on that crate of watchkeeper, and
    /// `stock-detectors = "0.0.0"` one on each detector that ships with it. The line
    /// `use linked_crates as _;` becomes one line for each detector and for the new crate.
    pub(super) fn fill(&self, text: &str, folder: &Path) -> String {
        let dependency = |package, version| dependency(package, version, self.checkout, folder);
        let type_name = camel_case(self.name);
        let mut filled = String::new();
        for line in text.lines() {
            let lines = match line.strip_suffix(" = \"0.0.0\"") {
                Some("stock-detectors") => {
                    let packages = self.stock_detectors().into_iter();
                    packages.map(|(package, version)| dependency(package, version)).collect()
                }
                Some(package) => vec![dependency(package, env!("CARGO_PKG_VERSION"))],
                None if line == "use linked_crates as _;" => {
                    let stock = self.stock_detectors().into_iter().map(|(package, _)| package);
                    let mut crates: Vec<String> =
                        stock.chain([self.name]).map(|name| name.replace('-', "_")).collect();
                    crates.sort_unstable();
                    crates.iter().map(|name| format!("use {name} as _;")).collect()
                }
                None => {
                    vec![line.replace("kind-name", self.name).replace("KindName", &type_name)]
                }
            };
            for line in lines {
                filled.push_str(&line);
                filled.push('\n');
            }
        }
        filled
    }

    /// Returns the packages of the detectors that ship with watchkeeper, and their versions.
    fn stock_detectors(&self) -> Vec<(&'static str, &'static str)> {
        let origins = self.registry.detectors.iter().map(Entry::origin);
        let mut packages: Vec<_> = origins
            .filter_map(|origin| origin.split_once(' '))
            .filter(|(package, _)| package.starts_with(DETECTOR_PREFIX))
            .collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}
