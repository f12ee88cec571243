"""Judge code that was typed into the page: what `refnorm check FILE` does, without a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refnorm.oracle.ask.target import TargetError, load_target
from refnorm.oracle.plan import Depth
from refnorm.oracle.report import ROWS
from refnorm.oracle.trial import trial

FILE = "your_code.py"
SHOWN = 4000  # characters of what the code prints


class Shallow(Depth):
    """All that a trial asks but sizes at which kernels break: in a browser they take many times as long as the rest."""

    def ids(self, kind: str) -> list[str]:
        """Return none."""
        return []


def judge(code: str, progress: Callable[[int, int, str], Any], dtypes: Sequence[str] | None = None) -> str:
    """Return, as JSON, the report as `refnorm.oracle.report.Report.to_dict` gives it, and its text.

    "rows" says which quantities are shown as one. Of code that cannot be judged it is said why under "trouble", and
    under "line" where, if that is known.
    """
    Path(FILE).write_text(code, encoding="utf-8")
    printed = io.StringIO()
    try:
        compile(code, FILE, "exec")
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            report = trial(load_target(FILE), None, dtypes=dtypes, progress=progress, depth=Shallow())
        answer: dict[str, Any] = {"report": report.to_dict(), "text": str(report), "rows": ROWS}
    except SyntaxError as error:
        answer = {"trouble": f"{type(error).__name__}: {error.msg}", "line": error.lineno}
    except (TargetError, ValueError) as error:
        answer = {"trouble": str(error), "line": line_of(error.__cause__)}
    return json.dumps({**answer, "printed": printed.getvalue()[:SHOWN]})


def line_of(error: BaseException | None) -> int | None:
    """Return the last line of the code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = [frame.lineno for frame in frames if os.path.basename(frame.filename) == FILE]
    return own[-1] if own else None
