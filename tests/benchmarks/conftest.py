"""Collect the times of a benchmark run and print their ratios at its end."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import geometric_mean

import pytest

OURS = "refnorm"
RATIOS = pytest.StashKey[dict]()
LINES = pytest.StashKey[list]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = {}
    config.stash[LINES] = []


@pytest.fixture
def ratios(request: pytest.FixtureRequest) -> dict:
    """Times by (map, dtype), contestant and shape."""
    return request.config.stash[RATIOS]


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> list:
    """Further lines for the end of the run."""
    return request.config.stash[LINES]


def table(times: dict[str, dict[tuple[int, ...], float]], ours: str) -> Iterator[str]:
    """Yield the time of refnorm over that of each other contestant."""
    shapes = list(times[ours])
    yield "".join([f"{ours + ' over':28}", *(f"{'x'.join(map(str, shape)):>16}" for shape in shapes), f"{'mean':>8}"])
    for name, theirs in times.items():
        if not name.startswith(OURS):
            ratio = [times[ours][shape] / theirs[shape] if shape in theirs else None for shape in shapes]
            known = [r for r in ratio if r is not None]
            cells = "".join(f"{r:16.2f}" if r is not None else f"{'-':>16}" for r in ratio)
            yield f"  {name:26}{cells}{geometric_mean(known):8.2f}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for (which, dtype), times in config.stash[RATIOS].items():
        terminalreporter.section(f"{which}, {dtype}: ratios of times, below 1 refnorm is faster")
        for ours in (name for name in times if name.startswith(OURS)):
            for line in table(times, ours):
                terminalreporter.write_line(line)
    for line in config.stash[LINES]:
        terminalreporter.write_line(line)
