"""The house: which wing may know which, no cycles, each name once, one place for each version, light imports.

Data flow downward in the list of wings. What is imported inside functions counts for the directions, and does not for
cycles, which are about what happens when a module is imported. Adapters of frameworks are found by name, as any other
target is: the oracle imports none.

Not verified here: what a module does with what it imports; other languages' files.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import house
import mutation
import pytest

import refnorm
from refnorm.golden import contents

MAY_IMPORT = {
    "formats": set(),
    "reference": {"formats"},
    "gradients": set(),
    "conventions": {"formats", "reference"},
    "exact": {"formats"},
    "golden": {"refnorm", "formats", "conventions", "exact"},
    "oracle": {"refnorm", "formats", "conventions", "exact", "golden", "gradients"},
    "frameworks": {"refnorm", "formats", "reference", "conventions", "golden", "oracle"},
    "matrix": {"refnorm", "oracle", "frameworks"},
    "plots": {"refnorm", "formats", "reference", "conventions", "exact", "golden", "oracle"},
    "cli": {"refnorm", "formats", "conventions", "golden", "gradients", "oracle", "matrix", "plots"},
}
PROTOCOLS = {  # what modules of a kind all define: commands, adapters, plots
    "cli": {"add", "run"},
    "frameworks": None,
    "plots": {"data", "draw", "caption", "table", "collected"},
}
TWICE: dict[str, str] = {  # names that two modules define, and why
    "affine": "the engine's map, and the exact one: the truth has its own",
    "kept_axes": "of the reference, which explains what is wrong with an axis; of exact, which borrows nothing from it",
}


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_wing_imports_only_what_stands_before_it(name):
    for module, path in house.modules().items():
        if house.wing(module) == name:
            assert house.imported_wings(path) <= MAY_IMPORT[name] | {name}, module


def test_every_module_stands_in_a_wing_or_is_named_here():
    alone = {"refnorm", "__main__", "testing"}
    assert {house.wing(module) for module in house.modules()} == set(MAY_IMPORT) | alone


def test_the_reader_of_imports_reads(tmp_path):
    source = tmp_path / "module.py"
    source.write_text("import refnorm.exact\ndef f():\n    from refnorm.oracle import judge, check\n    import numpy\n")
    assert house.imports(source) == {"refnorm.exact", "refnorm.oracle.judge", "refnorm.oracle"}
    assert house.imports(source, inside=False) == {"refnorm.exact"}
    assert house.imported_wings(source) == {"exact", "oracle"}
    source.write_text("from . import judge\n")
    with pytest.raises(AssertionError, match="relative imports"):
        house.imports(source)


def cycle(graph):
    """Return modules that import each other in a ring, if there are any."""
    done, path = set(), []

    def walk(node):
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        path.append(node)
        found = next(filter(None, map(walk, sorted(graph.get(node, ())))), [])
        path.pop()
        done.add(node)
        return found

    return next(filter(None, map(walk, sorted(graph))), [])


def test_no_modules_import_each_other_in_a_ring():
    # a package's __init__ gathers its modules: what they import from the package would be a ring, and is counted
    graph = {module: house.imports(path, inside=False) - {module} for module, path in house.modules().items()}
    graph["refnorm"] = graph["refnorm"]
    for module, path in house.modules().items():
        if path.name != "__init__.py" and "refnorm" in graph[module]:
            graph[module] = graph[module] - {"refnorm"}  # the map itself, which imports the reference alone
    assert cycle(graph) == []


def test_a_ring_would_be_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_each_public_name_is_defined_once():
    places = defaultdict(list)
    for module, path in house.modules().items():
        shared = PROTOCOLS.get(house.wing(module), set())
        for name in house.definitions(path) if shared is not None else ():
            if name not in shared:
                places[name].append(module)
    twice = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert set(twice) == set(TWICE), twice


def test_no_two_files_of_the_library_have_one_name():
    names = Counter(p.name for p in house.PACKAGE.rglob("*.py") if p.parent.name not in ("frameworks", "cli", "plots"))
    names.pop("__init__.py")
    assert {name for name, count in names.items() if count > 1} == set()


def occurrences(text, *ignored):
    """Return the sources of the library that hold a text."""
    files = [*house.PACKAGE.rglob("*.py"), house.ROOT / "pyproject.toml", house.ROOT / "CITATION.cff"]
    return {p.relative_to(house.ROOT).as_posix() for p in files if text in p.read_text()} - set(ignored)


def test_versions_stand_in_one_place_each():
    assert occurrences(f'"{refnorm.__version__}"') == {"refnorm/__init__.py"}
    assert occurrences(f'"{contents.SET}"') == {"refnorm/golden/contents.py"}
    assert f"version: {refnorm.__version__}" in (house.ROOT / "CITATION.cff").read_text()


def imported_by(statement):
    code = f"import sys; {statement}; print(' '.join(m for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import refnorm", {"scipy", "flint", "matplotlib", "torch", "jax", "onnx", "multiprocessing", "json"}),
        ("import refnorm.oracle", {"scipy", "flint", "matplotlib", "torch", "jax", "onnx"}),
        ("import refnorm.golden", {"scipy", "flint", "matplotlib"}),
        ("import refnorm.cli", {"scipy", "flint", "matplotlib", "torch"}),
    ],
)
def test_imports_are_light(statement, absent):
    assert imported_by(statement) & absent == set()


def test_the_map_lists_what_there_is():
    for name in refnorm.__all__:
        assert getattr(refnorm, name) is not None
    text = refnorm.__doc__
    wings = {p.parent.name for p in house.PACKAGE.glob("*/__init__.py")}
    assert wings == set(MAY_IMPORT) - {"formats"}
    for wing in wings - {"reference"}:
        assert re.search(rf"\b{wing}\b", text), f"{wing} is not in the map"


def test_a_file_is_short_enough_to_be_read_in_one_sitting():
    """Tables aside: 250 lines are the guide, and no file may grow far beyond it unseen."""
    tables = {"rows.py", "situations.py", "forward.py", "running.py", "gradients.py", "directions.py", "flags.py"}
    long = {
        path.relative_to(house.PACKAGE).as_posix(): len(path.read_text().splitlines())
        for path in house.PACKAGE.rglob("*.py")
        if path.name not in tables
    }
    assert {name for name, lines in long.items() if lines > 340} == set(), long


def test_the_first_page_is_one_page():
    assert len(Path(house.ROOT, "README.md").read_bytes()) <= 6 * 1024


def test_what_is_listed_as_an_equivalent_mutant_stands_in_its_file():
    assert {listed.stem for listed in mutation.SAME.iterdir()} <= set(mutation.FILES)
    stale = []
    for name, (wing, _) in mutation.FILES.items():
        lines = {line.strip() for line in (house.ROOT / "refnorm" / wing / f"{name}.py").read_text().splitlines()}
        stale += [
            (name, line, mutant) for line, mutant in mutation.equivalent(name) if line not in lines or line == mutant
        ]
    assert stale == []
