//! The built-in policies.

use std::path::Path;

/// The name of the built-in policy that applies without another one, for `extends` and
/// [`Loader::load`].
///
/// [`Loader::load`]: crate::Loader::load
pub const BUILTIN_DEFAULT: &str = "builtin:default";

/// The text of the built-in policy [`BUILTIN_DEFAULT`]. Its comments document the defaults.
pub const BUILTIN: &str = include_str!("default.toml");

/// The names and the texts of all built-in policies.
pub const BUILTINS: [(&str, &str); 2] =
    [(BUILTIN_DEFAULT, BUILTIN), ("builtin:safe-session", include_str!("safe_session.toml"))];

/// Returns the text of the built-in policy with the given name, or `None` if
/// no built-in policy has this name.
pub fn builtin(name: &Path) -> Option<&'static str> {
    BUILTINS.iter().find(|(known, _)| name == Path::new(known)).map(|(_, text)| *text)
}

/// Returns the names of all built-in policies.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|(name, _)| *name)
}
