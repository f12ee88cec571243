"""Claims of the tutorials, each altered in one place: (page, what it says, what would be wrong). All must fail."""

ALTERED = [
    ("answers.md", "\n(458, 99)\n", "\n(459, 99)\n"),
    ("answers.md", "\n[1.414, 1.155, 1.016, 1.001]\n", "\n[1.414, 1.155, 1.016, 1.000]\n"),
    ("answers.md", "\n(array([1.5]), array([3.]))\n", "\n(array([1.5]), array([1.5]))\n"),
]
