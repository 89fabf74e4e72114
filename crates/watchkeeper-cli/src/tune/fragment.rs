use std::path::{Path, PathBuf};

use watchkeeper_core::{Level, Unit};
use watchkeeper_policy::{BUILTIN_DEFAULT, builtin, toml_key, toml_string};

use super::report::{DetectorReport, TuneReport};

/// Returns the text of a policy with the proposed levels, which extends the present
/// policy. `summary` explains the proposal in some lines.
pub(crate) fn fragment(report: &TuneReport, policy: Option<&Path>, summary: &[String]) -> String {
    let summary = summary.iter().map(|line| format!("# {line}\n")).collect::<Vec<_>>().concat();
    let base = toml_string(&base(policy).to_string_lossy());
    let changed = report.detectors.iter().filter(|detector| detector.proposed_levels.is_some());
    let tables = changed.map(table).collect::<Vec<_>>().concat();
    format!(
        "# Levels that `watchkeeper tune` proposes.\n{summary}\nversion = 1\n\
         extends = [{base}]\n{tables}"
    )
}

/// Returns the table of a detector.
fn table(detector: &DetectorReport) -> String {
    let proposed = detector.proposed_levels.as_deref().unwrap_or_default();
    let levels =
        proposed.iter().map(|level| format!("    {},\n", level_text(level, detector.unit)));
    let (id, levels) = (toml_key(&detector.detector), levels.collect::<Vec<_>>().concat());
    format!("\n[detectors.{id}]\nlevels = [\n{levels}]\n")
}

/// Returns a level in the syntax of a policy.
fn level_text(level: &Level, unit: Unit) -> String {
    let at = at_text(level.at, unit);
    let action = level.action.map(|action| format!(", action = \"{action}\""));
    format!("{{ at = {at}, severity = \"{}\"{} }}", level.severity, action.unwrap_or_default())
}

/// Returns the name of the present policy for `extends`. The path of a file is absolute,
/// so that the text can be written to any folder.
fn base(policy: Option<&Path>) -> PathBuf {
    match policy {
        None => BUILTIN_DEFAULT.into(),
        Some(path) if builtin(path).is_some() => path.to_owned(),
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

fn at_text(at: u64, unit: Unit) -> String {
    if unit == Unit::Percent { format!("\"{at}%\"") } else { at.to_string() }
}

/// Returns levels for people, such as `low 3, medium 4`.
pub(super) fn levels_text(levels: &[Level], unit: Unit) -> String {
    let percent = if unit == Unit::Percent { "%" } else { "" };
    let texts = levels.iter().map(|level| format!("{} {}{percent}", level.severity, level.at));
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Action, Level, Severity, Unit};

    use super::level_text;

    #[test]
    fn a_level_keeps_its_action() {
        let level = Level::new(4, Severity::Medium);
        assert_eq!(level_text(&level, Unit::Percent), r#"{ at = "4%", severity = "medium" }"#);
        assert_eq!(
            level_text(&level.with_action(Action::Nudge), Unit::Count),
            r#"{ at = 4, severity = "medium", action = "nudge" }"#
        );
    }
}
