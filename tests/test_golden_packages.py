"""The packages of the golden set work where nothing else is: installed into empty environments, read by consumers.

`packages/make.py` builds them; that needs `pip install build hatchling`, and node and npm for the one for JavaScript.
What is missing warns and is skipped; with REFNORM_TOOLS=packages,node it fails.

Not verified: uploads; other versions of Python and Node than those at hand.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from refnorm.golden.contents import DATA, SET
from refnorm.golden.frozen import load

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

ROOT = Path(__file__).parent.parent
CONSUMERS = ROOT / "tests" / "consumers"
REQUIRED = frozenset(filter(None, os.environ.get("REFNORM_TOOLS", "").split(",")))
MANIFEST = json.loads((DATA / "MANIFEST.json").read_text())
VALUES = """
import {{ cases, values }} from "refnorm-golden";
const found = cases({operation!r}, {dtype!r}).map(({{ id, x, dtype }}) => [id, Array.from(values(x, dtype))]);
console.log(JSON.stringify(Object.fromEntries(found)));
"""


def need(name, present):
    if not present and name in REQUIRED:
        pytest.fail(f"REFNORM_TOOLS={','.join(sorted(REQUIRED))}, but there is no {name}", pytrace=False)
    if not present:
        reason = f"NOT TESTED: there is no {name}, so packages of the golden set were not built or not installed"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


def run(*command, cwd, check=True):
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=check, env=outside)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    need("packages", find_spec("build") and find_spec("hatchling"))
    out = tmp_path_factory.mktemp("packages")
    done = subprocess.run(
        [sys.executable, ROOT / "packages" / "make.py", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == (0 if shutil.which("npm") else 2), done.stderr
    return out


@pytest.fixture(scope="session")
def python(built, tmp_path_factory):
    """Return the interpreter of an environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "-q", "--no-index", next(built.glob("*.whl")), cwd=folder)
    listed = run(interpreter, "-m", "pip", "list", "--format", "json", cwd=folder).stdout
    assert {entry["name"] for entry in json.loads(listed)} <= {"refnorm-golden", "refnorm_golden", "pip", "setuptools"}
    return interpreter


@pytest.fixture(scope="session")
def node(built, tmp_path_factory):
    """Return node, and a folder that holds the package for npm and nothing else."""
    need("node", shutil.which("node") and shutil.which("npm"))
    folder = tmp_path_factory.mktemp("empty")
    (folder / "package.json").write_text('{"private": true}')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", next(built.glob("*.tgz")), cwd=folder)
    return folder


def consume(interpreter, cwd):
    command = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import runpy; "
    command += f"runpy.run_path({str(CONSUMERS / 'consumer.py')!r}, run_name='__main__')"
    return run(interpreter, "-c", command, cwd=cwd, check=False)


def test_both_have_the_version_of_the_set_its_files_and_its_licence(built):
    year, month = map(int, SET.split("."))
    wheel, sdist = built / f"refnorm_golden-{year}.{month}-py3-none-any.whl", f"refnorm_golden-{year}.{month}"
    files = {name: zipfile.ZipFile(wheel).read(name) for name in zipfile.ZipFile(wheel).namelist()}
    data = {path.name: path.read_bytes() for path in DATA.iterdir()}
    assert {Path(name).name: raw for name, raw in files.items() if "/data/" in name} == data
    metadata = next(raw.decode() for name, raw in files.items() if name.endswith("METADATA"))
    assert "Requires-Dist" not in metadata
    assert "License-Expression: BSD-3-Clause" in metadata
    assert "@" not in metadata.split("\n\n", 1)[1]  # no word of a template is left
    licence = (ROOT / "LICENSE").read_bytes()
    assert licence in files.values()
    with tarfile.open(built / f"{sdist}.tar.gz") as archive:
        assert archive.extractfile(f"{sdist}/LICENSE").read() == licence
    if shutil.which("npm"):
        with tarfile.open(built / f"refnorm-golden-{year}.{month}.0.tgz") as archive:
            names = {Path(name).name for name in archive.getnames() if "/data/" in name}
            assert names == set(data)
            assert archive.extractfile("package/LICENSE").read() == licence


def test_a_version_has_no_leading_zero():  # neither registry keeps one
    sys.path.insert(0, str(ROOT / "packages"))
    import make

    sys.path.pop(0)
    assert make.version("2027.01") == "2027.1"
    assert make.version("2026.11") == "2026.11"


