"""Run exported StableHLO programs with jaxlib, and say of each result where it is farthest from the exact one.

    refnorm golden export DIR --format stablehlo --dtypes float32
    python tests/run_stablehlo.py DIR

Not refnorm's judgement, which derives how far a result may be off: only what a consumer of the files sees.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def executed(directory: Path) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield for each result of each program: the case's id, the result's name, what is computed, what is exact."""
    import jax
    from jax._src import xla_bridge
    from jax._src.lib import xla_client

    backend = xla_bridge.get_backend("cpu")
    devices = xla_client.DeviceList(tuple(backend.local_devices()[:1]))
    with jax.enable_x64(True):
        for entry in json.loads((directory / "export.json").read_text())["cases"]:
            text = (directory / entry["file"]).read_bytes()
            ran = backend.compile_and_load(text, devices, xla_client.CompileOptions()).execute_sharded([])
            arrays = [np.asarray(shards[0]) for shards in ran.disassemble_into_single_device_arrays()]
            count = len(entry["results"])
            for name, got, exact in zip(entry["results"], arrays[:count], arrays[count:], strict=True):
                yield entry["id"], name, got, exact


def main() -> None:
    """Print the farthest of each operation and result."""
    worst: dict[tuple[str, str], tuple[float, str, Any, Any]] = {}
    programs = set()
    for id, name, got, exact in executed(Path(sys.argv[1])):
        programs.add(id)
        got, exact = got.astype(np.float64).ravel(), exact.astype(np.float64).ravel()
        error = np.abs(got - exact) / np.max(np.abs(exact), initial=np.finfo(float).tiny)
        k = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        where = (id.split(".")[1], name)
        found = float(np.where(np.isnan(error[k]), np.inf, error[k])), id, got[k], exact[k]
        worst[where] = max(worst.get(where, (-1.0, "", 0, 0)), found)
    for (operation, name), (_, id, got, exact) in worst.items():
        print(f"{operation:9} {name:7} {got:.8g} in place of {exact:.8g}: {id}")
    print(f"{len(programs)} programs ran")


if __name__ == "__main__":
    main()
