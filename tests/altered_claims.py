"""Claims of the tutorials, each with an altered one: the page must then fail with an AssertionError.

Every row is (page, text, altered text); the text is in the page once. `test_tutorials.py` runs them. `VARIED` has what
a lesson invites its readers to vary: what is asserted must hold then, and another picture must be drawn.
"""

VARIED = {
    "why-normalise": ("depth, scales = 4", "depth, scales = 8"),
    "normalise-by-hand": ("for eps in (1e-5, 1e-3):   ", "for eps in (1e-5, 0.1):   "),
    "backward-twice": ("rate, off, u = 0.1, 1.0", "rate, off, u = 0.2, 1.0"),
    "two-variances": ("rng.normal(5.0, 3.0, (m, 40_000))", "rng.exponential(3.0, (m, 40_000))"),
    "running-averages": ("decay, rate = 0.997, 1e-3", "decay, rate = 0.997, 1e-4"),
    "batch-of-one-batch-of-two": ("batch_norm_training(x, eps=0.0)", "batch_norm_training(x**3, eps=0.0)"),
    "small-batches": ("(2, 4, 8, 20, 50), 1", "(2, 4, 8, 20, 50), 2"),
    "catch-a-wrong-gradient": ("at = 0, 0", "at = 4, 1"),
    "fold-freeze-mask": ("terms, u, losses = 16", "terms, u, losses = 256"),
    "relu-bias-memory": ("beta, gammas, errors = 1.0", "beta, gammas, errors = 100.0"),
    "compare-your-framework": ("number, noise, paths = 0.9", "number, noise, paths = 0.1"),
}

ALTERED = [
    ("why-normalise.md", "gradient(weight) / 4", "gradient(weight) / 2"),
    ("why-normalise.md", "(np.pi / (np.pi - 1))", "(np.pi / (np.pi - 2))"),
    ("why-normalise.md", "factor * x + shift, factor", "0 * x + shift, factor"),
    ("normalise-by-hand.md", "assert mean == 4 and var == 9", "assert mean == 4 and var == 12"),
    ("normalise-by-hand.md", '("paddle", 0.03)', '("paddle", 0.3)'),
    ("normalise-by-hand.md", "gamma, beta = 3, 4 ", "gamma, beta = 4, 3 "),
    ("normalise-by-hand.md", "-1 / 4, 5 / 4]", "-1 / 4, 5 / 3]"),
    ("backward-twice.md", "-inv_std * inv_std * inv_std / 2", "-inv_std * inv_std / 2"),
    ("backward-twice.md", "Fraction(7, 16)", "Fraction(9, 16)"),
    ("two-variances.md", "rng.normal(5.0, 3.0, (m, 40_000))", "rng.normal(5.0, 2.9, (m, 40_000))"),
    ("running-averages.md", "losses(decay, rate)", "losses(0.5, rate)"),
    ("small-batches.md", "LAYER_NORM))", "NORM))"),
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
    ("textbooks.md", 'report.convention == "cs231n"', 'report.convention == "torch"'),
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
