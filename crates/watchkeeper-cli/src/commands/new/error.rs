use std::{io, path::PathBuf};

use thiserror::Error;
use watchkeeper_core::quote;

use crate::output::quoted_path;

/// The reason why no crate was created.
#[derive(Debug, Error)]
pub(crate) enum NewError {
    #[error("{} is not in kebab-case{}", quote(.name), hint(.suggestion.as_deref()))]
    NotKebabCase { name: String, suggestion: Option<String> },
    #[error("{} has no prefix; use one of your own, such as `acme-{name}`", quote(.name))]
    NoPrefix { name: String },
    #[error("{} has the prefix of watchkeeper; use one of your own", quote(.name))]
    ReservedPrefix { name: String },
    #[error("{sort} {} exists already, in {origin}; use another name", quote(.name))]
    KindExists { sort: &'static str, name: String, origin: &'static str },
    #[error("{} gives the type `{type_name}`, which the code uses already; use another name", quote(.name))]
    TypeName { name: String, type_name: String },
    #[error("{} exists already; no files were written", quoted_path(.path))]
    FolderExists { path: PathBuf },
    #[error("{} is not a checkout of watchkeeper", quoted_path(.path))]
    NotACheckout { path: PathBuf },
    #[error("cannot write {}", quoted_path(.path))]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot read {}", quoted_path(.path))]
    Checkout { path: PathBuf, source: io::Error },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
