//! Runs `tests/scenarios/*.md`. Each file contains a policy, a trace and the
//! expected findings.
//!
//! `UPDATE=1 cargo test -p watchkeeper-tests` replaces the expected findings by the
//! actual ones.

use std::{env, fs};

use crate::{program::run, tidy};

#[test]
fn scenarios_have_the_expected_findings() {
    let entries = fs::read_dir(tidy::root().join("tests/scenarios")).unwrap();
    let mut paths: Vec<_> = entries.map(|it| it.unwrap().path().into_os_string()).collect();
    paths.sort();
    let n_files = paths.len();
    let mut args = vec!["test".into(), "--quiet".into()];
    args.extend(env::var_os("UPDATE").map(|_| "--update".into()));
    args.append(&mut paths);
    let ran = run(&args);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let summary = ran.out.lines().last().unwrap_or_default();
    let (n_passed, _) = summary.split_once(" passed, 0 failed").expect(summary);
    assert!(0 < n_files && n_files <= n_passed.parse().unwrap(), "{summary}");
}
