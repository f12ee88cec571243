"""The device that a target computes on, where its library is torch or JAX: `--device cuda`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import NamedTuple

from refnorm.oracle.ask.target import Target, TargetError

TORCH = "refnorm.oracle.ask.doors.in_torch"  # read by way of it


class Device(NamedTuple):
    """The default device of torch and of JAX: its name; for torch what it is, or why it is none, in words."""

    name: str
    in_torch: str
    trouble: str

    def of(self, target: Target) -> Target:
        """Return a target that says where it is, and whose code puts it there.

        Raises
        ------
        TargetError
            If its library has no such device here.
        """
        words, statements = [], []
        if "jax" in sys.modules:
            words.append(_in_jax(self.name))
            statements.append(f"import os; os.environ['JAX_PLATFORMS'] = {_platforms(self.name)!r}")
        if not words or TORCH in sys.modules:
            if self.trouble:
                raise TargetError(self.trouble)
            words.append(self.in_torch)
            statements.append(f"import torch; torch.set_default_device({self.name!r})")
        imported, expression = target.code
        statements.append(imported)
        return replace(target, array="; ".join(words), code=("; ".join(filter(None, statements)), expression))


def place(device: str) -> Device:
    """Make a device the default one, for what a target builds and is given: torch's at once, JAX's when it is imported.

    Raises
    ------
    TargetError
        If torch has no such device here, or none that numbers come back from, and there is no JAX.
    """
    os.environ["JAX_PLATFORMS"] = _platforms(device)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or nothing would be left beside it
    words = trouble = ""
    try:
        import torch

        torch.ones(1, device=device).cpu().numpy()
        torch.set_default_device(device)
        name, words = torch.device(device), f"torch {torch.__version__} on {device}"
        if name.type == "cuda":
            words += f" ({torch.cuda.get_device_name(name)}, cuDNN {torch.backends.cudnn.version()})"
    except (ImportError, RuntimeError, AssertionError, NotImplementedError) as error:
        trouble = _refused("torch", device, error)
        if not find_spec("jax"):
            raise TargetError(trouble) from error
    return Device(device, words, trouble)


def _platforms(device: str) -> str:
    """Return what JAX is to compute on: the CPU stays at hand."""
    platform = device.partition(":")[0]
    return platform if platform == "cpu" else f"{platform},cpu"


def _in_jax(device: str) -> str:
    """Say what JAX computes on."""
    import jax

    try:
        first = jax.devices()[0]
        if first.platform == "cpu" and not device.startswith("cpu"):  # taken in silence otherwise
            raise RuntimeError("it has the CPU alone")
    except RuntimeError as error:
        raise TargetError(_refused("JAX", device, error)) from error
    name = "" if first.platform == "cpu" else f" ({first.device_kind})"
    return f"jax {jax.__version__} on {first}{name}"


def _refused(library: str, device: str, error: BaseException) -> str:
    said = next(iter(str(error).splitlines()), type(error).__name__)[:120]
    return f"--device {device}: {library} cannot compute there ({said}); name a device that it has, as cuda:0 or mps"
