//! `backtest`.

use insta::assert_snapshot;
use serde_json::Value;

use crate::{
    check::looping,
    program::{Folder, Ran, program},
};

/// Returns a folder with two policies and the same call three, five and twelve times.
fn sessions() -> Folder {
    let folder = Folder::new();
    for n_calls in [3, 5, 12] {
        let session = format!("s{n_calls}");
        folder.write(&format!("loops/{session}.ndjson"), looping(&session, n_calls));
    }
    let policy = |levels: &str| {
        format!("version = 1\n[detectors.calls]\nkind = 'repeat-tool-call'\nlevels = [{levels}]\n")
    };
    folder.write("old.toml", policy("{ at = 5, severity = 'medium' }"));
    let new = "{ at = 3, severity = 'low' }, { at = 5, severity = 'medium' }, { at = 8, severity = 'high' }";
    folder.write("new.toml", policy(new));
    folder
}

fn backtest(folder: &Folder, args: &[&str]) -> Ran {
    Ran::of(program().current_dir(folder.path()).arg("backtest").args(args))
}

#[test]
fn compares_the_findings_of_two_policies() {
    let folder = sessions();
    let seen = |args: &[&str]| {
        let Ran { out, err, status } = backtest(&folder, args);
        format!("{out}{err}exit {status}")
    };
    assert_snapshot!(seen(&["--policy", "new.toml", "--against", "old.toml", "loops"]), @"
    ~ medium > high calls s12: `Bash` returned the same result for the same call 12 times in 22s: `make` returns `make: nothing to be done for all`
    + low calls s3: `Bash` returned the same result for the same call 3 times in 4s: `make` returns `make: nothing to be done for all`
    3 sessions: 1 new, 0 gone, 1 of another severity, 1 unchanged
    before: 0 high, 2 medium, 0 low
    after: 1 high, 1 medium, 1 low
    before: old.toml (given by --against)
    after: new.toml (given by --policy)
    exit 0
    ");
    assert_snapshot!(seen(&["--policy", "old.toml", "--against", "new.toml", "loops", "-q"]), @"
    ~ high > medium calls s12: `Bash` returned the same result for the same call 12 times in 22s: `make` returns `make: nothing to be done for all`
    - low calls s3: `Bash` returned the same result for the same call 3 times in 4s: `make` returns `make: nothing to be done for all`
    3 sessions: 0 new, 1 gone, 1 of another severity, 1 unchanged
    before: 1 high, 1 medium, 1 low
    after: 0 high, 2 medium, 0 low
    exit 0
    ");
    let args = ["--policy", "new.toml", "--against", "old.toml", "loops", "--fail-on-change"];
    assert_eq!(backtest(&folder, &args).status, 1);
    let args = ["--policy", "new.toml", "--against", "new.toml", "loops", "--fail-on-change"];
    assert_eq!(backtest(&folder, &args).status, 0);
}

#[test]
fn writes_the_differences_as_json() {
    let folder = sessions();
    let args = ["--policy=new.toml", "--against=old.toml", "loops", "--format=json"];
    let json: Value =
        serde_json::from_str(&backtest(&folder, &args).out).expect("the output is JSON");
    let changes = json["changes"].as_array().expect("there are changes");
    assert!(changes.iter().any(|it| it["change"] == "new" && it["severity"] == "low"), "{json}");
    let rose = |it: &&Value| it["change"] == "severity" && it["previous_severity"] == "medium";
    assert_eq!(changes.iter().filter(rose).count(), 1, "{json}");
}

#[test]
fn standard_input_cannot_be_read_twice() {
    let folder = sessions();
    let ran = backtest(&folder, &["--policy=new.toml", "--against=old.toml", "-"]);
    assert!(ran.status == 2 && ran.err.contains("sessions are read twice"), "{}", ran.err);
}
