"""What checks the proofs can fail: `python tests/prove.py` proves; here its checks are shown what they must not accept.

Where there is no Coq what needs it warns and is skipped; with REFNORM_TOOLS=coq it fails.

Not verified: Coq itself, and that `formulas.v` means what the paper means: it is to be read.
"""

import os
import re
import shutil
import subprocess
import sys
import warnings

import certificates
import prove
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("always:NOT TESTED")]  # a minute of Coq

REQUIRED = frozenset(filter(None, os.environ.get("REFNORM_TOOLS", "").split(",")))


@pytest.fixture(scope="session")
def proofs(tmp_path_factory):
    """Return a folder in which everything is proved."""
    if shutil.which("coqc") is None and "coq" in REQUIRED:
        pytest.fail(f"REFNORM_TOOLS={','.join(sorted(REQUIRED))}, but there is no coqc", pytrace=False)
    if shutil.which("coqc") is None:
        reason = f"NOT TESTED: there is no coqc, so the proofs were not checked; {prove.INSTALL}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    folder = prove.prepared(tmp_path_factory.mktemp("proof") / "clean")
    assert prove.prove(folder) > 50
    return folder


def copied(proofs, tmp_path):
    return shutil.copytree(proofs, tmp_path / "copy")


def test_nothing_is_admitted_and_no_axiom_is_ours():
    for path in prove.SOURCES.glob("*.v"):
        assert not re.search(r"\b(Admitted|admit|Axiom|Parameter|Abort)\b", path.read_text()), path


def test_every_file_is_proved():
    assert {path.stem for path in prove.SOURCES.glob("*.v")} == set(prove.FILES)


def test_what_is_altered_is_in_the_formulas_once(tmp_path):
    for number, alteration in enumerate((*prove.ALTERED, *prove.REWRITTEN)):
        folder = prove.prepared(tmp_path / str(number), alteration)
        assert (folder / "formulas.v").read_text() != (prove.SOURCES / "formulas.v").read_text()


def test_a_claim_that_is_true_makes_the_golden_number_the_rounded_one():
    claims = certificates.claims()
    assert all(claim.rounded for claim in claims)
    assert not any(claim._replace(rest=claim.rest + certificates.Fraction(claim.number)).rounded for claim in claims)
    assert {(claim.operation, claim.result) for claim in claims} == set(certificates.FORMULAS)


def test_the_page_says_what_is_proved():
    page = (prove.SOURCES.parent.parent / "tutorials" / "what-is-proven.md").read_text()
    count = sum(len(prove.STATEMENT.findall((prove.SOURCES / f"{file}.v").read_text())) for file in prove.FILES)
    claims = certificates.claims()
    assert f"proved     {count} statements; assumed: {', '.join(sorted(prove.AXIOMS))}\n" in page
    assert f"certified  {len(claims)} golden numbers of {len({claim.case for claim in claims})} cases\n" in page
    assert f"Of {len(claims)} numbers Coq's interval arithmetic certifies" in page
    assert f"refuted    {len(claims[::5])} of them with the last place changed\n" in page
    for words, of in (("refused", prove.ALTERED), ("accepted", prove.REWRITTEN)):
        shown = [line for line in page.splitlines() if line.startswith(f"  {words} ")]
        assert all(alteration.words in line for alteration, line in zip(of, shown, strict=False))
    assert (len(prove.ALTERED), len(prove.REWRITTEN)) == (8, 2)
    assert "Eight altered formulas are refused" in page
    assert ", and two that are written otherwise" in page


def test_the_theorems_assume_the_axioms_of_the_reals_alone(proofs):
    assert prove.assumptions(proofs) == prove.AXIOMS


def test_what_is_believed_without_proof_is_seen_among_the_assumptions(proofs, tmp_path):
    folder = copied(proofs, tmp_path)
    prove.admit(folder, "covariance", "Sum_dx")
    prove.prove(folder)
    assert {"Sum_dx"} == {name.rpartition(".")[2] for name in prove.assumptions(folder) - prove.AXIOMS}


def test_one_altered_formula_is_refused_where_it_is_stated_and_has_another_value(proofs, tmp_path):
    alteration = prove.ALTERED[0]
    folder = prove.prepared(tmp_path / "altered", alteration)
    with pytest.raises(prove.Refused, match=r"Sum_dx \(covariance.v\)"):
        prove.prove(folder)
    assert prove.differing(folder, "backward", "dx") == "bn.backward.float64.two-values.1"
    assert prove.differing(proofs, "backward", "dbeta") == ""  # a right formula differs from no number


def test_a_number_that_is_one_place_off_is_not_certified(proofs):
    claim = next(c for c in certificates.claims() if (c.operation, c.result) == ("inference", "y"))
    assert prove.proved(proofs, claim.theorem())
    assert not prove.proved(proofs, claim.refutation())
    assert not prove.proved(proofs, claim.one_place_off().theorem())
    assert prove.proved(proofs, claim.one_place_off().refutation())


def test_without_coq_the_command_says_so_and_does_not_pass():
    done = subprocess.run(
        [sys.executable, prove.__file__], capture_output=True, text=True, check=False, env={"PATH": "/nowhere"}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("NOT PROVED: there is no coqc; apt-get install")
