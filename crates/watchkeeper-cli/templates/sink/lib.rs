#![doc = include_str!("../README.md")]

use std::{fs, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Finding, InvalidOption, Sink, SinkKind,
    author::{Retry, SinkError},
};

/// Writes each finding to a file of its own.
#[derive(Debug)]
pub struct KindName {
    options: KindNameOptions,
}

/// The options of `kind = "kind-name"`.
///
/// A sink without options has an empty struct.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KindNameOptions {
    /// Folder of the files.
    folder: PathBuf,
}

watchkeeper_core::register_sink!(KindName);

impl SinkKind for KindName {
    const KIND: &'static str = "kind-name";
    const DOCS: &'static str = include_str!("../README.md");
    type Options = KindNameOptions;

    // No I/O here: `watchkeeper validate` also builds the sink.
    fn new(options: KindNameOptions) -> Result<Self, InvalidOption> {
        if options.folder.as_os_str().is_empty() {
            return Err(InvalidOption::new("folder", "name a folder"));
        }
        Ok(Self { options })
    }
}

impl Sink for KindName {
    fn open(&mut self) -> Result<(), SinkError> {
        Ok(fs::create_dir_all(&self.options.folder)?)
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        // No later attempt can succeed: the queue drops the finding.
        let json = serde_json::to_vec(finding)
            .map_err(|err| SinkError::refused("cannot write JSON").with_source(err))?;
        let file = self.options.folder.join(format!("{}.json", finding.id));
        let unfinished = file.with_extension("tmp");
        // `?` turns an I/O error into `SinkError::Unavailable`: the queue retries.
        fs::write(&unfinished, json)?;
        fs::rename(&unfinished, &file)?;
        Ok(())
    }

    fn retry(&self) -> Retry {
        Retry::new(5, Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;
    use watchkeeper_testing::sink;

    use super::KindName;

    fn options(folder: &tempfile::TempDir) -> String {
        format!("folder = {:?}", folder.path().join("findings"))
    }

    #[test]
    fn writes_a_file_for_each_finding() {
        let folder = tempfile::tempdir().unwrap();
        let finding = sink::finding();
        let results = sink::deliver::<KindName>(&options(&folder), &[finding.clone()]);
        assert!(results[0].is_ok(), "{results:?}");
        let file = folder.path().join(format!("findings/{}.json", finding.id));
        let json: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(json["message"], finding.message);
    }

    #[test]
    fn keeps_the_promises_of_sinks() {
        let folder = tempfile::tempdir().unwrap();
        sink::check::<KindName>(&options(&folder));
    }
}
