"""The committed pictures and, for each, the script with its experiment.

``figures/NAME.py`` has ``data()``, the experiment, whose result is committed as ``NAME.json``; ``draw(data)``, the
picture ``NAME.svg``; ``ALT``, what it shows in words; and, where pages of `tutorials` are made of it, ``pages(data)``.
Where ``SOURCE`` says that the data come from elsewhere, ``data()`` reads them there. Where a machine's
last bits reach the data, as in long training, ``same(committed, new)`` says whether two runs agree.
"""

from typing import Any

import numpy as np


def within_the_seeds(*runs: Any) -> bool:
    """Tell whether two runs agree: each mean over the seeds, the last axis, lies within the seeds of the other run."""
    a, b = (np.array(run) for run in runs)
    return a.shape == b.shape and all(
        bool(np.all((q.min(-1) <= p.mean(-1)) & (p.mean(-1) <= q.max(-1)))) for p, q in ((a, b), (b, a))
    )
