"""The child's side of `refnorm.oracle.ask.process`: load a target and put the oracle's questions to it.

Started as ``python -m refnorm.oracle.worker ORDER``; writes one JSON line per case, then the result or an error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from refnorm.oracle.ask.process import Loss, Progress
from refnorm.oracle.ask.target import TargetError, load_target


def work(order: str) -> None:
    """Do what is ordered in this process."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the target prints goes where the parent keeps it

    def send(message: dict[str, Any]) -> None:
        protocol.write(json.dumps(message) + "\n")
        protocol.flush()

    def step(number: int, of: int, case: str) -> None:
        send({"number": number, "of": of, "case": case})

    wish = json.loads(order)
    if "cores" in wish and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: wish["cores"]])
    try:
        send({"result": _done(wish, step)})
    except (TargetError, ValueError) as error:
        send({"error": str(error)})
    sys.stdout.flush()
    os._exit(0)  # whatever the target left running does not keep us


def _done(wish: dict[str, Any], step: Progress) -> Any:
    """Do what is asked, and return the result as plain data."""
    if wish["do"] == "gradients":
        from refnorm.oracle.check_gradients import as_gradient_target, check_gradients

        found = check_gradients(as_gradient_target(wish["target"]), seed=wish["seed"], progress=step)
        return {"gradients": found.to_dict(), "text": str(found)}
    loaded = load_target(wish["target"], array=wish.get("array", "numpy"))
    lost = {case: Loss(*loss) for case, loss in wish.get("lost", {}).items()}
    if wish["do"] == "identify":
        from refnorm.oracle.identify import identify, summary

        return summary(loaded, identify(loaded, step, lost))
    if wish["do"] == "numerics":
        from refnorm.oracle.measure.numerics import numerics

        return numerics(loaded, step, lost, **wish.get("how", {}))
    from refnorm.oracle.trial import trial

    return trial(loaded, wish["convention"], dtypes=wish["dtypes"], progress=step, lost=lost).to_dict()


if __name__ == "__main__":
    work(sys.argv[1])
