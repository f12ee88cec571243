"""Run the experiments and draw the figures anew, or check that what is committed is what they give.

python -m figures [NAME ...]             run, write NAME.json, NAME.svg and pages
python -m figures --draw [NAME ...]      draw and write pages from the committed NAME.json
python -m figures --check [NAME ...]     run, compare everything with what is committed; exit status 1 if it differs
                                         (a figure's `same` may let runs of other machines agree)
python -m figures --draw --check         compare pictures and pages alone: seconds
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

from refnorm.plots import STYLE

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def canonical(data: Any) -> str:
    """Return data as it is committed."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def picture(module: Any, data: Any) -> str:
    """Return a figure as SVG with its alternative text as title."""
    matplotlib.use("svg")
    with matplotlib.rc_context(dict(STYLE)):
        file = io.StringIO()
        module.draw(data).savefig(file, format="svg", metadata={"Date": None, "Title": module.ALT}, bbox_inches="tight")
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def made(name: str, data: Any = None) -> dict[Path, str]:
    """Return every file that a figure is made of; its experiment is run if no data are given."""
    module = importlib.import_module(f"figures.{name}")
    files = {}
    if hasattr(module, "SOURCE"):  # the experiment is elsewhere
        data = module.data()
    else:
        data = json.loads(canonical(module.data() if data is None else data))
        files[FOLDER / f"{name}.json"] = canonical(data)
    files[FOLDER / f"{name}.svg"] = picture(module, data)
    pages = module.pages(data) if hasattr(module, "pages") else {}
    return files | {FOLDER.parent / "tutorials" / page: text for page, text in pages.items()}


def stored(name: str) -> Any:
    """Return the committed data of a figure; None if its experiment is elsewhere."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def agreed(name: str) -> Any:
    """Run an experiment; return what is committed if the figure's ``same`` finds that the two runs agree.

    ``same(committed, new)`` is for experiments whose numbers a machine's last bits reach, such as long training.
    """
    module, committed = importlib.import_module(f"figures.{name}"), stored(name)
    if committed is None or not hasattr(module, "same"):
        return None
    new = json.loads(canonical(module.data()))
    return committed if module.same(committed, new) else new


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m figures", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--draw", action="store_true", help="use the committed data, do not run the experiments")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if anything differs")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in NAMES]:
        parser.error(f"there is no figure {unknown[0]!r}; there are {', '.join(NAMES)}")
    differ = 0
    for name in asked.names or NAMES:
        data = stored(name) if asked.draw else agreed(name) if asked.check else None
        for path, text in made(name, data).items():
            same = path.exists() and path.read_text() == text
            differ += not same
            if not asked.check:
                path.write_text(text)
            done = "as committed" if same else "DIFFERS" if asked.check else "written"
            print(f"{path.relative_to(FOLDER.parent)}: {done}")
    return int(asked.check and differ > 0)


if __name__ == "__main__":
    sys.exit(main())
