"""A framework's own C++ sources, compiled into a shared library where they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Commands = Callable[[Path, Path, Path], Sequence[Sequence[str]]]


def compiled(name: str, file: str, commands: Commands) -> Path:
    """Return the path of a library, which is compiled if that has not been done.

    Parameters
    ----------
    name : of the framework. Its sources are in the folder ``source`` of the running environment, where `refnorm matrix`
        unpacks them, or in the folder that REFNORM_NAME names.
    file : among the sources, relative to their folder, by which they are known.
    commands : called with the folder of the sources, one to build in, and the library to write; returns command lines.

    Raises
    ------
    ImportError
        If the sources are not there, or a command fails.
    """
    variable = f"REFNORM_{name.upper()}"
    places = [*([Path(os.environ[variable])] if variable in os.environ else [])]
    places += sorted(Path(sys.prefix, "source").glob("*"))
    root = next((place for place in places if (place / file).exists()), None)
    if root is None:
        raise ImportError(f"the sources of {name} are not here; unpack them and set {variable} to their folder")
    build = root / "refnorm-build"
    library = build / f"{name}.so"
    if not library.exists():
        build.mkdir(exist_ok=True)
        aside = build / f"{name}.{os.getpid()}.so"
        for command in commands(root, build, aside):
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = [line for line in str(getattr(error, "stderr", "")).splitlines() if "error" in line]
                raise ImportError(f"{name} could not be compiled: {said[0] if said else error}") from error
        aside.replace(library)
    return library
