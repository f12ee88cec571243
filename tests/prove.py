"""Check the proofs of `tests/proof` with Coq, and show that they can fail.

    apt-get install --no-install-recommends coq libcoq-coquelicot libcoq-interval      # Coq 8.16, Debian 12
    python tests/prove.py                                                              # two to three minutes

1. Every file compiles, and what the theorems assume are the axioms of Coq's real numbers and nothing else.
2. Each altered formula is refused for the right reason: the one lemma that states it does not compile, everything else
   does, and at a golden case the altered formula provably has another value than the golden number.
3. Formulas that are written otherwise and mean the same are accepted.
4. Golden numbers are certified, and numbers that are one place off are refuted (`certificates.py`).

Exit status 0 if all of that is so, 1 if not, 2 if there is no Coq.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import certificates

SOURCES = Path(__file__).parent / "proof"
FILES = ("sums", "formulas", "covariance", "batch_norm", "second_order", "frozen", "statistics")
STATEMENT = re.compile(r"^(?:Lemma|Theorem|Corollary) (\w+)", re.MULTILINE)
THEOREM = re.compile(r"^(?:Theorem|Corollary) (\w+)", re.MULTILINE)
AXIOMS = {  # of Coq's real numbers and of classical analysis: none is ours
    "ClassicalDedekindReals.sig_forall_dec",
    "ClassicalDedekindReals.sig_not_dec",
    "FunctionalExtensionality.functional_extensionality_dep",
    "Classical_Prop.classic",
}
INSTALL = "apt-get install --no-install-recommends coq libcoq-coquelicot libcoq-interval"


class Alteration(NamedTuple):
    """A change of one formula: the statement that must refuse it, and the golden results that it must not give."""

    words: str
    old: str
    new: str
    refused_by: str = ""
    operation: str = ""  # of the golden cases; "" where the set has none of the kind
    result: str = ""


DX = "(dy i - mean c dy - x_hat x i * mean c (fun j => dy j * x_hat x j))."
ALTERED = (
    Alteration("dx without the path through the variance", DX, "(dy i - mean c dy).", "Sum_dx", "backward", "dx"),
    Alteration(
        "dx with m - 1 in place of m",
        DX,
        "(dy i - mean c dy - x_hat x i * (Sum c (fun j => dy j * x_hat x j) / (count c - 1))).",
        "Sum_dx",
        "backward",
        "dx",
    ),
    Alteration(
        "dgamma as a mean in place of a sum",
        "Definition dgamma (dy x : array) : R := Sum c (fun i => dy i * x_hat x i).",
        "Definition dgamma (dy x : array) : R := mean c (fun i => dy i * x_hat x i).",
        "dgamma_is_a_covariance",
        "backward",
        "dgamma",
    ),
    Alteration(
        "forward mode that forgets that the mean moves",
        "  a i - mean c a - x_hat x i * mean c (fun j => a j * x_hat x j).",
        "  a i - x_hat x i * mean c (fun j => a j * x_hat x j).",
        "P_is_a_rest",
        "jvp",
        "dy",
    ),
    Alteration(
        "double backward without one of two symmetric terms",
        "                      + mean c (fun j => dy j * x_hat x j) * P x ddx i\n",
        "",
        "double_backward_is_the_derivative",
        "double_backward",
        "dx",
    ),
    Alteration(
        "frozen double backward that divides by the variance",
        "fun i => ddgamma * dy i / frozen_std.",
        "fun i => ddgamma * dy i / (frozen_std * frozen_std).",
        "frozen_double_backward_is_the_derivative",
        "frozen_double_backward",
        "dx",
    ),
    Alteration(
        "masked dx with the statistics of all values",
        "if where_ i then dx counted eps",
        "if where_ i then dx c eps",
        "masked_backward_is_the_derivative",
    ),
    Alteration(
        "merged variance without the spread of the means",
        "\n  + delta * delta * (n_a / (n_a + n_b) * (n_b / (n_a + n_b)))",
        "",
        "merged_var_is_the_variance_of_all",
    ),
)
REWRITTEN = (
    Alteration(
        "dx multiplied out, one division last",
        "gamma / std x * " + DX,
        "(gamma * dy i - gamma * mean c dy - gamma * x_hat x i * mean c (fun j => dy j * x_hat x j)) / std x.",
    ),
    Alteration(
        "the variance of both parts over one count",
        "var_a * (n_a / (n_a + n_b)) + var_b * (n_b / (n_a + n_b))",
        "(n_a * var_a + n_b * var_b) / (n_a + n_b)",
    ),
)


class Refused(Exception):
    """Coq does not accept a file: at which statement, and what it says."""

    def __init__(self, file: str, statement: str, words: str) -> None:
        super().__init__(f"{statement} ({file}.v): {words}")
        self.file, self.statement = file, statement


def prepared(folder: Path, alteration: Alteration | None = None) -> Path:
    """Copy the sources to a new folder, with one formula altered."""
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("[!a-z]*", "*.[!v]*"))
    if alteration is not None:
        path = folder / "formulas.v"
        text = path.read_text(encoding="utf-8")
        assert text.count(alteration.old) == 1, alteration.old
        path.write_text(text.replace(alteration.old, alteration.new), encoding="utf-8")
    return folder


def coq(folder: Path, file: str) -> str:
    """Compile one file; return what Coq prints, raise Refused if it does not accept it."""
    command = ["coqc", "-q", "-w", "-ambiguous-paths", "-Q", ".", "BN", f"{file}.v"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        error = re.search(r"line (\d+), characters [\d-]+:\nError:?\s*(.*)", done.stderr, re.DOTALL)
        if not error:
            raise RuntimeError(f"{file}.v: {done.stderr}")
        before = "\n".join((folder / f"{file}.v").read_text(encoding="utf-8").split("\n")[: int(error[1])])
        statements = STATEMENT.findall(before) or [f"line {error[1]}"]
        raise Refused(file, statements[-1], " ".join(error[2].split())[:200])
    return done.stdout


def prove(folder: Path, files: tuple[str, ...] = FILES) -> int:
    """Compile these files in order; return how many statements they prove."""
    for file in files:
        coq(folder, file)
    return sum(len(STATEMENT.findall((folder / f"{file}.v").read_text(encoding="utf-8"))) for file in files)


def assumptions(folder: Path) -> set[str]:
    """Return all that the theorems rest on without proof; what is admitted is among it."""
    theorems = [name for file in FILES for name in THEOREM.findall((folder / f"{file}.v").read_text(encoding="utf-8"))]
    lines = [f"From BN Require Import {' '.join(FILES)}.", *(f"Print Assumptions {name}." for name in theorems)]
    (folder / "assumptions.v").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return set(re.findall(r"^([\w.]+)\s*:(?!\n)", coq(folder, "assumptions"), re.MULTILINE))


def admit(folder: Path, file: str, statement: str) -> None:
    """Take the proof of one statement away: it is believed."""
    path = folder / f"{file}.v"
    text = path.read_text(encoding="utf-8")
    proof = re.compile(rf"^((?:Lemma|Theorem|Corollary) {statement}\b.*?)\nProof\..*?Qed\.", re.MULTILINE | re.DOTALL)
    changed, count = proof.subn(r"\1\nAdmitted.", text)
    if count != 1:
        raise RuntimeError(f"{file}.v: {statement} is not even a statement when its proof is taken away")
    path.write_text(changed, encoding="utf-8")


def refusals(folder: Path) -> list[str]:
    """Return the statements that do not compile: each is admitted in its turn, so that all others are tried."""
    refused: list[str] = []
    for file in FILES:
        while True:
            try:
                coq(folder, file)
                break
            except Refused as error:
                refused.append(error.statement)
                admit(folder, error.file, error.statement)
    return refused


def proved(folder: Path, theorem: str) -> bool:
    """Whether Coq proves one theorem about golden numbers."""
    (folder / "golden.v").write_text(certificates.document([theorem]), encoding="utf-8")
    try:
        coq(folder, "golden")
    except Refused:
        return False
    return True


def differing(folder: Path, operation: str, result: str) -> str:
    """Return the first golden case of which the formulas in this folder provably do not give the number; or ""."""
    of = [claim for claim in certificates.claims() if (claim.operation, claim.result) == (operation, result)]
    return next((claim.case for claim in of if proved(folder, claim.refutation())), "")


def lines(folder: Path) -> Iterator[tuple[bool, str]]:
    """Yield whether each of the four is so, and what to say of it."""
    clean = prepared(folder / "clean")
    count, rest = prove(clean), assumptions(clean)
    yield rest == AXIOMS, f"proved     {count} statements; assumed: {', '.join(sorted(rest))}"
    for number, alteration in enumerate(ALTERED):
        altered = prepared(folder / f"altered{number}", alteration)
        refused = refusals(altered)
        words = f"refused    {alteration.words}: by {', '.join(refused) or 'nothing'}, and by nothing else"
        shown = differing(altered, alteration.operation, alteration.result) if alteration.operation else "no case"
        words += f"; not the number of {shown or 'any case'}" if alteration.operation else ""
        yield refused == [alteration.refused_by] and bool(shown), words
    for number, alteration in enumerate(REWRITTEN):
        refused = refusals(prepared(folder / f"rewritten{number}", alteration))
        yield not refused, f"accepted   {alteration.words}" + "".join(f"; REFUSED by {name}" for name in refused)
    claims = certificates.claims()
    (clean / "golden.v").write_text(certificates.document([claim.theorem() for claim in claims]), encoding="utf-8")
    coq(clean, "golden")
    cases = len({claim.case for claim in claims})
    yield all(claim.rounded for claim in claims), f"certified  {len(claims)} golden numbers of {cases} cases"
    off = [claim.one_place_off().refutation() for claim in claims[::5]]
    (clean / "golden.v").write_text(certificates.document(off), encoding="utf-8")
    coq(clean, "golden")
    yield True, f"refuted    {len(off)} of them with the last place changed"


def main() -> int:
    """Say what is proved, line by line."""
    if shutil.which("coqc") is None:
        print(f"NOT PROVED: there is no coqc; {INSTALL}", file=sys.stderr)
        return 2
    good = True
    with tempfile.TemporaryDirectory() as folder:
        try:
            for so, words in lines(Path(folder)):
                good &= so
                print(words if so else f"NOT SO     {words}", flush=True)
        except Refused as error:
            print(f"NOT SO     {error}")
            return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
