/// The reference of policies, in Markdown.
pub const REFERENCE: &str = include_str!("../reference.md");

/// Returns the section of the [`REFERENCE`] with this name, or else the sections that
/// list a key of this name. Returns no section for an unknown name.
pub fn reference(name: &str) -> Vec<&'static str> {
    let is_about = |section: &&str| title(section) == name;
    if let Some(section) = sections().find(is_about) {
        return vec![section];
    }
    sections().filter(|section| keys(section).any(|key| key == name)).collect()
}

/// Returns the names of all sections and keys of the [`REFERENCE`].
pub fn reference_names() -> impl Iterator<Item = &'static str> {
    sections().flat_map(|section| keys(section).chain([title(section)]))
}

/// Returns the sections, without the marks of their titles.
fn sections() -> impl Iterator<Item = &'static str> {
    REFERENCE.split("\n## ").map(|section| section.trim_start_matches("# "))
}

fn title(section: &str) -> &str {
    section.lines().next().unwrap_or("")
}

/// Returns the names in the first columns of the tables of a section.
fn keys(section: &str) -> impl Iterator<Item = &str> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells.flat_map(|cell| cell.split("`, `")).map(|key| key.trim_end_matches('`'))
}

#[cfg(test)]
mod tests {
    use super::{keys, reference, reference_names, sections, title};
    use crate::{
        detectors::{DETECTOR_KEYS, LEVEL_KEYS},
        exceptions::EXCEPTION_KEYS,
        labels::LABEL_KEYS,
        overrides::OVERRIDE_KEYS,
        reader::SECTIONS,
        routes::{MATCH_KEYS, ROUTE_KEYS},
        secrets,
        settings::MONITOR_KEYS,
        silences::SILENCE_KEYS,
        sinks::SINK_KEYS,
    };

    #[test]
    fn every_key_is_in_its_section() {
        for (name, expected) in [
            ("monitor", &[MONITOR_KEYS][..]),
            ("labels", &[LABEL_KEYS]),
            ("secrets", &[secrets::KEYS]),
            ("detectors", &[DETECTOR_KEYS, EXCEPTION_KEYS, LEVEL_KEYS]),
            ("overrides", &[OVERRIDE_KEYS]),
            ("sinks", &[SINK_KEYS]),
            ("routes", &[ROUTE_KEYS, MATCH_KEYS]),
            ("silences", &[SILENCE_KEYS]),
            ("heartbeat", &[&["enabled", "every"]]),
        ] {
            let section = sections().find(|section| title(section) == name).unwrap();
            let mut expected: Vec<&str> = expected.concat();
            let mut found: Vec<&str> = keys(section).filter(|key| !key.contains(':')).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}");
        }
        for name in SECTIONS {
            assert!(!reference(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn sections_are_found_by_their_names_and_keys() {
        let titles = |name| -> Vec<&str> { reference(name).into_iter().map(title).collect() };
        for (name, expected) in [
            ("labels", &["labels"][..]),
            ("per", &["detectors"]),
            ("action", &["detectors"]),
            ("send_resolved", &["routes"]),
            ("match", &["labels", "overrides", "routes", "silences"]),
            ("extends", &["Policy reference"]),
            ("class", &["routes"]),
            ("watchkeeper-delivery", &["watchkeeper"]),
            ("timeout", &[]),
        ] {
            assert_eq!(titles(name), expected, "{name}");
        }
        assert!(reference_names().all(|name| !reference(name).is_empty()));
    }
}
