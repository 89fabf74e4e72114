//! The built-in policy.

use std::path::Path;

/// The name of the built-in policy, for `extends` and [`Loader::load`].
///
/// [`Loader::load`]: crate::Loader::load
pub const BUILTIN_DEFAULT: &str = "builtin:default";

/// The text of the built-in policy. Its comments document the defaults.
pub const BUILTIN: &str = include_str!("default.toml");

/// Returns the text of the built-in policy with the given name, or `None` if
/// no built-in policy has this name.
pub fn builtin(name: &Path) -> Option<&'static str> {
    (name == Path::new(BUILTIN_DEFAULT)).then_some(BUILTIN)
}
