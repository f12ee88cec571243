"""The golden cases: inputs that inform, with exact results."""

from refnorm.golden.cases import Case, case, cases, expected

__all__ = ["Case", "case", "cases", "expected"]
