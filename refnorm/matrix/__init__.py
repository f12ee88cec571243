"""Every framework at hand, each in an environment of its own, as one table.

One file each::

    environments   the frameworks, and a virtual environment for each
    frameworks     what is measured of them
    update         the newest versions of what one of them needs
    records        the results as files, what changed, and its history
    sentence       what a user must know of one of them
    table          the results as rows, in groups
    page           the rows as one page, in Markdown and HTML
"""

from refnorm.matrix.environments import ENTRIES, GROUPS, Entry
from refnorm.matrix.frameworks import matrix
from refnorm.matrix.records import changes, history, read, time_spent, write

__all__ = ["ENTRIES", "GROUPS", "Entry", "changes", "history", "matrix", "read", "time_spent", "write"]
