"""Where the command line's words go: a terminal, a pipe, a file; nothing of a target's texts acts on any of them."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

CONTROLS = re.compile("[\0-\b\v-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and newline, and what no encoding takes


def visible(text: str) -> str:
    r"""Write control characters and lone surrogates out: a target's texts neither drive a terminal nor break XML.

    Examples
    --------
    >>> visible("red \x1b[31m, a bell \a, half \udc80")
    'red \\x1b[31m, a bell \\x07, half \\udc80'
    """
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def say(line: object) -> None:
    """Tell something beside the result: on standard error, after our name."""
    print(f"refnorm: {visible(str(line))}", file=sys.stderr)


def deliver(content: str, output: Path | None) -> str:
    """Print, or write; return what went wrong."""
    content = visible(content)
    if output is None:
        print(content)
        return ""
    return replace_file((content + "\n").encode(), output)


def replace_file(content: bytes, output: Path) -> str:
    """Write a file as a whole or not at all; return what went wrong.

    A file is written aside and renamed, so that no half of it is ever seen; it keeps its mode, a new one gets the
    umask's. What is behind a link is replaced, not the link. A device or a pipe is written into.
    """
    try:
        place = output.resolve()
        if place.exists() and not place.is_file():
            place.write_bytes(content)
            return ""
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{place.name[:100]}.", suffix=".part") as folder:
            aside = Path(folder) / "whole"
            aside.write_bytes(content)
            if place.exists():
                shutil.copymode(place, aside)
            aside.replace(place)
    except (OSError, RuntimeError) as error:  # the latter of links in a circle
        return f"cannot write {output}: {getattr(error, 'strerror', None) or error}"
    return ""
