"""A user's own activations: read from a file, checked, standardised, drawn as batches; and how correlated they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FARTHEST = 32  # positions apart, of the correlations that are kept


class Activations(NamedTuple):
    """Activations, standardised channel by channel: of each, over all its values, the mean is 0 and the variance 1.

    Attributes
    ----------
    name : of the file.
    values : float64 of shape (channels, samples, *positions).
    left_out : channels that hold one value everywhere; they have no deviation, and are not among ``values``.
    """

    name: str
    values: Any
    left_out: int

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of one sample in one channel; () if that is a single value."""
        shape: tuple[int, ...] = self.values.shape[2:]
        return shape


def read_activations(path: str | Path, axis: int = 1) -> Activations:
    """Read activations from a file that ``numpy.save`` wrote; nothing in it is unpickled.

    Parameters
    ----------
    path : NAME.npy, an array of real numbers; samples along its first axis, or the second if channels are on the first.
    axis : of the channels.

    Returns
    -------
    Activations
        Held in memory in float64.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no such file, or the array has no such axis, fewer than two samples, values that are not finite, or not
        one channel with a deviation.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "acts.npy"
    ...     np.save(file, np.array([[1, 7], [3, 7]]))             # two samples, two channels, the second constant
    ...     read_activations(file)
    Activations(name='acts.npy', values=array([[-1.,  1.]]), left_out=1)
    """
    x, name = _loaded(Path(path)), Path(path).name
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {x.shape}; samples and channels are two axes at least")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name} has shape {x.shape} and no axis {axis}; --axis says where the channels are")
    x = np.moveaxis(x, axis, 0)
    if x.shape[1] < 2 or x.size == 0:
        raise ValueError(f"{name} has shape {x.shape} with its channels first; a batch needs two samples")
    if (bad := np.argwhere(~np.isfinite(x))).size:
        channel, sample, *_ = (int(k) for k in bad[0])
        raise ValueError(
            f"{name} holds {len(bad)} of {x.size} values that are not finite, the first in channel {channel} of sample "
            f"{sample}; such a value spoils its channel, so mend or leave out these samples"
        )
    wide = x.reshape(len(x), x.shape[1], -1).astype(np.float64)
    varies = np.ptp(wide, axis=(1, 2)) > 0
    if not varies.any():
        raise ValueError(f"{name} holds one value in every channel; there is nothing to normalise")
    wide = wide[varies]
    wide -= wide.mean(axis=(1, 2), keepdims=True)
    wide /= np.abs(wide).max(axis=(1, 2), keepdims=True)  # so that no square overflows or vanishes
    wide /= np.sqrt((wide**2).mean(axis=(1, 2), keepdims=True))
    return Activations(name, wide.reshape(-1, *x.shape[1:]), int((~varies).sum()))


def _loaded(path: Path) -> Any:
    """Return the array of a file, mapped into memory, or say what is wrong with the file."""
    make = f'numpy.save("{path.stem}.npy", activations) writes such a file'
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:  # NumPy's words tell one to unpickle
        objects = "it holds Python objects" if "objects in dtype" in str(error) else "it is damaged, or something else"
        raise ValueError(f"{path} is no array of numbers in NumPy's format .npy: {objects}; {make}") from error
    if not isinstance(x, np.ndarray):
        x.close()
        raise ValueError(f"{path} holds several arrays; {make}")
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {x.dtype}, not real numbers; {make}")
    return x


def drawn(values: Any, batch: int, columns: int, rng: np.random.Generator) -> Any:
    """Return batches, each of another random channel and of ``batch`` samples, none twice, as a data loader takes them.

    Parameters
    ----------
    values : of `Activations`.
    batch : samples in a batch, at most those that there are.
    columns : batches.
    rng : of what is random.

    Returns
    -------
    array of shape (values per batch, columns)

    Examples
    --------
    >>> values = np.arange(6.0).reshape(1, 3, 2)                  # a channel, three samples, two positions
    >>> sorted(drawn(values, 3, 1, np.random.default_rng(0))[:, 0].tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    channels, samples = values.shape[:2]
    chosen = rng.random((columns, samples)).argsort(axis=1)[:, :batch]
    channel = rng.integers(channels, size=(columns, 1))
    return values.reshape(channels, samples, -1)[channel, chosen].reshape(columns, -1).T


def correlations(activations: Activations) -> dict[str, Any]:
    r"""Measure how alike the values of one sample are.

    rho is the mean correlation of two positions of a sample, one with itself included, so that the mean of a sample has
    the variance rho sigma^2 and its P values tell as much of it as 1/rho independent ones. A batch of N of n samples,
    none twice, has E[s_b^2] = sigma^2 (1 - rho/N (n - N)/(n - 1)).

    Returns
    -------
    dict
        ``samples``; ``rho``, between 1/P for independent values and 1; ``along``, for each axis of positions the
        correlation of values 0, 1, 2, ... apart. All are means over the channels.

    Raises
    ------
    ValueError
        A sample has a single value in each channel.

    Examples
    --------
    >>> rows = np.array([[1.0, 1, 1, 1], [-1, -1, -1, -1]])       # two samples, whose four values are alike
    >>> correlations(Activations("rows", rows[None], 0))
    {'samples': 2, 'rho': 1.0, 'along': [[1.0, 1.0, 1.0, 1.0]]}
    """
    values = activations.values
    if math.prod(activations.positions) < 2:
        raise ValueError(
            f"{activations.name} has a single value per sample and channel; there are no positions to correlate"
        )
    along = []
    for axis, length in enumerate(activations.positions, start=2):
        lined = np.moveaxis(values, axis, -1)
        reach = range(min(length, FARTHEST + 1))
        along.append([float((lined[..., k:] * lined[..., : length - k]).mean()) for k in reach])
    means = values.reshape(*values.shape[:2], -1).mean(axis=2)
    return {"samples": values.shape[1], "rho": float((means**2).mean()), "along": along}
