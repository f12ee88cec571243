"""Where foreign code raised: its own file and line, not those of the libraries that it called."""

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
