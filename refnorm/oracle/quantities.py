"""The quantities that are judged: their names, which function returns them, and their shape and format."""

from __future__ import annotations

from refnorm.golden.directions import SECOND_ORDER
from refnorm.golden.inputs import Case

RETURNS: dict[str, tuple[str, ...]] = {  # function of an implementation -> the quantities that it returns
    "train": ("y, training", "running mean", "running variance"),
    "backward": ("dx", "dgamma", "dbeta"),
    "infer": ("y, inference",),
    "frozen": ("frozen y",),
}
FROZEN_BACKWARD = tuple(f"frozen {name}" for name in RETURNS["backward"])
QUANTITIES = (*RETURNS["train"], *RETURNS["backward"], *RETURNS["infer"], *RETURNS["frozen"], *FROZEN_BACKWARD)
FURTHER = tuple(prefix + name for prefix in ("", "frozen ") for names in SECOND_ORDER.values() for name in names)
ELEMENTWISE = ("y, training", "y, inference", "frozen y", "dx", "jvp", "double backward ddy", "double backward dx")
BEHAVIOURS = (
    "one value per channel",
    "empty batch",
    "NaN and inf",
    "arguments unchanged",
    "shapes and dtypes",
    "repeatability",
)


def elementwise(quantity: str) -> bool:
    """Whether a quantity has the shape and format of x, not those of the parameters."""
    return quantity in ELEMENTWISE or quantity.removeprefix("frozen ") in ELEMENTWISE


def kind_of(case: Case, quantity: str) -> str:
    """Return the format that a quantity comes back in: that of x, or of the parameters."""
    return case.kind if elementwise(quantity) else case.parameters


def shape_of(case: Case, quantity: str) -> tuple[int, ...]:
    """Return the shape that a quantity must have."""
    shape: tuple[int, ...] = case.x.shape if elementwise(quantity) else case.running_mean.shape
    return shape


def absent(case: Case, quantity: str) -> bool:
    """Whether a quantity is the gradient of a parameter that the case has not, so that None may stand for it."""
    return case.gamma is None if quantity.endswith("dgamma") else case.beta is None and quantity.endswith("dbeta")
