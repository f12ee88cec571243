"""Try the packages as others get them: sdist and wheel, on each Python at hand, with lowest and newest dependencies.

    pip install uv
    python tests/packages.py                               # minutes for each pair
    python tests/packages.py --pythons 3.11 --with lowest

Both are built from what is committed. In an environment with the wheel alone, the command line says its version, the
golden set is whole, and refnorm conforms; in one with the test extra the README's tests pass in the unpacked sdist.
Pythons are those that uv finds, pyenv's among them, or fetches, or paths of interpreters. Exit status 1 if any fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
SHOWN = ("numpy", "scipy", "array-api-compat", "python-flint", "matplotlib", "hypothesis", "pytest", "ml-dtypes")


def run(*command: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command; return what it printed."""
    outside = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    kept = Path(outside.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob("*/bin")  # not only the chosen one
    outside.setdefault("UV_PYTHON_SEARCH_PATH", os.pathsep.join([*map(str, kept), outside["PATH"]]))
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, env=outside)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def packages(folder: Path) -> tuple[Path, Path]:
    """Build both from a clone of what is committed; return the wheel, and the folder of the unpacked sdist."""
    run("git", "clone", "-q", ROOT, folder / "clone", cwd=folder)
    run("uv", "build", "-q", "--out-dir", folder / "dist", folder / "clone", cwd=folder)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return wheel, folder / sdist.name.removesuffix(".tar.gz")


def environment(python: str, resolution: str, wheel: Path, sources: Path, folder: Path, *extra: str) -> Path:
    """Return the interpreter of a new environment with the wheel, and with what it needs, lowest or newest."""
    run("uv", "venv", "-q", "--python", python, folder, cwd=folder.parent)
    interpreter = folder / "bin" / "python"
    install = ("uv", "pip", "install", "-q", "--only-binary", ":all:", "--python", interpreter)
    needed = ("-r", sources / "pyproject.toml", *extra)
    run(*install, "--resolution", RESOLUTIONS[resolution], *needed, cwd=folder)
    run(*install, "--no-deps", wheel, cwd=folder)
    return interpreter


def tried(python: str, resolution: str, wheel: Path, sources: Path, folder: Path) -> bool:
    """Try one pair; say what came of it."""
    alone = environment(python, resolution, wheel, sources, folder / "alone")
    for arguments in (("--version",), ("golden", "lint"), ("check", "refnorm", "--dtypes", "float32")):
        done = run(alone, "-m", "refnorm", *arguments, cwd=folder, check=False)
        if done.returncode:
            print(
                f"{python} {resolution}: refnorm {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
            return False
    tests = environment(python, resolution, wheel, sources, folder / "tests", "--extra", "test")
    frozen = run("uv", "pip", "freeze", "--python", tests, cwd=folder).stdout.split()
    versions = " ".join(line.replace("==", " ") for line in frozen if line.partition("==")[0] in SHOWN)
    done = run(tests, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=sources, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr]
    print(f"{python} {resolution}: {lines[-1]}\n    {versions}", flush=True)
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            print(f"    {line}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Try all pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, metavar="VERSION")
    parser.add_argument("--with", nargs="+", default=list(RESOLUTIONS), choices=list(RESOLUTIONS), dest="resolutions")
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, sources = packages(folder)
        for number, python in enumerate(options.pythons):
            if all(
                run("uv", "python", verb, python, cwd=folder, check=False).returncode for verb in ("find", "install")
            ):
                print(f"{python}: not at hand, and not to be fetched", flush=True)
                continue
            for resolution in options.resolutions:
                (pair := folder / f"{number}-{resolution}").mkdir()
                good &= tried(python, resolution, wheel, sources, pair)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
