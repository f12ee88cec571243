"""Packages that some tests need: where one is missing they are skipped, unless REFNORM_FRAMEWORKS requires it."""

import importlib
import os

import pytest

REQUIRED = os.environ.get("REFNORM_FRAMEWORKS", "").split(",")


def framework(name):
    """Import a package; skip the test, or the whole module, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if name.partition(".")[0] in REQUIRED:
            pytest.fail(f"REFNORM_FRAMEWORKS requires {name}, but: {error}", pytrace=False)
        pytest.skip(f"{name} is not installed", allow_module_level=True)
