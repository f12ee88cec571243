"""Build the packages of the golden set, for PyPI and for npm, both of the set's version.

    pip install build hatchling
    python packages/make.py OUT            # OUT/refnorm_golden-*.whl, .tar.gz; with npm, OUT/refnorm-golden-*.tgz

Exit status 0 if all were built, 1 if the set is not whole, 2 if a tool is missing: then one line says which.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE.parent / "refnorm" / "golden" / "data"


def staged(kind: str, folder: Path, data: Path = DATA) -> Path:
    """Write a whole project to a new folder: sources, licence, description, and in its place the set."""
    shutil.copytree(HERE / kind, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(data, folder / "refnorm_golden" / "data" if kind == "pypi" else folder / "data")
    for path in (HERE / "README.md", HERE.parent / "LICENSE"):
        shutil.copy(path, folder)
    manifest = json.loads((data / "MANIFEST.json").read_text(encoding="utf-8"))
    number = version(manifest["set"])
    words = {"@SET@": manifest["set"], "@CASES@": str(manifest["total_cases"]), "@VERSION@": number}
    _replace(folder / "README.md", words)
    if kind == "pypi":
        _replace(folder / "pyproject.toml", {'version = "0"': f'version = "{number}"'})
    else:
        _replace(folder / "package.json", {'"0.0.0"': f'"{number}.0"'})
    return folder


def _replace(path: Path, words: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    path.write_text(text, encoding="utf-8")


def version(release: str) -> str:
    """Return the version of a set without leading zeros, which neither registry keeps: 2027.01 is 2027.1."""
    return ".".join(str(int(part)) for part in release.split("."))


def main(arguments: list[str]) -> int:
    """Build both, or say what is missing."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    out = Path(arguments[0]).resolve()
    npm, missing = shutil.which("npm"), [name for name in ("build", "hatchling") if not find_spec(name)]
    if missing:
        print(f"{' and '.join(missing)} missing, so nothing was built; pip install build hatchling", file=sys.stderr)
        return 2
    lint = [sys.executable, "-m", "refnorm", "golden", "lint", str(DATA)]
    if subprocess.run(lint, check=False, cwd=HERE.parent).returncode:
        return 1
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        project = staged("pypi", Path(name, "pypi"))
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        if npm:
            pack = [npm, "pack", "--silent", "--pack-destination", str(out)]
            subprocess.run(pack, check=True, cwd=staged("npm", Path(name, "npm")), stdout=subprocess.DEVNULL)
    print(*sorted(path.name for path in out.glob("refnorm[-_]golden-*")), sep="\n")
    if not npm:
        print("there is no npm, so the package for npm was not built; install Node.js", file=sys.stderr)
    return 0 if npm else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
