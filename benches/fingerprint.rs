//! The cost of fingerprints.

use std::{hint::black_box, io};

use watchkeeper_core::Fingerprint;

use crate::{
    Plan, measure,
    table::{Figure, Row},
};

const BLOCK: usize = 10_000;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let arguments = arguments();
    let output = output();
    let of_json = |text: &str| Fingerprint::of_json(text, &["description"]);
    Ok(vec![
        row("fingerprint, 1 KB of JSON", &arguments, of_json, plan)?,
        row("fingerprint, 1 KB of output", &output, Fingerprint::of_output, plan)?,
    ])
}

fn row(
    name: &str,
    text: &str,
    fingerprint: impl Fn(&str) -> Fingerprint,
    plan: &Plan,
) -> io::Result<Row> {
    let (mut nanos, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(15) {
        nanos.push(cost(text, &fingerprint)?);
        plain.push(cost(text, |it| Fingerprint::of(it))?);
    }
    let (nanos, plain) = (measure::median(nanos), measure::median(plain));
    let remark = format!("relative to a plain hash: {}", Figure::Nanos(plain));
    Ok(Row::new(name, Figure::Nanos(nanos)).times(nanos / plain).remark(remark))
}

fn cost(text: &str, fingerprint: impl Fn(&str) -> Fingerprint) -> io::Result<f64> {
    let before = measure::thread_cpu()?;
    for _ in 0..BLOCK {
        black_box(fingerprint(black_box(text)));
    }
    Ok(measure::each(measure::thread_cpu()? - before, BLOCK))
}

/// Returns the arguments of an edit.
fn arguments() -> String {
    let code =
        r#"    let anchor = self.harbor.drop(keel, 17)?;\n    assert_eq!(anchor, \"held\");\n"#;
    let (old, new) = (code.repeat(5), code.repeat(6));
    format!(
        r#"{{"file_path":"/proj/harbor/src/keel.rs","old_string":"{old}","new_string":"{new}","replace_all":false,"description":"Drop the anchor","limit":200}}"#
    )
}

/// Returns the output of a test run.
fn output() -> String {
    let line = "test harbor::keel::drops_an_anchor ... ok (0.013s)\n";
    format!("running 20 tests at 7f3c2a1 on 2026-01-01T10:00:05\n{}", line.repeat(19))
}
