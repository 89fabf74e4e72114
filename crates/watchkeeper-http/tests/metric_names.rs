//! The alerts and the dashboard of the documentation name metrics that exist.

use std::{collections::BTreeSet, fs, path::Path};

use watchkeeper_core::author::Numbers;

/// Returns the names of metrics in a text: those of recording rules have a colon.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let names = text.split(|c| !is_part(c)).filter(|name| name.starts_with("watchkeeper_"));
    names.filter(|name| !name.contains(':')).collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let known = Numbers::default().metrics();
    let known: BTreeSet<&str> = known.iter().map(|metric| metric.name).collect();
    for file in ["prometheus/rules.yml", "prometheus/rules.test.yml", "grafana/watchkeeper.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
        let text = fs::read_to_string(&path).expect("the file exists");
        let used = metrics(&text);
        assert!(3 < used.len(), "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let dashboard = "../../docs/grafana/watchkeeper.json";
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join(dashboard);
    let dashboard = fs::read_to_string(dashboard).expect("the file exists");
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("a dashboard is JSON");
}
