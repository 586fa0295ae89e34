"""Every operation that autocast could touch, written once for torch and for this library: ``m`` is the module, ``F`` its functional, ``h(name)``
gives an operand (in float32 or in the 16-bit type) and ``f(name)`` the same in float32."""

import numpy as np

OPERANDS = {
    "image": (2, 3, 8, 8), "matrix": (4, 5), "vector": (5,), "filter": (4, 3, 3, 3), "turned": (3, 4, 3, 3), "weight": (6, 5), "blocks": (1, 12, 9),
    "channels": (3,),
}


def values(name):
    return (np.random.default_rng(len(name)).random(OPERANDS[name]) + 0.5).astype(np.float32)


def classes(m):
    return m.tensor([0, 1, 2, 3])


CASES = {
    "abs": lambda m, F, h, f: h("matrix").abs(),
    "add": lambda m, F, h, f: h("matrix") + h("matrix"),
    "add, mixed": lambda m, F, h, f: h("matrix") + f("matrix"),
    "div": lambda m, F, h, f: h("matrix") / h("matrix"),
    "cos": lambda m, F, h, f: h("matrix").cos(),
    "erf": lambda m, F, h, f: h("matrix").erf(),
    "exp": lambda m, F, h, f: h("matrix").exp(),
    "log": lambda m, F, h, f: h("matrix").log(),
    "mean": lambda m, F, h, f: h("matrix").mean(),
    "pow": lambda m, F, h, f: h("matrix") ** 2.5,
    "pow of tensors": lambda m, F, h, f: h("matrix") ** h("matrix"),
    "square": lambda m, F, h, f: h("matrix").square(),
    "prod": lambda m, F, h, f: h("matrix").prod(),
    "prod, dim": lambda m, F, h, f: h("matrix").prod(1),
    "reciprocal": lambda m, F, h, f: h("matrix").reciprocal(),
    "rsqrt": lambda m, F, h, f: h("matrix").rsqrt(),
    "sqrt": lambda m, F, h, f: h("matrix").sqrt(),
    "sum": lambda m, F, h, f: h("matrix").sum(),
    "sum, dim": lambda m, F, h, f: h("matrix").sum(1),
    "var": lambda m, F, h, f: h("matrix").var(),
    "cumsum": lambda m, F, h, f: h("matrix").cumsum(1),
    "norm": lambda m, F, h, f: h("matrix").norm(),
    "norm, dim": lambda m, F, h, f: h("matrix").norm(1, dim=1),
    "logsumexp": lambda m, F, h, f: h("matrix").logsumexp(1),
    "softmax": lambda m, F, h, f: F.softmax(h("matrix"), 1),
    "log_softmax": lambda m, F, h, f: F.log_softmax(h("matrix"), 1),
    "softplus": lambda m, F, h, f: F.softplus(h("matrix")),
    "relu": lambda m, F, h, f: F.relu(h("matrix")),
    "gelu": lambda m, F, h, f: F.gelu(h("matrix")),
    "silu": lambda m, F, h, f: F.silu(h("matrix")),
    "elu": lambda m, F, h, f: F.elu(h("matrix")),
    "sigmoid": lambda m, F, h, f: h("matrix").sigmoid(),
    "tanh": lambda m, F, h, f: h("matrix").tanh(),
    "leaky_relu": lambda m, F, h, f: F.leaky_relu(h("matrix")),
    "clamp": lambda m, F, h, f: h("matrix").clamp(0, 1),
    "amax": lambda m, F, h, f: h("matrix").amax(),
    "maximum, mixed": lambda m, F, h, f: m.maximum(h("matrix"), f("matrix")),
    "where, mixed": lambda m, F, h, f: m.where(h("matrix") > 1, h("matrix"), f("matrix")),
    "addcmul": lambda m, F, h, f: m.addcmul(h("matrix"), h("matrix"), f("matrix")),
    "lerp": lambda m, F, h, f: m.lerp(h("matrix"), h("matrix"), 0.3),
    "cat": lambda m, F, h, f: m.cat([h("matrix"), h("matrix")]),
    "cat, mixed": lambda m, F, h, f: m.cat([h("matrix"), f("matrix")]),
    "stack, mixed": lambda m, F, h, f: m.stack([h("matrix"), f("matrix")]),
    "pad": lambda m, F, h, f: F.pad(h("matrix"), (1, 1)),
    "matmul": lambda m, F, h, f: m.matmul(h("matrix"), h("matrix").t()),
    "matmul, mixed": lambda m, F, h, f: m.matmul(h("matrix"), f("matrix").t()),
    "matmul of vectors": lambda m, F, h, f: m.matmul(h("vector"), h("vector")),
    "mm": lambda m, F, h, f: m.mm(h("matrix"), h("matrix").t()),
    "bmm": lambda m, F, h, f: m.bmm(h("matrix").unsqueeze(0), h("matrix").t().unsqueeze(0)),
    "dot": lambda m, F, h, f: m.dot(h("vector"), h("vector")),
    "outer": lambda m, F, h, f: m.outer(h("vector"), h("vector")),
    "linear": lambda m, F, h, f: F.linear(h("matrix"), f("weight")),
    "conv2d": lambda m, F, h, f: F.conv2d(h("image"), f("filter")),
    "conv_transpose2d": lambda m, F, h, f: F.conv_transpose2d(h("image"), f("turned")),
    "max_pool2d": lambda m, F, h, f: F.max_pool2d(h("image"), 2),
    "avg_pool2d": lambda m, F, h, f: F.avg_pool2d(h("image"), 2),
    "adaptive_avg_pool2d": lambda m, F, h, f: F.adaptive_avg_pool2d(h("image"), 2),
    "max_unpool2d": lambda m, F, h, f: F.max_unpool2d(*F.max_pool2d(h("image"), 2, return_indices=True), 2),
    "batch_norm": lambda m, F, h, f: F.batch_norm(h("image"), f("channels"), f("channels"), f("channels"), f("channels")),
    "local_response_norm": lambda m, F, h, f: F.local_response_norm(h("image"), 2),
    "interpolate": lambda m, F, h, f: F.interpolate(h("image"), scale_factor=2, mode="bilinear"),
    "dropout": lambda m, F, h, f: F.dropout(h("matrix")),
    "fold": lambda m, F, h, f: F.fold(h("blocks"), (4, 4), 2),
    "cross_entropy": lambda m, F, h, f: F.cross_entropy(h("matrix"), classes(m)),
    "cross_entropy, smooth": lambda m, F, h, f: F.cross_entropy(h("matrix"), classes(m), label_smoothing=0.1),
    "cross_entropy, probabilities": lambda m, F, h, f: F.cross_entropy(h("matrix"), f("matrix")),
    "nll_loss": lambda m, F, h, f: F.nll_loss(h("matrix"), classes(m)),
    "mse_loss": lambda m, F, h, f: F.mse_loss(h("matrix"), h("matrix")),
    "mse_loss, mixed": lambda m, F, h, f: F.mse_loss(h("matrix"), f("matrix")),
    "l1_loss": lambda m, F, h, f: F.l1_loss(h("matrix"), h("matrix")),
}
CASES |= {
    "add, number": lambda m, F, h, f: h("matrix") + 2.3,
    "sub, number": lambda m, F, h, f: 1 - h("matrix"),
    "mul, number": lambda m, F, h, f: h("matrix") * 0.3,
    "div, number": lambda m, F, h, f: h("matrix") / 3,
    "add, alpha": lambda m, F, h, f: m.add(h("matrix"), h("matrix"), alpha=0.3),
    "hardtanh": lambda m, F, h, f: F.hardtanh(h("matrix")),
    "where, number": lambda m, F, h, f: m.where(h("matrix") > 1, h("matrix"), 0.3),
    "remainder": lambda m, F, h, f: h("matrix") % 2,
}
