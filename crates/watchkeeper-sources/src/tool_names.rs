use std::{collections::BTreeMap, sync::Arc};

use watchkeeper_core::ToolClass;

/// How many names are held; an agent has some dozens of tools.
const MAX_NAMES: usize = 256;

/// Names of tools, each held once, with their class: to tell a class by a name
/// takes longer than to find it here.
#[derive(Debug, Default)]
pub(crate) struct ToolNames(BTreeMap<Arc<str>, ToolClass>);

impl ToolNames {
    /// Holds a name, whose class is told by `class` or else by the name.
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
