import watchkeeper


def record_failing_calls(session: watchkeeper.Session, n_calls: int = 6) -> None:
    session.prompt("Why does the build fail?")
    for _ in range(n_calls):
        with session.tool_call("Bash", {"command": "make"}) as call:
            call.fail("no rule to make target `all`")


def test_repeated_failing_calls_are_a_finding() -> None:
    findings: list[watchkeeper.Finding] = []
    with watchkeeper.Monitor(on_finding=findings.append) as monitor:
        assert monitor.is_running
        session = monitor.session("s", labels={"team": "search"})
        record_failing_calls(session)
        assert monitor.flush()
    assert not monitor.is_running
    assert findings
    assert findings[0].session == "s"
    assert findings[0].status == "open"
    assert findings[0].labels["team"] == "search"
    assert monitor.counts.events == 14
    assert monitor.counts.dropped == 0
