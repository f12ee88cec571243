"""One thing measured of a black box: a number or a word, under a key that other code can rely on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

LOST = "lost"  # value of what the box hung or died in
RAISES = "raises"
OTHER = "other"


class Key(StrEnum):
    """What a measurement is about; its ``name`` says it for people, with the particulars."""

    TRAINING = "training"
    INFERENCE = "inference"
    RANKS = "ranks"
    NEW_WEIGHT = "new-weight"
    OLD_WEIGHT = "old-weight"
    OLD_VARIANCE_WEIGHT = "old-variance-weight"
    MOMENTUM = "momentum"
    CORRECTION = "correction"
    COUNTS = "counts"
    WORKING_FORMAT = "working-format"
    EPS_TRAVELS = "eps-travels"
    MOMENTUM_TRAVELS = "momentum-travels"
    INITIAL_STATISTICS = "initial-statistics"
    INITIAL_MEAN = "initial-mean"
    INITIAL_VARIANCE = "initial-variance"
    FIRST_WEIGHT = "first-weight"
    DEFAULT_EPS = "default-eps"
    TRAINING_DIVISOR = "training-divisor"
    INFERENCE_DIVISOR = "inference-divisor"
    TINY_EPS = "tiny-eps"
    KEPT_AXIS = "kept-axis"
    ONE_VALUE = "one-value"
    EMPTY_BATCH = "empty-batch"
    NAN = "nan"
    FORMATS = "formats"
    HALF_SUMS = "half-sums"
    VARIANCE = "variance"
    BATCH_IN_INFERENCE = "batch-in-inference"
    STATISTICS_IN_INFERENCE = "statistics-in-inference"
    FOLDING = "folding"
    FORMULA = "formula"
    UNSEEN = "unseen"
    PROBE = "probe"  # one that raised, or was lost, as a whole


@dataclass(frozen=True)
class Measurement:
    """One thing measured.

    Attributes
    ----------
    key, name : what, for machines and for people.
    value : the number, or the word; `LOST` and `RAISES` say that there is none.
    note : what it means, in words.
    ranks : of x that it holds for, where that is not all.
    short : what a table says of it, where that is not the value.
    killed : whether the box was killed by a signal, of a value that is lost.
    """

    key: Key
    name: str
    value: Any
    note: str = ""
    ranks: tuple[int, ...] = ()
    short: str = ""
    killed: bool = False

    def __str__(self) -> str:
        value = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        return f"{value}: {self.note}" if self.note else value

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain data, without what is empty but for the note."""
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {name: v for name, v in plain.items() if v or name in ("value", "note")}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Measurement:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "key": Key(data["key"]), "ranks": tuple(data.get("ranks", ()))})


def by_rank(key: Key, name: str, outcomes: Sequence[tuple[int, str]]) -> Iterator[Measurement]:
    """Yield what was measured in x of several ranks: each outcome once, with the ranks that it was met in.

    Examples
    --------
    >>> [str(m) for m in by_rank(Key.COUNTS, "m counts", [(2, "all values"), (3, "samples"), (4, "samples")])]
    ['all values: rank 2', 'samples: rank 3, 4']
    """
    for outcome in dict.fromkeys(word for _, word in outcomes):
        ranks = tuple(dict.fromkeys(rank for rank, word in outcomes if word == outcome))
        yield Measurement(key, name, outcome, f"rank {', '.join(map(str, ranks))}", ranks)
