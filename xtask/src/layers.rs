//! The layer tables of `docs/ARCHITECTURE.md`, and the imports of the code.
//!
//! A table begins with a line `<!-- layers: crates/lsm/src -->`; the lines of the next code block
//! are layers, bottom first, each a list of modules. A module may use its own and lower layers; two
//! modules of one layer may not use each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use syn::visit::Visit;

/// The layers of one crate: module -> height.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The folder of the crate's sources, relative to the root.
    pub(crate) sources: PathBuf,
    heights: BTreeMap<String, usize>,
}

/// Reads all tables of the document.
pub(crate) fn read(document: &str) -> Vec<Layers> {
    let mut tables = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim().strip_prefix("<!-- layers: ") else { continue };
        let sources = PathBuf::from(rest.trim_end_matches("-->").trim());
        let block = lines.by_ref().skip_while(|line| !line.starts_with("```")).skip(1);
        let block: Vec<&str> = block.take_while(|line| !line.starts_with("```")).collect();
        let heights = block.iter().enumerate().flat_map(|(height, line)| {
            line.split([' ', ','])
                .filter(|word| !word.is_empty())
                .map(move |w| (w.to_owned(), height))
        });
        tables.push(Layers { sources, heights: heights.collect() });
    }
    tables
}

impl Layers {
    /// The sentences that say which imports break the table.
    pub(crate) fn check(&self, root: &Path) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        let sources = root.join(&self.sources);
        for file in rust_files(&sources)? {
            let relative = file.strip_prefix(&sources).context("files are below the sources")?;
            let module = top_module(relative);
            if matches!(module.as_str(), "lib" | "main") || is_test(relative) {
                continue;
            }
            let Some(height) = self.heights.get(&module) else {
                broken.push(format!("{}: module '{module}' is in no layer", file.display()));
                continue;
            };
            let text = fs::read_to_string(&file).context("cannot read a source file")?;
            for used in imports(&text).with_context(|| format!("{} is not Rust", file.display()))? {
                let fits = used == module || self.heights.get(&used).is_some_and(|h| h < height);
                if !fits {
                    let file = file.strip_prefix(root).unwrap_or(&file).display();
                    broken.push(format!(
                        "{file}: '{module}' uses '{used}', which is not in a lower layer; move the \
                         name down, or change the table in docs/ARCHITECTURE.md"
                    ));
                }
            }
        }
        Ok(broken)
    }
}

/// All Rust files below a folder, sorted.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry.context("cannot list a folder")?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file holds tests alone.
pub(crate) fn is_test(relative: &Path) -> bool {
    let part_is_tests = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    relative.iter().any(part_is_tests)
}

fn top_module(relative: &Path) -> String {
    let first = relative.iter().next().unwrap_or_default().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The top modules named by `crate::` paths outside of `#[cfg(test)]` items.
fn imports(text: &str) -> Result<BTreeSet<String>> {
    let file = syn::parse_file(text)?;
    let mut visitor = Imports::default();
    visitor.visit_file(&file);
    Ok(visitor.modules)
}

#[derive(Default)]
struct Imports {
    modules: BTreeSet<String>,
}

impl Imports {
    fn tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                self.modules.insert(path.ident.to_string());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item)),
            syn::UseTree::Name(name) => {
                self.modules.insert(name.ident.to_string());
            }
            syn::UseTree::Rename(name) => {
                self.modules.insert(name.ident.to_string());
            }
            syn::UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
        };
        if !item.attrs.iter().any(is_test) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if let syn::UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            self.tree(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(module) = segments.next()
        {
            self.modules.insert(module.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_bottom_first() {
        let text = "x\n<!-- layers: crates/a/src -->\n```\nerror types\nformat\nstore\n```\n";
        let tables = read(text);
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].heights["error"], 0);
        assert_eq!(tables[0].heights["types"], 0);
        assert_eq!(tables[0].heights["store"], 2);
    }

    #[test]
    fn imports_are_found_in_uses_and_paths_but_not_in_tests() {
        let text = "use crate::{error::Result, types};\nfn f() { crate::wal::go() }\n\
                    #[cfg(test)]\nmod tests { use crate::store::Store; }\n";
        let found: Vec<String> = imports(text).unwrap().into_iter().collect();
        assert_eq!(found, ["error", "types", "wal"]);
    }
}
