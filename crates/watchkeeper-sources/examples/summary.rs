//! Prints the contents of session files: one row of tab-separated counts per file.

use std::{env, error::Error, io::Write as _};

use watchkeeper_core::{
    EventKind,
    author::{DedupCache, Tokens},
    embed::Registry,
};
use watchkeeper_sources::{discover, open};

fn main() -> Result<(), Box<dyn Error>> {
    let kinds = Registry::linked()?.sources;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "file\tsource\ttool_calls\ttool_results\tfailed_results\tmodel_calls\tinput_tokens\t\
         cache_read_tokens\tcache_write_tokens\toutput_tokens\tskipped_lines\tskipped_parts\tevents"
    )?;
    for path in discover(env::args_os().skip(1), kinds.iter()).files {
        let mut file = match open(&path, None, &kinds) {
            Ok(file) => file,
            Err(error) => {
                writeln!(out, "{}\t{error}", path.display())?;
                continue;
            }
        };
        let (mut calls, mut results, mut failed, mut responses) = (0, 0, 0, 0);
        let (mut total, mut n_events) = (Tokens::default(), 0);
        // A repeated response replaces the earlier one.
        let mut by_id = std::collections::BTreeMap::<Box<str>, Tokens>::new();
        file.read(&mut DedupCache::default(), &mut |event| {
            n_events += 1;
            match event.kind {
                EventKind::ToolCall(_) => calls += 1,
                EventKind::ToolResult(result) => {
                    results += 1;
                    failed += u64::from(!result.ok);
                }
                EventKind::ModelCall(call) => {
                    let earlier = call.id.and_then(|id| by_id.insert(id, call.tokens));
                    responses += u64::from(earlier.is_none());
                    total = total.plus(call.tokens).minus(earlier.unwrap_or_default());
                }
                _ => {}
            }
        })?;
        let skipped = file.skipped_lines();
        let n_parts: u64 = skipped.parts.values().sum();
        writeln!(
            out,
            "{}\t{}\t{calls}\t{results}\t{failed}\t{responses}\t{}\t{}\t{}\t{}\t{}\t{n_parts}\t{n_events}",
            path.display(),
            watchkeeper_core::embed::Entry::kind(file.kind()),
            total.input,
            total.cache_read,
            total.cache_write,
            total.output,
            skipped.total(),
        )?;
    }
    Ok(())
}
