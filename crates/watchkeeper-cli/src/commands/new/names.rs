//! Names of kinds, and the names of types that follow from them.

use super::NewError;

/// The longest name of a package that registries accept.
const MAX_LEN: usize = 64;

/// Checks the name of a new kind.
///
/// `sort` is `detector`, `sink` or `source`. `taken` is the origin of a linked kind with this
/// name. `identifiers` are the names in the generated code.
pub(super) fn check(
    name: &str,
    sort: &'static str,
    taken: Option<&'static str>,
    mut identifiers: impl Iterator<Item = &'static str>,
) -> Result<(), NewError> {
    let owned = name.to_owned();
    if !is_kebab_case(name) {
        let suggestion = kebab_case(name).filter(|name| name.len() <= MAX_LEN);
        return Err(NewError::NotKebabCase { name: owned, suggestion });
    }
    if !name.contains('-') {
        return Err(NewError::NoPrefix { name: owned });
    }
    if name.starts_with("watchkeeper-") {
        return Err(NewError::ReservedPrefix { name: owned });
    }
    if let Some(origin) = taken {
        return Err(NewError::KindExists { sort, name: owned, origin });
    }
    let type_name = camel_case(name);
    if identifiers.any(|identifier| identifier == type_name) {
        return Err(NewError::TypeName { name: owned, type_name });
    }
    Ok(())
}

fn is_kebab_case(name: &str) -> bool {
    name.len() <= MAX_LEN
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.split('-').all(|part| {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !part.is_empty() && part.bytes().all(is_plain)
        })
}

/// Converts `BannedTool`, `banned_tool` and `Banned tool` to `banned-tool`. Adds a prefix to a
/// single word.
fn kebab_case(name: &str) -> Option<String> {
    let mut kebab = String::new();
    for c in name.chars() {
        let is_new_word = c.is_ascii_uppercase() || !c.is_ascii_alphanumeric();
        if is_new_word && !kebab.is_empty() && !kebab.ends_with('-') {
            kebab.push('-');
        }
        if c.is_ascii_alphanumeric() {
            kebab.push(c.to_ascii_lowercase());
        }
    }
    let kebab = kebab.trim_matches('-');
    if !kebab.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    Some(if kebab.contains('-') { kebab.to_owned() } else { format!("acme-{kebab}") })
}

/// Converts `banned-tool` to `BannedTool`.
pub(super) fn camel_case(name: &str) -> String {
    let mut camel = String::new();
    for part in name.split('-') {
        let mut chars = part.chars();
        camel.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::{camel_case, kebab_case};

    #[test]
    fn suggests_names_in_kebab_case() {
        for (name, suggestion) in [
            ("BannedTool", Some("banned-tool")),
            ("banned_tool", Some("banned-tool")),
            ("Banned  tool!", Some("banned-tool")),
            ("x", Some("acme-x")),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(kebab_case(name).as_deref(), suggestion, "{name}");
        }
    }

    #[test]
    fn derives_the_name_of_the_type() {
        assert_eq!(camel_case("acme-2-banned-tool"), "Acme2BannedTool");
    }
}
