"""What the whole suite leaves to a run of its own: of tests that only repeat themselves with other values, nine tenths.

Of each test function in a module that says `SAMPLED`, ``pytest`` runs the first, eleventh ... of its parameters; a
module may say another number than ten. Tests marked ``rest`` take seconds for what others show, in less, in part.
``pytest --rest`` runs what that leaves, as `.ci/run` does; whoever names a file gets all of it.
``pytest --fresh`` leaves out what has passed in this folder since it was made: in an environment to which packages have
been added, it runs what was skipped before, and what there was not.
"""

import os
from collections import Counter

import pytest

ONE_IN = 10
PASSED = "refnorm/passed"  # in pytest's cache
passed = set()


def pytest_addoption(parser):
    parser.addoption("--sampled", action="store_true", help="one in ten parameters of the modules that say SAMPLED")
    parser.addoption("--rest", action="store_true", help="what is left out without a name, and what is slow")
    parser.addoption("--fresh", action="store_true", help="what has not passed in this folder before")


@pytest.fixture(params=["float64", pytest.param("float32", marks=pytest.mark.slow)])
def dtype(request):
    """Return a format: what takes it is tried in one, and with ``--rest`` in another, which has more cases."""
    return request.param


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Look for no doctests here: tests have none, and what people write is not run."""
    return [found for found in (yield) if type(found).__name__ != "DoctestModule"]


def pytest_configure(config):
    if getattr(config.option, "numprocesses", None):  # a core for each process: none for threads that wait for a sum
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if config.option.rest:
        config.option.markexpr = ""
    elif config.args_source is pytest.Config.ArgsSource.TESTPATHS and config.option.markexpr == "not slow":
        config.option.sampled = True  # handed on to the processes that share the work


def pytest_report_header(config):
    return f"sampled: one in {ONE_IN} parameters of some modules; a module that is named runs whole"


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        passed.add(report.nodeid)


def pytest_sessionfinish(session):
    cache = getattr(session.config, "cache", None)  # none with -p no:cacheprovider
    if cache is not None and not hasattr(session.config, "workerinput") and passed:  # the one that hands out the work
        cache.set(PASSED, sorted(passed.union(cache.get(PASSED, []))))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.option.fresh:
        before = set(config.cache.get(PASSED, []))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in before])
        items[:] = [item for item in items if item.nodeid not in before]
    if not (config.option.sampled or config.option.rest):
        return
    seen = Counter()
    sample, rest = [], []
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("rest"):
            rest.append(item)
            continue
        function = getattr(item, "originalname", None)
        one_in = getattr(getattr(item, "module", None), "SAMPLED", False)
        if function is None or not one_in:
            sample.append(item)
            continue
        number = seen[item.module.__name__, function]
        seen[item.module.__name__, function] += 1
        (rest if number % (ONE_IN if one_in is True else one_in) else sample).append(item)
    items[:], left = (rest, sample) if config.option.rest else (sample, rest)
    config.hook.pytest_deselected(items=left)
