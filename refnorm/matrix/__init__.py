"""Every framework at hand, each in an environment of its own, as one table.

One file each::

    environments   the frameworks, and a virtual environment for each
    frameworks     what is measured of them
    records        the results as files, what changed, and its history
    table          the results as one page, in Markdown and HTML
"""

from refnorm.matrix.environments import ENTRIES, Entry
from refnorm.matrix.frameworks import matrix
from refnorm.matrix.records import changes, history, read, write

__all__ = ["ENTRIES", "Entry", "changes", "history", "matrix", "read", "write"]
