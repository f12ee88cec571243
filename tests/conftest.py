"""What the whole suite leaves to a run of its own: of tests that only repeat themselves with other values, two thirds.

``pytest`` runs every test function, and of each in a module that says `SAMPLED` the first, fourth, seventh ... of its
parameters. Whoever names a file, as `.ci/run` does with these, gets all of it.
"""

from collections import Counter

import pytest

ONE_IN = 3
collect_ignore = ["conftest.py", "doors"]  # for doctests: the one has none, and what people write is not run here


def pytest_addoption(parser):
    parser.addoption("--sampled", action="store_true", help="one in three parameters of the modules that say SAMPLED")


def pytest_configure(config):
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.option.sampled = True  # handed on to the processes that share the work


def pytest_report_header(config):
    return f"sampled: one in {ONE_IN} parameters of some modules; a module that is named runs whole"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.getoption("sampled"):
        return
    seen = Counter()
    kept, left = [], []
    for item in items:
        function = getattr(item, "originalname", None)
        if function is None or not getattr(getattr(item, "module", None), "SAMPLED", False):
            kept.append(item)
            continue
        if item.get_closest_marker("slow") is None:
            seen[item.module.__name__, function] += 1
        (kept if seen[item.module.__name__, function] % ONE_IN == 1 else left).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)
