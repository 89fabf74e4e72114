//! A program that registers its kinds with `App`.
#![cfg(feature = "cli")]

use watchkeeper::{
    cli::{App, Output, Status, Styles},
    core::{Context, Detector, DetectorKind, Event, InvalidOption},
};

/// Reports nothing.
#[derive(Clone, Debug)]
struct Quiet;

impl DetectorKind for Quiet {
    const KIND: &'static str = "quiet";
    const DOCS: &'static str = "# quiet\n\nReports nothing.\n";
    const CLASS: &'static str = "none";
    type Options = ();

    fn new((): ()) -> Result<Self, InvalidOption> {
        Ok(Self)
    }
}

impl Detector for Quiet {
    fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
}

fn run(app: App, args: &[&str]) -> (Status, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["watchkeeper"].iter().chain(args).map(Into::into);
    let mut output = Output { out: &mut out, err: &mut err, styles: Styles::default() };
    let status = app.run_with(args, &mut output);
    let text = |bytes| String::from_utf8(bytes).expect("the program should write UTF-8");
    (status, text(out), text(err))
}

#[test]
fn a_registered_kind_is_listed_beside_the_shipped_kinds() {
    let (status, out, _) = run(App::new().detector::<Quiet>(), &["detectors"]);
    assert_eq!(status, Status::Success);
    assert!(out.contains("quiet") && out.contains("timeout"), "{out}");
    let (_, out, _) = run(App::new(), &["detectors"]);
    assert!(!out.contains("quiet"), "{out}");
}

#[test]
fn a_kind_that_is_registered_twice_is_refused() {
    let app = App::new().detector::<Quiet>().detector::<Quiet>();
    let (status, _, err) = run(app, &["detectors"]);
    assert_eq!(status, Status::Failure);
    assert!(
        err.starts_with("error: two detectors are called `quiet`: one from app::Quiet"),
        "{err}"
    );
}
