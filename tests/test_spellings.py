"""Layers in random spellings: all of a right one is judged and nothing found; one error is named in every spelling.

Verified of the doors: that reading does not hang on names, places, layouts or ways to tell a layer that it trains.
"""

import pytest
from spellings import ERRORS, MODES, drawn, source

from refnorm.oracle.apart import check_apart

UNDEFINED = "one-value-per-channel-non-finite"  # of m/(m - 1), which nobody guards here


def judged(folder, spelling):
    """Judge a spelling in float64; return the causes that were found, and what was not judged."""
    (folder / "layer.py").write_text(source(spelling))
    report = check_apart(str(folder / "layer.py"), None, dtypes=["float64"])
    (path,) = report.paths
    return {f.cause for f in report.findings} - {UNDEFINED}, set(path.not_judged), path


def problems(folder, spelling):
    """Return what is said of a right layer that must not be, and what is not judged of it."""
    causes, not_judged, path = judged(folder, spelling)
    offered = {"y, training", "running mean", "running variance", "y, inference"}
    offered |= {"dx", "dgamma", "dbeta"} if spelling.gradients else set()
    ranks = {"rows": [2], "first": [4] if spelling.spread else [2, 3, 4, 5], "last": [4]}[spelling.layout]
    found = [*causes, *(offered & not_judged)]
    if path.envelope["ranks"] != ranks:
        found.append(f"ranks {path.envelope['ranks']}, expected {ranks}")
    return found


@pytest.mark.parametrize(
    "seeds", [range(1), *(pytest.param(range(s, s + 30), marks=pytest.mark.slow) for s in range(1, 301, 30))], ids=str
)
def test_a_right_layer_is_judged_whole_and_nothing_is_found(tmp_path, seeds):
    assert {seed: found for seed in seeds if (found := problems(tmp_path, drawn(seed)))} == {}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    "seeds", [range(1), *(pytest.param(range(s, s + 5), marks=pytest.mark.slow) for s in range(1, 21, 5))], ids=str
)
def test_an_error_is_named_in_every_spelling(tmp_path, seeds, error):
    *_, cause = ERRORS[error]
    for seed in seeds:
        causes, *_ = judged(tmp_path, drawn(seed, error))
        assert causes == {cause}, (seed, drawn(seed, error))


def test_all_is_drawn():
    all_drawn = [drawn(seed) for seed in range(301)]
    assert {s.mode for s in all_drawn} == set(MODES)
    assert len({source(s) for s in all_drawn}) > 290
