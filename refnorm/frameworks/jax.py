"""What the adapters of frameworks on JAX share beside `refnorm.oracle.ask.doors.in_jax`: versions."""

from __future__ import annotations

from importlib.metadata import version as version_of


def versions(*names: str) -> str:
    """Return the versions of packages, and of jax."""
    return ", ".join(f"{name} {version_of(name)}" for name in (*names, "jax"))
