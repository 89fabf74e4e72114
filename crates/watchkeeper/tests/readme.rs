//! The example of the README.
#![expect(clippy::print_stderr, reason = "the example prints findings")]

use watchkeeper::Monitor;

fn main() -> Result<(), watchkeeper::StartError> {
    // `policy_file("policy.toml")?` replaces the built-in policy.
    let running = Monitor::builder()
        .on_finding(|finding| eprintln!("{}: {}", finding.severity, finding.message))
        .start()?;

    let session = running.session("support-17");
    session.prompt("Why does the build fail?");
    for _ in 0..4 {
        let call = session.tool_call("Bash", ["make", "all"]);
        call.fail("no rule to make target `all`");
    }
    session.turn_end();

    let stopped = running.stop();
    assert_eq!(stopped.lost, 0);
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), watchkeeper::StartError> {
    main()
}
