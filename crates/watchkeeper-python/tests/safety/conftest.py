from collections.abc import Iterator

import pytest
from watched import Watched


@pytest.fixture
def watch() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    for monitor in watched.monitors:
        monitor.stop()