def test_a_consumer_without_numpy_agrees_to_the_last_bit(python, tmp_path):
    assert run(python, "-c", "import numpy", cwd=tmp_path, check=False).returncode == 1
    done = consume(python, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{MANIFEST['total_cases']} cases read" in done.stdout
    assert int(done.stdout.split(" numbers equal")[0].split()[-1]) > 10_000


def test_a_consumer_in_c_confirms_what_pip_installed(python, tmp_path):
    need("cc", shutil.which("cc"))
    run("cc", "-std=c99", "-O2", CONSUMERS / "consumer.c", "-lm", "-o", tmp_path / "consumer", cwd=tmp_path)
    done = run(tmp_path / "consumer", installed(python), cwd=tmp_path)
    assert f"{MANIFEST['total_cases']} cases" in done.stdout


def installed(python):
    return Path(run(python, "-c", "import refnorm_golden; print(refnorm_golden.DATA)", cwd="/").stdout.strip())


def sign(data):
    """Write the manifest anew, so that it agrees with what was changed."""
    manifest = json.loads((data / "MANIFEST.json").read_text())
    for name, entry in manifest["files"].items():
        entry["sha256"] = hashlib.sha256((data / name).read_bytes()).hexdigest()
    (data / "MANIFEST.json").write_text(json.dumps(manifest))


def test_the_consumer_finds_a_changed_digit_and_the_loader_a_changed_file(python, tmp_path):
    data = installed(python)
    name = data / "bn.training.float16.json"
    before = {path: path.read_bytes() for path in (name, data / "MANIFEST.json")}
    document = json.loads(before[name])
    case = document["cases"][0]
    case["expected"]["y"]["data"][1] *= 1.0009765625  # one place of float16
    try:
        name.write_text(json.dumps(document))
        done = consume(python, tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "bn.training.float16.json is not the file that MANIFEST.json lists" in done.stderr
        sign(data)
        done = consume(python, tmp_path)
        assert done.returncode == 1
        assert f"{case['id']}: y[1] is " in done.stderr
        name.write_text(json.dumps(document | {"cases": document["cases"][1:]}))
        sign(data)
        assert "is not the file that MANIFEST.json lists" in consume(python, tmp_path).stderr
    finally:
        for path, raw in before.items():
            path.write_bytes(raw)


def test_python_builds_the_inputs_that_refnorm_builds(python, tmp_path):
    code = "import json, refnorm_golden as g; print(json.dumps({c['id']: g.values(c['x'], c['dtype']) "
    code += "for kind in ('float64', 'float32', 'float16', 'bfloat16') for c in g.cases('backward', kind)}))"
    found = json.loads(run(python, "-c", code, cwd=tmp_path).stdout)
    assert found == {case.id: case.inputs["x"].reshape(-1).tolist() for case in load("backward")}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_javascript_builds_the_inputs_that_refnorm_builds(node, dtype):
    (node / "values.mjs").write_text(VALUES.format(operation="backward", dtype=dtype))
    found = json.loads(run("node", "values.mjs", cwd=node).stdout, parse_int=float)
    assert found == {case.id: case.inputs["x"].reshape(-1).tolist() for case in load("backward", dtype)}


def test_a_consumer_in_javascript_confirms_what_npm_installed(node):
    done = run("node", CONSUMERS / "consumer.mjs", "node_modules/refnorm-golden/data", cwd=node)
    assert f"{MANIFEST['total_cases']} cases" in done.stdout


@pytest.mark.parametrize(("argument", "words"), [('"backwards"', "no cases of backwards"), ("", "not the file that")])
def test_javascript_throws_where_there_is_nothing_or_something_else(node, argument, words):
    path = node / "node_modules" / "refnorm-golden" / "data" / "bn.jvp.float16.json"
    before = path.read_bytes()
    (node / "throws.mjs").write_text(f'import {{ cases }} from "refnorm-golden"; cases({argument});')
    try:
        path.write_bytes(before.replace(b"1", b"2", 1))
        done = run("node", "throws.mjs", cwd=node, check=False)
        assert done.returncode == 1
        assert words in done.stderr
    finally:
        path.write_bytes(before)


def test_the_loader_raises_where_there_is_nothing(python, tmp_path):
    done = run(python, "-c", "import refnorm_golden as g; g.cases('backwards')", cwd=tmp_path, check=False)
    assert "has no cases of operation 'backwards'" in done.stderr
