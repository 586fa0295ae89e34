"""Tensors from nothing: constants, ranges and random numbers (these by shape, type and moments)."""

from tests.harness import Case, array, integers, normal, uniform

x, n = normal(2, 3).frozen(), integers(0, 5, 4)

CASES = [
    Case("zeros", "", (), lambda F: [F.zeros(2, 3), F.zeros((2,)), F.zeros(3, dtype=F.int64)]),
    Case("ones", "", (), lambda F: [F.ones(2, 3), F.ones([2]), F.ones(3, dtype=F.bool)]),
    Case("full", "", (), lambda F: [F.full((2, 3), 1.5), F.full((2,), 3), F.full((2,), True), F.full((2,), 3, dtype=F.float64)]),
    Case("empty", "shape and type", (), lambda F: [F.empty(2, 3) * 0 == 5, F.empty((0, 2), dtype=F.float64)]),
    Case("arange", "", (), lambda F: [F.arange(5), F.arange(2, 9, 3), F.arange(0.0, 1.0, 0.25), F.arange(5, 0, -2), F.arange(3, dtype=F.float64)]),
    Case("linspace", "", (), lambda F: [F.linspace(0, 1, 5), F.linspace(-2, 3, 1), F.linspace(3, -3, 7, dtype=F.float64)]),
    Case("eye", "", (), lambda F: [F.eye(3), F.eye(2, 4)]),
    Case("zeros_like", "", (x, n), lambda F, x, n: [F.zeros_like(x), F.zeros_like(n), F.zeros_like(n, dtype=F.float32)]),
    Case("ones_like", "", (x, n), lambda F, x, n: [F.ones_like(x), F.ones_like(n), F.ones_like(x, dtype=F.int64)]),
    Case("full_like", "", (x, n), lambda F, x, n: [F.full_like(x, 2.5), F.full_like(n, 3)]),
    Case("empty_like", "shape and type", (x, n), lambda F, x, n: [F.zeros_like(F.empty_like(x)), F.zeros_like(F.empty_like(n))]),
    Case("randn", "", (), lambda F: F.randn(100, 80), moments=True),
    Case("rand", "", (), lambda F: F.rand(100, 80), moments=True),
    Case("randint", "", (), lambda F: [F.randint(10, (4000,)), F.randint(-3, 4, (4000,))], moments=True),
    Case("randperm", "", (), lambda F: F.randperm(50).sort()[0]),
    Case("randn_like", "", (normal(100, 50).frozen(),), lambda F, x: F.randn_like(x), moments=True),
    Case("rand_like", "", (normal(100, 50).frozen(),), lambda F, x: F.rand_like(x), moments=True),
    Case("randint_like", "", (normal(100, 50).frozen(),), lambda F, x: F.randint_like(x, 5, 9), moments=True),
    Case("normal_", "", (array([0.0] * 5000, grad=False),), lambda F, x: (x * 1).normal_(2.0, 3.0), moments=True),
    Case("uniform_", "", (array([0.0] * 5000, grad=False),), lambda F, x: (x * 1).uniform_(-1.0, 4.0), moments=True),
    Case("bernoulli_", "", (array([0.0] * 5000, grad=False),), lambda F, x: (x * 1).bernoulli_(0.3), moments=True),
    Case("random_", "", (array([0.0] * 5000, grad=False),), lambda F, x: (x * 1).random_(2, 9), moments=True),
    Case("bernoulli", "", (uniform(0.2, 0.6, 5000).frozen(),), lambda F, x: F.bernoulli(x), moments=True),
    Case("tril", "", (normal(4, 5),), lambda F, x: [F.tril(x), F.tril(x, -1)]),
    Case("triu", "", (normal(2, 4, 5),), lambda F, x: [F.triu(x), F.triu(x, 2)]),
]
