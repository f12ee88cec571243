"""The oracle: puts an implementation on trial and says in words what is wrong with it."""

from refnorm.oracle.trial import check, reproduce

__all__ = ["check", "reproduce"]
