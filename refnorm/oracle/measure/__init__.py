"""What is measured of a black box, number by number: its convention, and how many digits it loses.

One file each::

    measurement   one thing measured, with its key
    probes        what is asked: inputs chosen so that the outputs give a convention away
    weights       how running statistics move
    from_files    the same from outputs that another program wrote
    numerics      errors against exact results as the mean grows, memory layouts, threads
"""
