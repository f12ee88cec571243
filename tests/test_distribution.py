"""Wheel and sdist are what a maintainer of a distribution wants: whole, the same bytes whenever built, and runnable.

Needs `pip install build hatchling`; with REFNORM_TOOLS=packages their absence fails. That the sdist passes its tests,
on each Python, with lowest and newest dependencies, is `python tests/packages.py`. Marked slow, as it downloads: `pipx
run`.

Not verified: uploads, and that the registries trust the workflow, which is said to them and not in a file.
"""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import refnorm

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")
ROOT = Path(__file__).parent.parent
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8"))
EPOCH = "1767225600"


def need(name, present):
    if not present:
        reason = f"NOT TESTED: there is no {name}, so wheel and sdist were not built"
        assert name not in os.environ.get("REFNORM_TOOLS", "").split(","), reason
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


def files_of():
    """Return what the repository, or an unpacked sdist, consists of."""
    if not (ROOT / ".git").exists():
        pytest.skip("an sdist is not built from itself")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def build(folder, age=0, epoch=EPOCH, umask=0o022):
    """Copy the files, as old as is said, and build both; return their bytes by name."""
    need("packages", find_spec("build") and find_spec("hatchling"))
    for name in files_of():
        place = folder / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
        place.chmod(0o666 & ~umask)
        os.utime(place, (time.time() - age, time.time() - age))
    variables = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"} | {"SOURCE_DATE_EPOCH": epoch}
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder / "source"),
    ]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, umask=umask, check=False)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return build(folder), folder / "dist"


def test_both_are_the_same_bytes_whenever_and_wherever_they_are_built(built, tmp_path):
    first, _ = built
    assert set(first) == {f"refnorm-{refnorm.__version__}.tar.gz", f"refnorm-{refnorm.__version__}-py3-none-any.whl"}
    assert build(tmp_path / "later", age=10**7, umask=0o077) == first


def test_a_build_of_another_date_is_seen_to_differ(built, tmp_path):
    assert build(tmp_path, epoch="1700000000") != built[0]


def test_the_sdist_holds_the_repository_and_nothing_else(built):
    (sdist,) = built[1].glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == files_of() | {"PKG-INFO"}


def test_the_wheel_holds_the_library_with_its_data_and_its_licence(built):
    (wheel,) = built[1].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(f"refnorm-{refnorm.__version__}.dist-info/METADATA"))
    library = {name for name in files_of() if name.startswith("refnorm/")}
    assert {name for name in held if ".dist-info/" not in name} == library
    assert {"refnorm/py.typed", "refnorm/golden/data/MANIFEST.json"} <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# refnorm\n")
    needed = {line.partition(">")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert needed == {"numpy", "scipy", "array-api-compat", "python-flint"}


def test_the_wheel_runs_as_a_module_and_as_a_command(built, tmp_path):
    (wheel,) = built[1].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        entry = archive.read(f"refnorm-{refnorm.__version__}.dist-info/entry_points.txt").decode()
    assert "refnorm = refnorm.cli:main" in entry
    for start in (["-m", "refnorm"], ["-c", "import sys; from refnorm.cli import main; sys.exit(main())"]):
        done = subprocess.run(
            [sys.executable, *start, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={name: v for name, v in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, f"refnorm {refnorm.__version__}\n"), done.stderr


@pytest.mark.slow
def test_pipx_runs_it(built, tmp_path):
    need("pipx", shutil.which("pipx"))
    (wheel,) = built[1].glob("*.whl")
    variables = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    for arguments, said in ((["--version"], f"refnorm {refnorm.__version__}"), (["golden", "lint"], ": whole")):
        command = ["pipx", "run", "--spec", str(wheel), "refnorm", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


# The workflow that publishes.


def test_only_what_publishes_may_speak_for_the_repository_and_nothing_is_secret():
    jobs = WORKFLOW["jobs"]
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in jobs["build"]
    for name in ("pypi", "npm"):
        assert jobs[name]["permissions"] == {"id-token": "write"}
        assert jobs[name]["needs"] == "build"
        assert jobs[name]["environment"] == name
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert not {"secrets.", "password:", "TOKEN"} & set(text.split())
    assert WORKFLOW[True] == {"release": {"types": ["published"]}}  # YAML reads the key `on` as a boolean


def test_the_workflow_builds_what_it_publishes(tmp_path):
    """Run its own lines in a clone of what is committed; what it installs is here already."""
    need("packages", find_spec("build") and find_spec("hatchling"))
    need("node", shutil.which("npm"))
    files_of()
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    variables = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    lines = [
        step["run"]
        for step in WORKFLOW["jobs"]["build"]["steps"]
        if "pip install" not in step.get("run", "pip install")
    ]
    assert len(lines) == 1
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines[0]]
    done = subprocess.run(shell, cwd=tmp_path / "clone", env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    dist = tmp_path / "clone" / "dist"
    assert sorted(path.suffix for path in (dist / "refnorm").iterdir()) == [".gz", ".whl"]
    packages = WORKFLOW["jobs"]["pypi"]["strategy"]["matrix"]["package"]
    assert {path.name for path in dist.iterdir()} == {*packages, "npm"}
    assert [path.suffix for path in (dist / "npm").iterdir()] == [".tgz"]
    assert sorted(path.suffix for path in (dist / "golden").iterdir()) == [".gz", ".whl"]
