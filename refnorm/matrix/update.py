"""The newest versions of what a framework needs, as the package index has them, in its file of pinned requirements."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from refnorm.matrix import environments

WAIT = 1200.0  # seconds that resolving may take


def repin(name: str) -> dict[Path, str]:
    """Return the text of each file of requirements that newer versions would change, by its path; nothing is written.

    What the pins leave out of what they need, as CUDA's libraries are, is left out again; what newer versions need
    beyond that is added. Packages of Node.js that the lock file asks for itself move to their newest versions.

    Parameters
    ----------
    name : of the files, as in `Entry.requirements`.

    Raises
    ------
    OSError
        If there are no such files, or the index cannot be asked; the text says what was answered.
    """
    files = {}
    folder = environments.REQUIREMENTS
    pins = folder / f"{name}.txt"
    old = pinned(pins.read_text(encoding="utf-8"))
    newest = _resolved(name, old)
    try:
        left_out = _resolved(name, [f"{n}=={v}" for n, v in old.items()])
    except OSError:  # by their own word the old ones do not fit together
        left_out = newest
    own = {_key(n): n for n in old}
    files[pins] = lines({own.get(k, n): v for k, (n, v) in newest.items() if k in own or k not in left_out})
    source = folder / f"{name}-source.txt"
    if source.exists():
        wanted = pinned(source.read_text(encoding="utf-8"))
        found = _resolved(name, wanted)
        files[source] = lines({n: found[_key(n)][1] for n in wanted})
    lock = folder / f"{name}-npm.json"
    if lock.exists():
        files[lock] = _locked(lock)
    return {path: text for path, text in files.items() if text != path.read_text(encoding="utf-8")}


def pinned(text: str) -> dict[str, str]:
    """Return versions by name, of the lines of a file of requirements.

    Examples
    --------
    >>> pinned("numpy==2.4.6 scipy==1.17.1")
    {'numpy': '2.4.6', 'scipy': '1.17.1'}
    """
    return dict(line.split("==") for line in text.split())


def lines(versions: dict[str, str]) -> str:
    """Return a file of requirements, in the alphabet's order.

    Examples
    --------
    >>> print(lines({"scipy": "1.17.1", "numpy": "2.4.6"}), end="")
    numpy==2.4.6
    scipy==1.17.1
    """
    return "".join(f"{n}=={versions[n]}\n" for n in sorted(versions, key=str.lower))


def moved(path: Path, text: str) -> list[str]:
    """Say which requirements differ between a file as it is and as it would be."""
    if path.suffix == ".json":
        old, new = (json.loads(t)["packages"][""]["dependencies"] for t in (path.read_text(encoding="utf-8"), text))
    else:
        old, new = pinned(path.read_text(encoding="utf-8")), pinned(text)
    return [
        f"{n} {old.get(n, 'absent')} -> {new.get(n, 'absent')}"
        for n in dict.fromkeys([*old, *new])
        if old.get(n) != new.get(n)
    ]


def _resolved(name: str, wanted: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return, by normalised name, names and newest versions that fit together of what is wanted and what that needs."""
    python = environments.interpreter(name)
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q", "--report", "-", *wanted]
    report = json.loads(_output(command))
    found = ((item["metadata"]["name"], item["metadata"]["version"]) for item in report["install"])
    return {_key(n): (n, version.partition("+")[0]) for n, version in found}  # a build of one's own is not the index's


def _locked(lock: Path) -> str:
    """Return a lock file whose own dependencies are the newest."""
    npm = shutil.which("npm") or "npm"
    with tempfile.TemporaryDirectory() as folder:
        environments.write_package(lock, Path(folder))
        wanted = [f"{n}@latest" for n in json.loads(lock.read_text(encoding="utf-8"))["packages"][""]["dependencies"]]
        _output(
            [npm, "install", "--package-lock-only", "--save-exact", "--ignore-scripts", "--prefix", folder, *wanted]
        )
        locked = json.loads(Path(folder, "package-lock.json").read_text(encoding="utf-8"))
    for package in locked["packages"].values():
        package.pop("resolved", None)  # where this machine got it from
    return json.dumps({k: v for k, v in locked.items() if k != "name"}, indent=1) + "\n"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, check=True, timeout=WAIT, **environments.QUIET)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"the package index gave no answer in {WAIT:.0f} s") from error
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()]
        raise OSError(f"the package index could not be asked: {said[-1][:300] if said else error}") from error
    return str(done.stdout)


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
