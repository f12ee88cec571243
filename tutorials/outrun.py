"""The smallest network found whose running averages are outrun: one linear map, one batch norm, and Adam."""

from __future__ import annotations

import network
import numpy as np

from refnorm import batch_norm_inference, batch_norm_training, batch_norm_training_backward, update_running

PIXELS, BATCH, BRIGHTNESS, STEPS, EVERY = 16, 8, 40.0, 1500, 50


def losses(decay, rate, seed=1):
    """Learn the brightness of the first pixel, when all have a mean of 40 that nobody subtracts.

    Parameters
    ----------
    decay : the weight of the old value in the running averages.
    rate : of Adam.
    seed : of the first weights and of the batches.

    Returns
    -------
    steps : every 50th up to 1500, int (31,).
    training : the loss of 400 images normalised by their own statistics, float64 (31,).
    inference : that of the same images normalised by the running averages, float64 (31,).
    """
    rng = np.random.default_rng(seed)
    weight, state = 2 * np.sqrt(2 / PIXELS) * rng.standard_normal((PIXELS, 1)), (0, 0.0, 0.0)
    test, found = rng.standard_normal((400, PIXELS)), []
    z = (BRIGHTNESS + test) @ weight
    running = z.mean(axis=0), z.var(axis=0)
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            z = (BRIGHTNESS + test) @ weight
            ways = batch_norm_training(z)[0], batch_norm_inference(z, *running)
            found.append([np.mean((y - test[:, :1]) ** 2) for y in ways])
        x = rng.standard_normal((BATCH, PIXELS))
        y, saved = batch_norm_training((BRIGHTNESS + x) @ weight)
        dz, _, _ = batch_norm_training_backward(2 * (y - x[:, :1]) / BATCH, saved)
        weight, state = network.adam(weight, (BRIGHTNESS + x).T @ dz, state, rate=rate)
        running = update_running(*running, saved.statistics, momentum=1 - decay)
    return np.arange(0, STEPS + 1, EVERY), *np.array(found).T
