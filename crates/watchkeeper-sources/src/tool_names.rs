//! A cache of tool names and classes.

use std::{collections::BTreeMap, sync::Arc};

use watchkeeper_core::ToolClass;

/// The largest number of names. An agent has a few dozen tools.
const MAX_NAMES: usize = 256;

/// The names and classes of tools. A lookup is faster than classifying the name.
#[derive(Debug, Default)]
pub(crate) struct ToolNames(BTreeMap<Arc<str>, ToolClass>);

impl ToolNames {
    /// Returns the shared name and the class of a tool. The class comes
    /// from `class`, or else from the name.
    pub(crate) fn get(
        &mut self,
        name: &str,
        class: impl FnOnce(&str) -> Option<ToolClass>,
    ) -> (Arc<str>, ToolClass) {
        if let Some((name, class)) = self.0.get_key_value(name) {
            return (name.clone(), *class);
        }
        let class = class(name).unwrap_or_else(|| ToolClass::of_name(name));
        let name = Arc::<str>::from(name);
        if self.0.len() < MAX_NAMES {
            self.0.insert(name.clone(), class);
        }
        (name, class)
    }
}
