"""What frameworks mean by batch normalization: a row for each convention, the table, and what changes between two.

One file each::

    row           Convention: momentum, stored variance, one value per channel, empty batch, how numbers travel
    rows          the table itself
    conversion    State and convert: a trained layer carried from one convention to another; differences, in words
    averages      averages of variances, and what they lack
"""

from refnorm.conventions.averages import average_of_variances
from refnorm.conventions.conversion import State, convert, differences
from refnorm.conventions.row import POLICIES, Convention
from refnorm.conventions.rows import CONVENTIONS, ROWS, convention

__all__ = [
    "CONVENTIONS",
    "POLICIES",
    "ROWS",
    "Convention",
    "State",
    "average_of_variances",
    "convention",
    "convert",
    "differences",
]
