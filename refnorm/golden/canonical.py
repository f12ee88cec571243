"""The canonical form of the set's files, and the digest by which a case is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def canonical(document: dict[str, Any], spread: str = "cases") -> str:
    """Serialise in the canonical form: one line per field, arrays and inner objects on one line each."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def block(items: Iterable[str], brackets: str) -> str:
        return brackets[0] + "\n" + ",\n".join(items) + "\n" + brackets[1]

    fields = []
    for key, value in document.items():
        if key != spread:
            fields.append(f"{line(key)}: {line(value)}")
        elif isinstance(value, list):
            entries = (block((f"{line(k)}: {line(v)}" for k, v in entry.items()), "{}") for entry in value)
            fields.append(f"{line(key)}: {block(entries, '[]')}")
        else:
            fields.append(f"{line(key)}: {block((f'{line(k)}: {line(v)}' for k, v in value.items()), '{}')}")
    return block(fields, "{}") + "\n"


def digest(entry: dict[str, Any]) -> str:
    """Return twelve hexadecimal digits of a case's SHA-256."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:12]
