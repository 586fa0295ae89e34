"""Products of vectors and matrices."""

from tests.harness import Case, normal

CASES = [
    Case("matmul", "matrices", (normal(3, 4), normal(4, 5)), lambda F, a, b: a @ b, half=True),
    Case("matmul", "vectors", (normal(4), normal(4)), lambda F, a, b: F.matmul(a, b)),
    Case("matmul", "matrix and vector", (normal(3, 4), normal(4)), lambda F, a, b: a @ b),
    Case("matmul", "vector and matrix", (normal(4), normal(4, 5)), lambda F, a, b: a @ b),
    Case("matmul", "batches", (normal(2, 3, 4), normal(2, 4, 5)), lambda F, a, b: a @ b),
    Case("matmul", "batches broadcast", (normal(2, 1, 3, 4), normal(3, 4, 2)), lambda F, a, b: a @ b),
    Case("matmul", "batch and vector", (normal(2, 3, 4), normal(4)), lambda F, a, b: a @ b),
    Case("matmul", "vector and batch", (normal(3), normal(2, 3, 4)), lambda F, a, b: a @ b),
    Case("matmul", "transposed", (normal(4, 3), normal(5, 4)), lambda F, a, b: a.T @ b.T),
    Case("matmul", "empty", (normal(0, 4), normal(4, 5)), lambda F, a, b: a @ b),
    Case("matmul", "empty sum", (normal(3, 0), normal(0, 2)), lambda F, a, b: a @ b),
    Case("mm", "", (normal(3, 4), normal(4, 5)), lambda F, a, b: F.mm(a, b)),
    Case("bmm", "", (normal(2, 3, 4), normal(2, 4, 5)), lambda F, a, b: F.bmm(a, b)),
    Case("dot", "", (normal(6), normal(6)), lambda F, a, b: F.dot(a, b)),
    Case("outer", "", (normal(3), normal(4)), lambda F, a, b: F.outer(a, b)),
    Case("linear", "", (normal(5, 4), normal(3, 4), normal(3)), lambda F, x, w, b: F.linear(x, w, b), half=True),
    Case("linear", "no bias", (normal(5, 4), normal(3, 4)), lambda F, x, w: F.linear(x, w)),
    Case("linear", "vector", (normal(4), normal(3, 4), normal(3)), lambda F, x, w, b: F.linear(x, w, b)),
    Case("linear", "leading dimensions", (normal(2, 3, 2, 4), normal(3, 4), normal(3)), lambda F, x, w, b: F.linear(x, w, b)),
    Case("linear", "empty batch", (normal(0, 4), normal(3, 4), normal(3)), lambda F, x, w, b: F.linear(x, w, b)),
    Case("linear", "one output as a vector", (normal(5, 4), normal(4)), lambda F, x, w: F.linear(x, w)),
]
