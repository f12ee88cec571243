"""Parameters and statistics that come in one argument: a dictionary, an object with attributes, a pair, a class."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from refnorm.oracle.ask.doors.names import role_of

ARRAYS = ("gamma", "beta", "mean", "var")
PAIRS = {"params": ("gamma", "beta"), "state": ("mean", "var")}


class Named(dict[str, Any]):
    """A dictionary whose keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        """Return the value of a key."""
        if name in self:
            return self[name]
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the value of a key."""
        self[name] = value

    def _replace(self, **changed: Any) -> Named:
        return Named({**self, **changed})


class Asked(dict[str, Any]):
    """A dictionary that answers to any key by what it stands for, and remembers which were asked for and written.

    It answers to attributes likewise, and remembers that it was asked so in ``by_attribute``.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        known: Any = {"values_by_role": values, "keys_by_role": {}, "by_attribute": False, "around": ()}
        vars(self).update(known)

    def _role(self, key: str) -> str:
        role = role_of(key)
        if role in self.values_by_role:
            self.keys_by_role.setdefault(role, (*self.around, key))
            return role
        return role if role in PAIRS else ""

    def __missing__(self, key: str) -> Any:
        role = self._role(key)
        if not role:
            raise KeyError(key)
        if role in self.values_by_role:
            return self.values_by_role[role]
        inner = Asked(self.values_by_role)
        vars(inner).update(keys_by_role=self.keys_by_role, around=(*self.around, key))
        super().__setitem__(key, inner)
        return inner

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and bool(self._role(key)))

    def __getattr__(self, name: str) -> Any:
        """Return what an attribute stands for."""
        if name.startswith("__") or (name not in self and not self._role(name)):
            raise AttributeError(f"no attribute {name!r}")
        vars(self)["by_attribute"] = True
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set what an attribute stands for."""
        vars(self)["by_attribute"] = True
        self[name] = value

    def _replace(self, **changed: Any) -> Named:
        vars(self)["by_attribute"] = True
        return Named(changed)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or of what it stands for."""
        return self[key] if key in self else default  # noqa: SIM401 - this is that method

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or of what it stands for."""
        return self[key] if key in self else super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Return the value of a key, or of what it stands for."""
        return self[key] if key in self else super().pop(key, *default)


def nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return a dictionary of dictionaries, with each value where its keys lead.

    Examples
    --------
    >>> nested({("params", "scale"): 1.0, ("params", "bias"): 0.0, ("count",): 3})
    {'params': {'scale': 1.0, 'bias': 0.0}, 'count': 3}
    """
    found: dict[str, Any] = {}
    for keys, value in values.items():
        inner = found
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
    return found


@dataclasses.dataclass(frozen=True)
class Form:
    """What one argument holds: the name of each part by what it stands for, and how the whole is made of the parts."""

    keys: Mapping[str, str]
    make: Callable[[dict[str, Any]], Any]

    def filled(self, values: Mapping[str, Any]) -> Any:
        """Return the argument with these values, by what they stand for, in it."""
        return self.make({name: values[role] for role, name in self.keys.items() if role in values})


def forms_of(function: Callable[..., Any], parameters: Any) -> Iterator[dict[str, Form]]:
    """Yield the forms in which a function may take several things in one argument; {} is for dictionaries that ask."""
    several = [p for p in parameters if p.role in PAIRS]
    ways = [[*_classes(function, p.name), None, _pair(p.role)] for p in several]
    for chosen in product(*ways):
        yield {p.name: form for p, form in zip(several, chosen, strict=True) if form is not None}


def _pair(role: str) -> Form:
    return Form(dict(zip(PAIRS[role], PAIRS[role], strict=True)), lambda parts: tuple(parts.values()))


def _classes(function: Callable[..., Any], name: str) -> list[Form]:
    """Return the classes whose fields are parameters or statistics: that of an annotation."""
    try:
        annotated = typing.get_type_hints(function).get(name)
    except Exception:  # of foreign code, or of names that are not there
        annotated = None
    return [form for form in (_fields(annotated),) if form is not None]


def _fields(kind: Any) -> Form | None:
    """Return how a NamedTuple or a dataclass is made; None of anything else."""
    if not isinstance(kind, type):
        return None
    names = (
        getattr(kind, "_fields", None) or [f.name for f in dataclasses.fields(kind) if f.init]
        if (hasattr(kind, "_fields") or dataclasses.is_dataclass(kind))
        else []
    )
    keys = {role_of(n): n for n in reversed(list(names)) if role_of(n) in (*ARRAYS, "eps", "momentum", "count")}
    return Form(keys, lambda parts: kind(**parts)) if set(keys) & set(ARRAYS) else None
