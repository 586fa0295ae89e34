"""Batch norm and local response norm."""

from tests.harness import Case, array, normal, uniform

x, w, b = normal(3, 4, 5, 2, mean=0.5, std=2.0), normal(4), normal(4)
mean, var = array([0.1, -0.2, 0.3, 2.0], grad=False), array([0.5, 1.0, 2.0, 0.01], grad=False)


def training(F, x, w, b, momentum=0.1):
    """The result and what becomes of the running statistics."""
    mean, var = F.zeros(4, dtype=x.dtype, device=x.device), F.ones(4, dtype=x.dtype, device=x.device)
    return [F.batch_norm(x, mean, var, w, b, True, momentum), mean, var]


CASES = [
    Case("batch_norm", "training", (x, w, b), training, half=True),
    Case("batch_norm", "momentum 0.4", (x, w, b), lambda F, x, w, b: training(F, x, w, b, 0.4)),
    Case("batch_norm", "no scale, no statistics", (x,), lambda F, x: F.batch_norm(x, None, None, training=True)),
    Case("batch_norm", "scale only", (x, w), lambda F, x, w: F.batch_norm(x, None, None, w, training=True, eps=0.1)),
    Case("batch_norm", "matrix", (normal(6, 4), w, b), training),
    Case("batch_norm", "sequence", (normal(3, 4, 5), w, b), training),
    Case("batch_norm", "large mean", (normal(8, 4, 3, 3, mean=100.0), w, b), training),
    Case("batch_norm", "evaluation", (x, mean, var, w, b), lambda F, x, m, v, w, b: F.batch_norm(x, m, v, w, b), half=True),
    Case("batch_norm", "evaluation, no scale", (x, mean, var), lambda F, x, m, v: F.batch_norm(x, m, v, eps=1e-3)),
    Case("batch_norm", "evaluation, empty batch", (normal(0, 4, 3, 3), mean, var, w, b), lambda F, x, m, v, w, b: F.batch_norm(x, m, v, w, b)),
    Case("local_response_norm", "the paper's", (normal(2, 8, 3, 4, std=3.0),), lambda F, x: F.local_response_norm(x, 5, 1e-4, 0.75, 2.0)),
    Case("local_response_norm", "strong, even size", (normal(2, 6, 3, 3, std=2.0),), lambda F, x: F.local_response_norm(x, 4, 1.0, 0.6, 1.5)),
    Case("local_response_norm", "wider than the channels", (uniform(-2, 2, 2, 3, 4, 4),), lambda F, x: F.local_response_norm(x, 9, 0.5)),
    Case("local_response_norm", "sequence", (normal(2, 5, 4),), lambda F, x: F.local_response_norm(x, 3)),
]
