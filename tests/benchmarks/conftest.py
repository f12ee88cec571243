"""Collect the times of a benchmark run and print their ratios at its end."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean

import pytest

collect_ignore = [] if find_spec("onnxruntime") else ["bench_folding.py"]  # whose doctests would need it
OURS = "refnorm"
RATIOS = pytest.StashKey[dict]()
LINES = pytest.StashKey[list]()
NUMBERS = pytest.StashKey[dict]()
PACKAGES = ("refnorm", "numpy", "torch", "jax", "onnx", "onnxruntime", "numpy-ml", "cupy-cuda12x")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, metavar="FILE", help="write what was measured there, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = {}
    config.stash[LINES] = []
    config.stash[NUMBERS] = {}


@pytest.fixture
def ratios(request: pytest.FixtureRequest) -> dict:
    """Times by (map, dtype), contestant and shape."""
    return request.config.stash[RATIOS]


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> list:
    """Further lines for the end of the run."""
    return request.config.stash[LINES]


@pytest.fixture
def numbers(request: pytest.FixtureRequest) -> dict:
    """Further measurements for the record."""
    return request.config.stash[NUMBERS]


def installed() -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    path = session.config.getoption("--record", default=None)
    if path is not None and exitstatus == 0:
        times = {
            f"{which}, {dtype}": {
                name: {"x".join(map(str, shape)): seconds for shape, seconds in by_shape.items()}
                for name, by_shape in contestants.items()
            }
            for (which, dtype), contestants in session.config.stash[RATIOS].items()
        }
        record = {"versions": installed(), "seconds": times, **session.config.stash[NUMBERS]}
        path.write_text(json.dumps(record, indent=1) + "\n")


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
