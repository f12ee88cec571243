"""The device that a target computes on, where its library is torch: `--device cuda`."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from refnorm.oracle.ask.target import Target, TargetError


class Device(NamedTuple):
    """Torch's default device: its name, and what it is, in words."""

    name: str
    words: str

    def of(self, target: Target) -> Target:
        """Return a target that says where it is, and whose code puts it there."""
        imported, expression = target.code
        here = f"import torch; torch.set_default_device({self.name!r})"
        return replace(target, array=self.words, code=("; ".join(filter(None, (here, imported))), expression))


def place(device: str) -> Device:
    """Make a device torch's default one, for what a target builds and is given.

    Raises
    ------
    TargetError
        If torch has no such device here, or none that numbers come back from.

    Examples
    --------
    >>> place("warp")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    refnorm.oracle.ask.target.TargetError: --device warp: ...
    """
    try:
        import torch

        torch.ones(1, device=device).cpu().numpy()
        torch.set_default_device(device)
    except (ImportError, RuntimeError, AssertionError, NotImplementedError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise TargetError(
            f"--device {device}: torch cannot compute there ({said}); name a device that it has, as cuda:0 or mps"
        ) from error
    name, words = torch.device(device), f"torch {torch.__version__} on {device}"
    if name.type == "cuda":
        words += f" ({torch.cuda.get_device_name(name)}, cuDNN {torch.backends.cudnn.version()})"
    return Device(device, words)
