"""refnorm conventions: the table, one row, or what changes from one to another."""

from __future__ import annotations

import argparse

from refnorm.cli.common import CONFORMS, Subparsers, add_command, failed
from refnorm.conventions import POLICIES, ROWS, Convention, differences

DESCRIPTION = """\
Show what each framework means by batch normalization: the table, one row, or what changes from A to B.

example:
  refnorm conventions
  refnorm conventions torch
  refnorm conventions torch onnx
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "conventions", "what frameworks mean", DESCRIPTION)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the table, one row, or what changes from one to another."""
    unknown = [name for name in options.names if name not in ROWS]
    if unknown or len(options.names) > 2:
        what = f"there is no convention {unknown[0]!r}" if unknown else "give at most two conventions"
        return failed(f"{what}; the rows are {', '.join(ROWS)}")
    rows = [ROWS[name] for name in options.names]
    if len(rows) == 2:
        a, b = (row.name for row in rows)
        print("\n".join(differences(rows[0], rows[1]) or [f"nothing changes from {a} to {b}"]))
        layer = "refnorm.State(mean, var, momentum, eps, gamma, beta)"
        print(f'\nAll of it: refnorm.convert({layer}, "{a}", "{b}", count=...)')
    elif rows:
        print("\n".join(_row(rows[0])))
    else:
        print("\n".join(_table()))
    return CONFORMS


def _row(row: Convention) -> list[str]:
    """Describe one row, a line for each of its fields."""
    weight = {"new": "weight of the new batch", "old": "weight of the old value", "sums": "factor on running sums"}
    stored = "unbiased, m/(m - 1) times the biased one" if row.correction else "biased"
    zero = "" if row.zero_eps else "; eps = 0 may be refused in training"
    return [
        f"{row.name}: {row.title}",
        f"  momentum             {weight[row.momentum]}",
        f"  running variance     {stored}",
        *(f"  one value            {POLICIES[p]}" for p in row.one_value),
        *(f"  empty batch          {POLICIES[p]}" for p in row.empty),
        f"  eps and momentum     travel as {_travel(row)}{zero}",
        *(["  training             normalises by the moved averages"] if row.normalises == "moved" else []),
        f"  ranks of x           {', '.join(map(str, row.ranks))}",
        f"  note                 {row.note}",
        f"  source               {row.source}",
    ]


def _table() -> list[str]:
    """Return the whole table, a line for each row."""
    wide = max(map(len, ROWS)) + 1
    head = (
        f"{'name':<{wide}}{'momentum weighs':<17}{'running variance':<18}{'one value':<24}{'empty batch':<40}attributes"
    )
    lines = [head, "-" * len(head)]
    for row in ROWS.values():
        weighs = {"new": "the new batch", "old": "the old value", "sums": "running sums"}[row.momentum]
        stored = "unbiased" if row.correction else "biased"
        policies = f"{' or '.join(row.one_value):<24}{' or '.join(row.empty):<40}"
        lines.append(f"{row.name:<{wide}}{weighs:<17}{stored:<18}{policies}{_travel(row)}")
    return lines


def _travel(row: Convention) -> str:
    return row.attributes + (f", momentum as {row.momentum_as}" if row.momentum_as else "")
