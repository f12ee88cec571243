"""The golden cases: inputs that inform, with exact results.

From the inputs to the results, and out into the world::

    situations    what each case is there for (flags: what happens to you if you have the bug)
    inputs        the cases, and the inputs of each, by the integer rule (rule); directions: for second order
    portions      masked cases and cases by shards: what counts, what lies at hand, and their results
    contents      what the frozen set holds, and its version
    frozen        load: the frozen set as NumPy arrays, from JSON alone
    truth         what a convention demands of a case: frozen, or computed by refnorm.exact
    generate      write the set, or prove that every byte is reproduced (canonical: its form)
    lint          prove that the set is whole
    export        inputs for programs in any language, with instructions (safetensors, nodes, stablehlo: other formats)
"""

from refnorm.golden.frozen import load
from refnorm.golden.inputs import Case, case, cases
from refnorm.golden.truth import expected

__all__ = ["Case", "case", "cases", "expected", "load"]
