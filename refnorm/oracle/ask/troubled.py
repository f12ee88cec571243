"""Where foreign code raised, its own file and line, and whether it is the machine that gave out."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

OURS = str(Path(__file__).parents[2])
LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def where_of(error: BaseException) -> str:
    """Return " at FILE:LINE", the last place in code that is neither refnorm's nor an installed library's; "" if none.

    Examples
    --------
    >>> try:
    ...     len(3)
    ... except TypeError as error:
    ...     print(where_of(error).rpartition(":")[2])
    2
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((OURS, *LIBRARIES)) and not f.filename.startswith("<frozen")]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def exhausted(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a device, as NumPy, torch, CuPy or XLA says it: nothing is wrong.

    Examples
    --------
    >>> exhausted(MemoryError()), exhausted(RuntimeError("CUDA error: out of memory")), exhausted(ValueError("memory"))
    (True, True, False)
    """
    name, text = type(error).__name__, str(error)
    named = name.endswith("MemoryError") or "OutOfMemory" in name
    return named or "out of memory" in text.lower() or "RESOURCE_EXHAUSTED" in text
