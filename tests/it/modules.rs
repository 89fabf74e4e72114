//! Rules of the files of each crate: no import cycles, and a maximum length.
//!
//! Imports are read as text. A re-export is followed to the file that defines the
//! name, so a façade adds no arrow; tests do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::tidy::root;

/// The largest number of lines of a file, without tests.
const MAX_LINES: usize = 600;

/// The path of a module below its crate, such as `["engine", "session"]`.
type Module = Vec<String>;

#[test]
fn no_file_is_too_long() {
    for crate_root in crates() {
        for (_, path) in files(&crate_root) {
            let n_lines = without_tests(&read(&path)).lines().count();
            let path = path.display();
            assert!(n_lines <= MAX_LINES, "{path} has {n_lines} lines, more than {MAX_LINES}");
        }
    }
}

#[test]
fn files_form_no_cycle() {
    for crate_root in crates() {
        let mut arrows = arrows(&crate_root);
        // A file without an arrow to or from the remaining files is in no cycle.
        loop {
            let n_files = arrows.len();
            let imported: BTreeSet<Module> = arrows.values().flatten().cloned().collect();
            arrows.retain(|module, _| imported.contains(module));
            let remaining: BTreeSet<Module> = arrows.keys().cloned().collect();
            for targets in arrows.values_mut() {
                targets.retain(|target| remaining.contains(target));
            }
            arrows.retain(|_, targets| !targets.is_empty());
            if arrows.len() == n_files {
                break;
            }
        }
        let cycle: Vec<String> = arrows
            .iter()
            .flat_map(|(module, targets)| targets.iter().map(move |target| (module, target)))
            .map(|(module, target)| format!("{} uses {}", module.join("::"), target.join("::")))
            .collect();
        assert!(cycle.is_empty(), "{}:\n{}", crate_root.display(), cycle.join("\n"));
    }
}

#[test]
fn imports_are_resolved() {
    let text = "use crate::{a::B, c::{self, D as E}};\nuse super::f;\nfn g() { crate::h::i() }";
    let module = ["m".to_owned(), "n".to_owned()];
    let found: Vec<String> =
        imports(text, &module, &|_| false).map(|import| import.path.join("::")).collect();
    assert_eq!(found, ["a::B", "c", "c::D", "m::f", "h::i"]);
}

/// Returns the `src` folders of the workspace's libraries.
fn crates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for group in ["crates", "detectors"] {
        let entries = fs::read_dir(root().join(group)).expect("the folder should be readable");
        folders.extend(entries.flatten().map(|entry| entry.path().join("src")));
    }
    folders.sort();
    folders
}

/// Returns the files that each file of a crate imports from.
fn arrows(crate_root: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let texts: BTreeMap<Module, String> = files(crate_root)
        .into_iter()
        .map(|(module, path)| (module, without_tests(&read(&path))))
        .collect();
    let is_module = |path: &[String]| texts.contains_key(path);
    let mut re_exports = BTreeMap::new();
    for (module, text) in &texts {
        for import in imports(text, module, &is_module).filter(|import| import.is_public) {
            let name = [module.as_slice(), &[import.name]].concat();
            re_exports.insert(name, import.path);
        }
    }
    let resolve = |mut path: Module| {
        loop {
            let mut n_known = path.len();
            while !is_module(&path[..n_known]) {
                n_known -= 1;
            }
            let name = path.get(..=n_known).and_then(|name| re_exports.get(name));
            match name {
                Some(target) if target.as_slice() != &path[..=n_known] => {
                    path = [target.as_slice(), &path[n_known + 1..]].concat();
                }
                _ => return path[..n_known].to_vec(),
            }
        }
    };
    let mut arrows = BTreeMap::new();
    for (module, text) in &texts {
        let mut targets: BTreeSet<Module> =
            imports(text, module, &is_module).map(|import| resolve(import.path)).collect();
        targets.remove(module);
        arrows.insert(module.clone(), targets);
    }
    arrows
}

struct Import {
    /// From the root of the crate.
    path: Module,
    name: String,
    is_public: bool,
}

/// Returns the paths into its own crate that a file uses.
fn imports<'a>(
    text: &'a str,
    module: &'a [String],
    is_module: &'a dyn Fn(&[String]) -> bool,
) -> impl Iterator<Item = Import> {
    let mut imports = Vec::new();
    let mut rest = text;
    let mut code = String::new();
    while let Some(at) = rest.find("use ") {
        let (before, after) = rest.split_at(at);
        code.push_str(before);
        let starts_item = before.trim_end_matches(' ').ends_with(['\n', ')'])
            || before.ends_with("pub ")
            || before.is_empty();
        let Some((item, next)) = after["use ".len()..].split_once(';').filter(|_| starts_item)
        else {
            code.push_str("use ");
            rest = &after["use ".len()..];
            continue;
        };
        let is_public = before.ends_with("pub ") || before.trim_end_matches(' ').ends_with(')');
        for path in expanded(&item.split_whitespace().collect::<Vec<_>>().join(" ")) {
            let (path, alias) = match path.split_once(" as ") {
                Some((path, alias)) => (path.to_owned(), Some(alias.to_owned())),
                None => (path, None),
            };
            let path = path.trim_end_matches("::self");
            let own_child = || {
                let first = path.split("::").next().unwrap_or_default().to_owned();
                is_module(&[module, &[first]].concat())
            };
            let path = if own_child() { format!("self::{path}") } else { path.to_owned() };
            if let Some(path) = absolute(&path, module) {
                let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
                imports.push(Import { path, name, is_public });
            }
        }
        rest = next;
    }
    code.push_str(rest);
    // The `$crate` of a macro is the crate that uses the macro.
    for word in code.split(|c: char| !(c.is_alphanumeric() || "_:$".contains(c))) {
        if let Some(path) = absolute(word.trim_end_matches(':'), module)
            && !path.is_empty()
            && word.contains("::")
        {
            imports.push(Import { name: String::new(), path, is_public: false });
        }
    }
    imports.into_iter()
}

/// Makes a path that starts with `crate`, `super` or `self` start at the root.
fn absolute(path: &str, module: &[String]) -> Option<Module> {
    let mut absolute = module.to_vec();
    let mut segments = path.split("::").peekable();
    match *segments.peek()? {
        "crate" => absolute.clear(),
        "super" | "self" => {}
        _ => return None,
    }
    for segment in segments {
        match segment {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            name => absolute.push(name.to_owned()),
        }
    }
    Some(absolute)
}

/// Expands the braces of a `use` item.
fn expanded(item: &str) -> Vec<String> {
    let Some((prefix, group)) = item.split_once('{') else { return vec![item.trim().to_owned()] };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| expanded(&format!("{}{part}", prefix.trim()))).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file should be text")
}

/// Removes comments and the unit tests.
fn without_tests(text: &str) -> String {
    let starts = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(all(test, unix))]\nmod tests {"];
    let end = starts.iter().filter_map(|start| text.find(start)).min();
    let code = &text[..end.unwrap_or(text.len())];
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the files of a crate with their modules, without tests.
fn files(crate_root: &Path) -> Vec<(Module, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![crate_root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).expect("the folder should be readable");
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(crate_root).expect("the file is in the crate");
            let relative = relative.with_extension("");
            let mut module: Module =
                relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if ["lib", "main", "mod"].contains(&module[module.len() - 1].as_str()) {
                module.pop();
            }
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            if is_code && !module.iter().any(|name| name == "tests") {
                files.push((module, path));
            }
        }
    }
    files.sort();
    files
}
