"""Tell whether any backward is the derivative of its forward.

From the verdict down to the numbers::

    gradcheck    compare, element by element, and give a verdict
    point        one forward and its backward at one point: what is measured of them
    numerical    derivatives of a function that is known only by its values, and their errors
"""

from refnorm.gradients.gradcheck import Comparison, Verdict, gradcheck

__all__ = ["Comparison", "Verdict", "gradcheck"]
