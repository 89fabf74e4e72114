"""Nothing is written on a terminal that a full-screen program uses."""

import os
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")
select = pytest.importorskip("select")

TUI_BEGINS = "\x1b[?1049h"
TUI_ENDS = "\x1b[?1049l"

# A full-screen program in the process of the monitor, or in a process of its own.
PROGRAM = r"""
import os, subprocess, sys, termios, threading, tty
from watchkeeper.safety import BackgroundMonitor, SafeSession, TimeoutConfig, from_env

mode, policy = sys.argv[1], sys.argv[2] or None
os.environ["USE_BACKGROUND_MONITOR"] = "true"
monitor = from_env(policy=policy)
TUI = r'''
import sys, tty, termios
usual = termios.tcgetattr(0)
tty.setraw(0)
sys.stdout.write("\x1b[?1049hpicture\r\n")
sys.stdout.flush()
sys.stdin.read(1)
sys.stdout.write("\x1b[?1049l")
sys.stdout.flush()
termios.tcsetattr(0, termios.TCSADRAIN, usual)
'''

def loop():
    for _ in range(5):
        monitor.session.record_tool_call("Bash", {"command": "make"})
    monitor.session.terminate("over the limit")

if mode == "thread":
    usual = termios.tcgetattr(0)
    tty.setcbreak(0)
    print("\x1b[?1049hpicture", flush=True)
    loop()
    sys.stdin.read(1)
    print("\x1b[?1049l", flush=True)
    termios.tcsetattr(0, termios.TCSADRAIN, usual)
else:
    tui = subprocess.Popen([sys.executable, "-c", TUI])
    while termios.tcgetattr(0)[3] & termios.ICANON:
        threading.Event().wait(0.01)
    loop()
    tui.wait()
threading.Event().wait(0.6)
monitor.stop()
print("end", flush=True)
"""


class Terminal:
    """A pseudo-terminal, with a program in it."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *arguments])
        self.output = ""

    def read_until(self, text: str) -> str:
        deadline = time.monotonic() + 30
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            self.read_for(0.1)
        return self.output

    def read_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.descriptor], [], [], left)[0]:
                try:
                    self.output += os.read(self.descriptor, 4096).decode()
                except OSError:
                    # The program has ended.
                    return

    def close(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        self.read_for(30)
        exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.descriptor)
        return exit_code


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_findings_are_held_while_a_program_uses_the_terminal(mode: str) -> None:
    terminal = Terminal(mode, "")
    terminal.read_until("picture")
    # Longer than the time after which the sink looks again.
    terminal.read_for(0.7)
    assert terminal.output.rstrip() == f"{TUI_BEGINS}picture"
    os.write(terminal.descriptor, b"q")
    terminal.read_until("end")
    picture, after = terminal.output.split(TUI_ENDS)
    assert picture.rstrip() == f"{TUI_BEGINS}picture"
    assert "[HIGH]" in after
    assert "infinite_tool_loop" in after
    assert terminal.close() == 0


def test_findings_go_to_a_file_meanwhile(tmp_path: Path) -> None:
    policy, file = tmp_path / "policy.toml", tmp_path / "findings.jsonl"
    policy.write_text("version = 1\n[sinks.audit]\nkind = 'file'\npath = 'findings.jsonl'\n")
    terminal = Terminal("thread", str(policy))
    terminal.read_until("picture")
    deadline = time.monotonic() + 30
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        terminal.read_for(0.05)
    assert "infinite_tool_loop" in file.read_text()
    assert terminal.output.rstrip() == f"{TUI_BEGINS}picture"
    os.write(terminal.descriptor, b"q")
    terminal.read_until("end")
    assert terminal.close() == 0
