//! Reads `required_version`.

use std::str::FromStr;

use crate::{diagnostic::Diagnostic, diagnostic_list::DiagnosticList, tree::Table};

/// The version of this program.
const PRESENT: &str = env!("CARGO_PKG_VERSION");
const EXAMPLE: &str = "write a requirement such as `\">=0.2\"` or `\">=0.2, <0.5\"`";

/// Conditions on the version of the program, such as `>=0.2, <1`.
#[derive(Debug)]
struct Requirement(Vec<(Comparison, Version)>);

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    Less,
    AtMost,
    AtLeast,
    Greater,
}

/// The numbers of a version; the missing ones are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version([u32; 3]);

/// The text is not a requirement.
#[derive(Debug)]
struct ParseError;

/// Returns whether this program has the version that a file requires, and reports it otherwise.
pub(crate) fn is_met(file: &Table<'_>, diagnostics: &mut DiagnosticList) -> bool {
    let Some(value) = file.get("required_version") else { return true };
    let requirement = value.get_ref().as_str().and_then(|text| text.parse::<Requirement>().ok());
    let Some(requirement) = requirement else {
        let message = "`required_version` is not a requirement";
        diagnostics.push(Diagnostic::error(value.span(), message).note(EXAMPLE));
        return false;
    };
    if PRESENT.parse().is_ok_and(|present| requirement.is_met_by(present)) {
        return true;
    }
    let message = format!("this program has version {PRESENT}, which the policy does not accept");
    let note = "use a version of Watchkeeper that meets `required_version`";
    diagnostics.push(Diagnostic::error(value.span(), message).note(note));
    false
}

impl Requirement {
    fn is_met_by(&self, version: Version) -> bool {
        self.0.iter().all(|(comparison, other)| match comparison {
            Comparison::Equal => version == *other,
            Comparison::Less => version < *other,
            Comparison::AtMost => version <= *other,
            Comparison::AtLeast => version >= *other,
            Comparison::Greater => version > *other,
        })
    }
}

impl FromStr for Requirement {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // A sign comes before a sign that is the start of it.
        const SIGNS: [(&str, Comparison); 6] = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        let condition = |part: &str| {
            let part = part.trim();
            let (comparison, version) = SIGNS
                .iter()
                .find_map(|(sign, comparison)| Some((*comparison, part.strip_prefix(sign)?)))
                .ok_or(ParseError)?;
            Ok((comparison, version.trim().parse()?))
        };
        text.split(',').map(condition).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Version {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut numbers = [0; 3];
        // A pre-release counts as its release.
        let release = text.split(['-', '+']).next().unwrap_or("");
        for (part_idx, part) in release.split('.').enumerate() {
            let number = numbers.get_mut(part_idx).ok_or(ParseError)?;
            *number = part.parse().map_err(|_| ParseError)?;
        }
        Ok(Self(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::{Requirement, Version};

    fn is_met(requirement: &str, version: &str) -> Option<bool> {
        let requirement: Requirement = requirement.parse().ok()?;
        let version: Version = version.parse().expect("the version is valid");
        Some(requirement.is_met_by(version))
    }

    #[test]
    fn compares_versions_by_their_numbers() {
        for (requirement, version, expected) in [
            (">=0.2", "0.1.9", Some(false)),
            (">=0.2", "0.2.0", Some(true)),
            (">=0.2", "0.10.0", Some(true)),
            (">0.2", "0.2.0", Some(false)),
            ("<=1", "1.0.0-beta.1", Some(true)),
            ("<1", "1.0.0", Some(false)),
            ("==0.3.1", "0.3.1", Some(true)),
            (">=0.2, <0.5", "0.5.0", Some(false)),
            (">=0.2,<0.5", "0.4.7", Some(true)),
            ("0.2", "0.2.0", None),
            ("^0.2", "0.2.0", None),
            (">=", "0.2.0", None),
            (">=0.2.0.1", "0.2.0", None),
            ("", "0.2.0", None),
        ] {
            assert_eq!(is_met(requirement, version), expected, "{requirement} {version}");
        }
    }
}
