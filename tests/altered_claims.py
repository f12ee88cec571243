"""Claims of the tutorials, each altered in one place: (page, what it says, what would be wrong). All must fail."""

ALTERED = []
