"""One case of any size, on trial: where indices of 32 bits give out, if the memory is there.

    python tests/huge.py TARGET [SAMPLES] [CHANNELS] [FORMAT]

33554433 samples of 64 channels are 2^31 + 64 values of x. Prints what memory that takes before it begins, then each
quantity with its largest error in units of its bound, and the memory that was taken. Exit status: 0 right, 1 not right,
2 not tried.
"""

from __future__ import annotations

import os
import resource
import sys

from refnorm.conventions import CONVENTIONS
from refnorm.golden.inputs import case
from refnorm.oracle.ask.target import load_target
from refnorm.oracle.observe import observed

JUDGE = 100  # bytes for each value of x that a trial holds at once, beside what the implementation takes


def main(target: str, samples: str = "33554433", channels: str = "64", kind: str = "float16") -> int:
    """Put a target on trial in one case."""
    values = int(samples) * int(channels)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    print(f"{values} values of x: {JUDGE * values / 1e9:.3g} GB of {there / 1e9:.3g} GB")
    if JUDGE * values > there:
        print("not tried: the memory is not there")
        return 2
    loaded = load_target(target)
    row = CONVENTIONS[loaded.convention or "torch"]
    wrong = 0
    for name, path in loaded.paths.items():
        for o in observed(path, row, case(f"bn.training.{kind}.sized.{samples}x{channels}")):
            wrong += not o.passed
            print(f"{name}: {o.quantity}: {o.trouble.text if o.trouble else f'{o.ratio:.3g}'}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / values:.3g} bytes for each value")
    return int(wrong > 0)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
