"""Claims of the tutorials, each with an altered one: the page must then fail with an AssertionError.

Every row is (page, text, altered text); the text is in the page once. `test_tutorials.py` runs them.
"""

ALTERED = [
    ("why-normalise.md", "gradient(weight) / 4", "gradient(weight) / 2"),
    ("why-normalise.md", "(np.pi / (np.pi - 1))", "(np.pi / (np.pi - 2))"),
    ("why-normalise.md", "factor * x + shift, factor", "0 * x + shift, factor"),
    ("normalise-by-hand.md", "assert mean == 4 and var == 9", "assert mean == 4 and var == 12"),
    ("normalise-by-hand.md", '("paddle", 0.03)', '("paddle", 0.3)'),
    ("normalise-by-hand.md", "eps=7.0 * 25", "eps=7.0 * 5"),
    ("normalise-by-hand.md", "* x_hat + beta[:, None, None]  ", "* x_hat - beta[:, None, None]  "),
    ("backward-twice.md", "-0.5 * (var + EPS) ** -1.5", "-0.5 * (var + EPS) ** -0.5"),
    ("backward-twice.md", "Fraction(7, 16)", "Fraction(9, 16)"),
    ("batch-of-one-batch-of-two.md", "== 0.779634", "== 0.779635"),
    ("batch-of-one-batch-of-two.md", "(-4.768372e-08, -10)", "(-4.768372e-08, -9)"),
    ("batch-of-one-batch-of-two.md", "share - (m - 2) / m", "share - (m - 1) / m"),
    ("catch-a-wrong-gradient.md", "1e-9 <= best", "1e-5 <= best"),
    ("catch-a-wrong-gradient.md", "2**0.5 - 1", "2**0.5"),
    ("fold-freeze-mask.md", "* 48 / 72", "* 36 / 72"),
    ("fold-freeze-mask.md", "(var + 1e-5)[:, None]", "np.sqrt(var + 1e-5)[:, None]"),
    ("compare-your-framework.md", "(0.1, 19)", "(0.1, 10)"),
    ("compare-your-framework.md", "np.sqrt(4 / 3)", "4 / 3"),
    ("read-a-formula.md", "[1, 0, 2e-5]", "[1, 1, 0]"),
    ("read-a-formula.md", "[1, -1 / m, -1 / (m - 1)]", "[1, -1 / m, -1 / m]"),
    ("read-a-formula.md", "(m + 1) + eps", "(m - 1) + eps"),
    ("answers.md", "\n(458, 99)\n", "\n(459, 99)\n"),
    ("answers.md", "\n[1.414, 1.155, 1.016, 1.001]\n", "\n[1.414, 1.155, 1.016, 1.000]\n"),
    ("answers.md", "\n(array([1.5]), array([3.]))\n", "\n(array([1.5]), array([1.5]))\n"),
    ("answers-from-practice.md", "\n(1.3, array([0.6]), 4096)\n", "\n(1.3, array([1.3]), 4096)\n"),
    ("answers-from-practice.md", "\n[1.0, -1.0]\n", "\n[1.0, 1.0]\n"),
    ("answers-from-practice.md", "> 100 * measure", "< 100 * measure"),
    ("answers-from-practice.md", "errors[1] < 2e-5", "errors[1] > 2e-5"),
    ("answers-from-practice.md", "axis=(0, 1))[0]", "axis=1)[0]"),
    ("answers-from-practice.md", "\n(13, True, True)\n", "\n(255, True, True)\n"),
    ("answers-from-practice.md", "\n(array([inf], dtype=float16)", "\n(array([9.997e+04], dtype=float16)"),
    ("answers-from-practice.md", "\n(2.65, True)\n", "\n(10000.0, True)\n"),
]
