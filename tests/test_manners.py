"""What a standard says about itself is so: how to contribute, to dispute a number, to cite.

Not verified: whether hosts read these files as they say; that the steps of CONTRIBUTING.md suffice, which was tried by
hand when they were written.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tutorial_pages import FENCE, broken_links

import refnorm
from refnorm.golden.contents import SET

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "packages/README.md")]
DISPUTE = (ROOT / ".github" / "ISSUE_TEMPLATE" / "dispute-a-number.md").read_text(encoding="utf-8")
SCRIPT = re.search(r"```python\n(.*?)```", DISPUTE, re.DOTALL)[1]


def numbers(script):
    """Run a script of a dispute; return what it prints, by name."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())


def agree(found):
    """Whether all have the digits of the shortest, but for its last two."""
    digits = min(map(len, found.values())) - 2
    return len({number[:digits] for number in found.values()}) == 1


def test_the_script_of_a_dispute_runs_and_the_number_stands():
    found = numbers(SCRIPT)
    assert list(found) == ["from the definition", "refnorm.exact", "in the golden set"]
    assert agree(found)
    assert min(map(len, found.values())) > 20


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"training", "float64"', '"training", "float32"'),
        ("two-values.1", "rank-3.1"),
        ("channel, element = 0, 1", "channel, element = 2, 0"),
    ],
)
def test_it_runs_for_another_number(old, new):
    assert SCRIPT.count(old) == 1
    script = SCRIPT.replace(old, new)
    if "float32" in new:
        script = script.replace("bn.training.float64", "bn.training.float32")
    found = numbers(script)
    if "float32" in new:  # the set holds the number rounded to 24 bits
        assert abs(float(found.pop("in the golden set")) - float(found["refnorm.exact"])) < 2.0**-24 * 2
    assert agree(found)


def test_another_definition_is_seen():
    unbiased = SCRIPT.replace("for v in values) / len(values)\nscale", "for v in values) / (len(values) - 1)\nscale")
    assert unbiased != SCRIPT
    assert not agree(numbers(unbiased))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_says_what_it_is_for(path):
    head = dict(re.findall(r"^(\w+): (.+)$", path.read_text(encoding="utf-8").split("---")[1], re.MULTILINE))
    assert {"name", "about", "title", "labels"} <= set(head)


@pytest.mark.parametrize("path", [*PAGES, *TEMPLATES], ids=lambda path: path.name)
def test_what_a_page_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    assert broken_links(text, path.parent) == []
    named = re.findall(
        r"(?<![\w/.@])((?:refnorm|tests|tutorials|packages|figures)/[\w./-]+\w|\.ci/run)", FENCE.sub("", text)
    )
    assert [name for name in named if not (ROOT / name.replace("NAME.py", "torch.py")).exists()] == []
    tests = re.findall(r"tests/test_\w+\.py", text)
    assert [name for name in tests if not (ROOT / name).exists()] == []


def test_a_file_that_is_not_there_is_seen():
    assert broken_links("[a](nowhere.md)", ROOT) == ["link to nowhere.md: there is no nowhere.md"]


def test_the_versions_are_those_of_today():
    assert f"release, {SET}; the packages" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'title: "{zenodo["title"]}"' in citation
    assert f'abstract: "{zenodo["description"]}"' in citation
    assert f"license: {zenodo['license']}" in citation
    assert f"version: {refnorm.__version__}" in citation
    assert all(f"  - {word}\n" in citation for word in zenodo["keywords"][:4])
