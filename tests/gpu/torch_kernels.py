"""What PyTorch's CUDA kernels do that findings.md tells of, in every combination: `python tests/gpu/torch_kernels.py`.

Gradients of a bias without a weight; dbeta and dgamma of half precision beside sums in float64; dbeta of cuDNN's
channels-last kernel in units of u sum|dy|, where every partial sum is a number of float32.
"""

from itertools import product

import torch

HALF = (torch.float16, torch.bfloat16)
SHAPES = ((64, 1), (1, 1, 64), (4, 1, 4, 4), (8, 1, 32, 32))
batch_norm, channels_last = torch.nn.functional.batch_norm, torch.channels_last


def vectors(count, kind, *values):
    return (torch.full((count,), v, device="cuda", dtype=kind, requires_grad=k > 1) for k, v in enumerate(values))


def of_a_bias(shape, last, training, with_weight, with_bias):
    x = torch.randn(shape, device="cuda")
    x = (x.contiguous(memory_format=channels_last) if last else x).requires_grad_()
    mean, var, weight, bias = vectors(shape[1], torch.float32, 0.0, 1.0, 1.0, 0.0)
    y = batch_norm(x, mean, var, weight if with_weight else None, bias if with_bias else None, training)
    try:
        y.sum().backward()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "gradients"


def of_half(kind, parameters, shape, cudnn, last, training):
    draw = torch.Generator().manual_seed(1)
    x, dy = (torch.randn(shape, generator=draw).to(kind).cuda() for _ in range(2))
    if last:
        x, dy = (a.contiguous(memory_format=channels_last) for a in (x, dy))
    mean, var, weight, bias = vectors(1, parameters, 0.0, 1.0, 1.0, 0.0)
    with torch.backends.cudnn.flags(enabled=cudnn):
        y = batch_norm(x, mean, var, weight, bias, training)
        dgamma, dbeta = (gradient.item() for gradient in torch.autograd.grad(y, (weight, bias), dy))
    wide, upstream = x.double(), dy.double()
    centre, spread = (wide.mean(), wide.var(unbiased=False)) if training else (0.0, torch.tensor(1.0).double())
    exact = (upstream * (wide - centre) / (spread + 1e-5).sqrt()).sum().item(), upstream.sum().item()
    return f"{y.grad_fn.name()}: dbeta {dbeta:.7g}, {exact[1]:.7g}; dgamma {dgamma:.7g}, {exact[0]:.7g}"


def of_channels_last(m, cudnn):
    x, dy = torch.randn(1, 1, 1, m, device="cuda"), torch.zeros(1, 1, 1, m, device="cuda")
    x, dy = (a.expand(1, 4, 1, m).contiguous(memory_format=channels_last) for a in (x, dy))
    dy[0, 0, 0, 0] = -64
    mean, var, weight, bias = vectors(4, torch.float32, 0.0, 1.0, 1.0, 0.0)
    with torch.backends.cudnn.flags(enabled=cudnn):
        (dbeta,) = torch.autograd.grad(batch_norm(x, mean, var, weight, bias, training=True), bias, dy)
    return f"{(dbeta[0].item() + 64) / (64 * 2**-24):g}"


if __name__ == "__main__":
    print(torch.__version__, torch.cuda.get_device_name(), torch.backends.cudnn.version())
    for shape, last in (((4, 3), False), ((4, 3, 5, 5), False), ((4, 3, 5, 5), True)):
        for training, weight, bias in product((True, False), (True, False), (True, False)):
            print(f"{shape} {last=} {training=} {weight=} {bias=}", of_a_bias(shape, last, training, weight, bias))
    for kind, shape, cudnn, last, training in product(HALF, SHAPES, (True, False), (False, True), (True, False)):
        if len(shape) == 4 or not last:
            for parameters in (kind, torch.float32):
                print(
                    f"{kind} {parameters} {shape} {cudnn=} {last=} {training=}",
                    of_half(kind, parameters, shape, cudnn, last, training),
                )
    for m, cudnn in product((2, 64, 100, 255, 1000), (True, False)):
        print(f"channels last, {m=} {cudnn=}: dbeta off by {of_channels_last(m, cudnn)} u sum|dy|")
