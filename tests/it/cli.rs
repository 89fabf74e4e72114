//! What people see of the commands that do no watching.

use insta::assert_snapshot;

use crate::program::{run, seen};

#[test]
fn lists_the_kinds_that_were_linked_in() {
    assert_snapshot!(seen(&["detectors"]), @"");
}

#[test]
fn explains_a_detector_of_a_teams_own() {
    let ran = run(&["explain", "acme-banned-tool"]);
    assert_eq!(ran.out, include_str!("../acme-detector/README.md"));
    assert_eq!(ran.status, 0);
}

#[test]
fn says_what_there_is_to_explain() {
    assert_snapshot!(seen(&["explain", "runaway"]), @"");
}

#[test]
fn help_fits_on_a_screen() {
    assert_snapshot!(seen(&["--help"]), @"");
}

#[test]
fn a_misspelled_command_is_shown_the_right_one() {
    assert_snapshot!(seen(&["chekc"]), @"");
}

#[test]
fn completions_are_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.out.contains("validate"), "{shell}");
    }
}

#[test]
fn colours_can_be_forced_and_switched_off() {
    assert!(run(&["--color=always", "detectors"]).out.contains('\u{1b}'));
    assert!(!run(&["--color=never", "detectors"]).out.contains('\u{1b}'));
    assert!(!run(&["detectors"]).out.contains('\u{1b}'));
    let forced = crate::program::program()
        .env("CLICOLOR_FORCE", "1")
        .arg("detectors")
        .output()
        .expect("the program should start");
    assert!(forced.stdout.contains(&0x1b));
    let none = crate::program::program()
        .env("CLICOLOR_FORCE", "1")
        .env("NO_COLOR", "1")
        .arg("detectors")
        .output()
        .expect("the program should start");
    assert!(!none.stdout.contains(&0x1b));
}

#[test]
fn the_demo_finds_at_least_three_kinds_of_trouble() {
    let ran = run(&["demo"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    for detector in ["repeat", "loop", "spending", "silent"] {
        assert!(ran.err.contains(detector), "no {detector}:\n{}", ran.err);
    }
    assert!(ran.out.contains("4 findings"), "{}", ran.out);
}
