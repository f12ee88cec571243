"""The reference: what a student reads; pure functions over arrays of any array API library.

In the order of reading::

    batch_norm      training and inference, each forward with its backward right under it: start here
    statistics      Statistics(count, mean, var): of a batch, merged, corrected
    running         running averages of statistics
    step_by_step    the same gradients as the chain rule gives them, one operation a line
    second_order    forward mode and double backward
    synchronised    one batch spread over workers
    population      statistics of a data set: streamed, resumable, distributed
    folding         absorb batch normalization into the linear map before or after it
    _layout         which library, which axes, what counts, what fits
    _channels       the two operations that everything above is made of (_blocks: in blocks that stay in the cache)

It imports NumPy, array-api-compat and `refnorm.formats`, and nothing else of refnorm.
"""
