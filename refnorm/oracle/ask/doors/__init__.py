"""The doors: how anyone's batch norm is called, as it was written.

From what is in a file to functions that the judge may call::

    names        what a parameter or attribute stands for (leaves: whatever comes back, taken apart)
    looks        what looks like a batch norm; found: everything in a file that does
    read         one thing, by the arrays, ranks and axis that it takes (taken)
    containers   several of them in one argument
    binding      parameters by what they stand for; functions: a function, and the backward beside it
    layers       made, filled, called (read_layer: how that is found out; slots: where a layer keeps what)
    methods      which methods of a layer go forward and back
    configured   eps and momentum of a configuration, or among further arguments; activations, left out
    outs         functions that write into arrays which they are given
    again        one layer used twice
    modes        how code is told whether it trains
    variables    layers of Flax, Haiku, Equinox and Keras, whose arrays live outside of them
    libraries    whose arrays; by_hand, in_torch, in_jax, in_tensorflow: who differentiates
    through      the functions that come of it; derived: which of them there are
    own          refnorm's own functions, in any order of parameters
    declared     what is said by hand instead
"""
