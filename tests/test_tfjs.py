"""TensorFlow.js, a program that nobody here wrote, judged by way of files: its verdict is the recorded one.

`tfjs/bn.mjs` computes what `refnorm golden export` wrote, `refnorm judge` reads what it left. The layer is used in both
layouts: on channels last, and told that channels are axis 1. What is recorded in `VERDICTS` and in
`tutorials/golden-data.md` was also seen by hand, by calling the layer on a few numbers (`test_by_hand`). Not verified:
float16, which TensorFlow.js has not; its native and WebGL back ends; releases other than the pinned one.

Without Node or its packages (`npm ci --prefix tests/tfjs --ignore-scripts`) the tests warn and are skipped;
with REFNORM_TOOLS=tfjs they fail.
"""

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from refnorm.golden.export import export
from refnorm.oracle.outputs import judge

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

FOLDER = Path(__file__).parent / "tfjs"
PACKAGE = FOLDER / "node_modules" / "@tensorflow" / "tfjs" / "package.json"
PAGE = Path(__file__).parent.parent / "tutorials" / "golden-data.md"
VERSION = json.loads((FOLDER / "package.json").read_text())["dependencies"]["@tensorflow/tfjs"]

RANK_5 = "not implemented for array of rank 5"
LAST = {  # what is wrong: (the quantity it was first seen in, words of the title, cause, cases)
    ("y, training", RANK_5, "raises", 2),
    ("y, training", "reading 'read'", "raises", 4),
    ("frozen dx", "reading 'dataId'", "raises", 3),
    ("frozen dx", "reading 'id'", "raises", 1),
    ("empty batch", "values that no formula gives", "empty-batch-other", 2),
}
FIRST = LAST | {
    ("y, training", "is per channel is applied along the last axis", "parameters-along-last-axis", 23),
    ("dx", "Size(N) must match the product of shape", "raises", 22),
    ("NaN and inf", "Size(N) must match the product of shape", "raises", 6),
}
VERDICTS = {"last": LAST, "first": FIRST}
BY_HAND = """
console.warn = () => {};
const tf = await import("@tensorflow/tfjs");
await tf.setBackend("cpu");
const layer = (options, shape, weights) => {
  const made = tf.layers.batchNormalization({ epsilon: 1e-12, momentum: 0.5, ...options });
  made.build(shape);
  made.setWeights(weights.map((w) => tf.tensor(w)));
  return made;
};
const said = (call) => { try { return call(); } catch (error) { return error.message; } };
const first = layer({ axis: 1 }, [1, 2, 3], [[1, 1], [0, 0], [0, 10], [1, 1]]);
const bare = layer({ scale: false }, [2, 1], [[0], [0], [1]]);
console.log(JSON.stringify({
  first: first.apply(tf.tensor([[[1, 2, 3], [11, 12, 13]]])).arraySync(),
  withoutGamma: said(() => bare.apply(tf.tensor([[1], [3]]), { training: true }).arraySync()),
}));
"""


def node():
    path, required = shutil.which("node"), "tfjs" in os.environ.get("REFNORM_TOOLS", "").split(",")
    lacking = "there is no node" if path is None else "" if PACKAGE.exists() else "its packages are not installed"
    if lacking and required:
        pytest.fail(f"REFNORM_TOOLS asks for tfjs, but {lacking}", pytrace=False)
    if lacking:
        reason = f"NOT TESTED: TensorFlow.js: {lacking} (npm ci --prefix tests/tfjs --ignore-scripts)"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    assert json.loads(PACKAGE.read_text())["version"] == VERSION
    return path


def recorded(report, verdict):
    """Match findings with what is recorded; return what is left of either."""
    left, surplus = set(verdict), []
    for finding in report.findings:
        rows = [r for r in left if (r[0], r[2], r[3]) == (finding.quantity, finding.cause, len(finding.cases))]
        match = next((r for r in rows if r[1] in finding.title), None)
        if match is None:
            surplus.append((finding.quantity, finding.title, finding.cause, len(finding.cases)))
        left.discard(match)
    return left, surplus


@pytest.fixture(scope="module", params=VERDICTS)
def computed(request, tmp_path_factory):
    path, root = node(), tmp_path_factory.mktemp("tfjs") / "export"
    export(root, dtypes=("float32",))
    subprocess.run([path, FOLDER / "bn.mjs", root, request.param], check=True, timeout=120, cwd=FOLDER)
    return request.param, root


def test_the_verdict_is_the_recorded_one(computed):
    layout, root = computed
    report = judge(root)
    assert report.versions["target"] == f"TensorFlow.js, channels {layout} {VERSION}"
    left, surplus = recorded(report, VERDICTS[layout])
    assert not left, f"recorded, not found: {left}\n{report}"
    assert not surplus, f"found, not recorded: {surplus}"


def test_another_verdict_is_noticed(computed):
    layout, root = computed
    report = judge(root)
    assert recorded(report, VERDICTS[layout] | {("dbeta", "wrong", "unknown", 1)})[0]
    assert recorded(report, set())[1]


def test_the_page_tells_the_recorded_verdict():
    text = PAGE.read_text()
    assert f"TensorFlow.js {VERSION}" in text
    for words in {row[1] for row in FIRST}:
        assert words in text, words


def test_by_hand():
    done = subprocess.run(
        [node(), "--input-type=module"],
        input=BY_HAND,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=FOLDER,
    )
    seen = json.loads(done.stdout)
    assert [[round(v) for v in row] for row in seen["first"][0]] == [
        [1, -8, 3],
        [1, 12, 3],
    ]  # not [[1, 2, 3], [1, 2, 3]]
    assert "reading 'read'" in seen["withoutGamma"]
