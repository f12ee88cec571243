"""What the lessons use of scikit-learn, which the browser has not: its handwritten digits.

They are the file that scikit-learn carries, the test set of Alpaydin & Kaynak (1998), *Optical Recognition of
Handwritten Digits*, https://doi.org/10.24432/C50P49, under CC BY 4.0.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np


def load_digits(*, return_X_y: bool = True) -> tuple[Any, Any]:
    """Return 1797 pictures of 64 pixels from 0 to 16, float64 (1797, 64), and what they show, int (1797,)."""
    with gzip.open(Path(__file__).with_name("digits.csv.gz")) as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)
