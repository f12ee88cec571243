"""What is read off numbers: formulas, conventions, and how many digits are lost.

Formulas are read off the answers of a trial. Each channel of each case is an equation; a formula is a sum of few terms,
or a product of few factors, that meets all of them, and is believed if it predicts every case within its bounds::

    fit                 the simplest sum, or product, that meets every equation
    formula, terms      what a sum is made of: means, variances, eps, counts, weights
    divisors            what x - mean is divided by
    read_forward        y: centre, divisor, scale, shift, and what the statistics are of
    read_running        how running statistics move
    products, read_dx, read_parameters      the gradients
    clipped, activated  what stops at a bound, or weighs otherwise where y is negative
    parts, read_parts   statistics of some of the values, or of other channels
    second_terms, read_second           forward mode and double backward
    known, known_maps, known_updates, known_gradients, known_second     formulas that have a name
    naming, naming_gradients    from a formula to causes
    explain             from a quantity to explanations; formulas: of a black box, right or wrong

Conventions and digits, one file each::

    measurement   one thing measured, with its key
    probes        what is asked: inputs chosen so that the outputs give a convention away
    weights       how running statistics move
    from_files    the same from outputs that another program wrote
    numerics      errors against exact results as the mean grows, memory layouts, threads
"""
