"""Run the cells of a page, one after another, in one namespace, as a notebook does."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import traceback
from typing import Any

CELL = "this cell"
SHOWN = 20_000  # characters of what a cell prints
NAMES: dict[str, Any] = {"__name__": "__main__"}


def run(code: str) -> str:
    """Return, as JSON, what a cell prints, its last expression's value included; what that draws is under "drawn".

    What it raises is said under "trouble", and under "line" where, if that is in the cell.
    """
    printed, answer = io.StringIO(), dict[str, Any]()
    try:
        body = ast.parse(code, CELL).body
        last = body.pop().value if body and isinstance(body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            exec(compile(ast.Module(body, []), CELL, "exec"), NAMES)
            value = eval(compile(ast.Expression(last), CELL, "eval"), NAMES) if last is not None else None
            if hasattr(type(value), "_repr_svg_"):
                answer["drawn"] = value._repr_svg_()
            elif value is not None:
                print(repr(value))
    except ModuleNotFoundError as error:
        answer = {
            "trouble": f"{error.name} is not there in the browser; open this page as a notebook to run this cell."
        }
    except BaseException as error:  # whatever a reader's code raises, SystemExit included
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == CELL]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        answer = {"trouble": f"{type(error).__name__}: {words}".removesuffix(": "), "line": line}
    return json.dumps({"printed": printed.getvalue()[:SHOWN], **answer})
