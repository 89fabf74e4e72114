import subprocess
import sys
import time


def test_the_demo_shows_the_timeouts_and_the_loop() -> None:
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "watchkeeper.demo"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert time.monotonic() - started < 10
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    events = [line for line in lines if line.startswith("[")]
    assert events == [
        "[HIGH] Same tool called 5+ times in a row",
        "[MEDIUM] WARNING: Session at 75% of timeout (3s / 4s)",
        "[MEDIUM] WARNING: Session at 90% of timeout (4s / 4s)",
        "[HIGH] TIMEOUT: Session exceeded maximum duration (4s / 4s)",
    ]
    assert sum("TERMINATING" in line for line in lines) == 1
