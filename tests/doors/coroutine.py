"""async forward."""
import asyncio

import numpy as np


async def batch_norm(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=0)
    await asyncio.sleep(0)
    var = x.var(axis=0)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta
