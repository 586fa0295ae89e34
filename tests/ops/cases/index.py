"""Indexing, gathering, sorting, counting."""

from tests.harness import Case, array, booleans, distinct, integers, normal, tied

x = normal(4, 3, 5)


def write(F, x, *parts):
    """Assign into a copy of x, so that both sides get gradients: ``parts`` are index, value pairs."""
    y = x * 1
    for index, value in zip(parts[::2], parts[1::2], strict=True):
        y[index] = value
    return y


CASES = [
    Case("getitem", "slices", (x,), lambda F, x: [x[1:3], x[:, 1], x[..., ::2], x[-1], x[2, 1, 4]], half=True),
    Case("getitem", "new dimensions", (x,), lambda F, x: [x[None, 1], x[:, None, :, 2:], x[..., None]]),
    Case("getitem", "empty slice", (x,), lambda F, x: x[3:2]),
    Case("getitem", "index tensor, repeated", (x, array([0, 2, 2, 0, -1], grad=False)), lambda F, x, i: x[i]),
    Case("getitem", "index tensors broadcast", (x, array([[0], [3]], grad=False), array([0, 2, 2], grad=False)), lambda F, x, i, j: x[i, j]),
    Case("getitem", "index tensors apart", (x, array([0, 3, 3], grad=False), array([4, 1, 1], grad=False)), lambda F, x, i, j: x[i, :, j]),
    Case("getitem", "slice and index tensor", (x, array([2, 0, 2], grad=False)), lambda F, x, j: x[1:, j, ::2]),
    Case("getitem", "list", (x,), lambda F, x: x[[0, 2]]),
    Case("getitem", "mask", (x, booleans(4, 3, 5)), lambda F, x, m: x[m]),
    Case("getitem", "mask of rows", (x, booleans(4)), lambda F, x, m: x[m]),
    Case("getitem", "mask and slice", (x, booleans(4, 3)), lambda F, x, m: x[m, 1:3]),
    Case("setitem_", "slices", (x, normal(3, 5), normal()), lambda F, x, a, b: write(F, x, 1, a, (slice(None), 0, 2), b)),
    Case("setitem_", "number", (x,), lambda F, x: write(F, x, (..., slice(1, 3)), 7.5)),
    Case("setitem_", "index tensor", (x, array([3, 0], grad=False), normal(2, 3, 5)), lambda F, x, i, v: write(F, x, i, v)),
    Case("setitem_", "mask", (x, booleans(4, 3, 5)), lambda F, x, m: write(F, x, m, 0.0)),
    Case("gather", "", (x, integers(0, 3, 4, 2, 5)), lambda F, x, i: F.gather(x, 1, i)),
    Case("gather", "smaller index", (x, integers(0, 4, 2, 3, 2)), lambda F, x, i: x.gather(0, i)),
    Case("index_select", "", (x, array([2, 0, 2], grad=False)), lambda F, x, i: F.index_select(x, 1, i)),
    Case("masked_select", "", (x, booleans(3, 5)), lambda F, x, m: F.masked_select(x, m)),
    Case("topk", "", (distinct(3, 7),), lambda F, x: [*F.topk(x, 3), *F.topk(x, 2, 0), *x.topk(2, largest=False)]),
    Case("topk", "unsorted", (distinct(30),), lambda F, x: F.topk(x, 5, sorted=False)[0].sum()),
    Case("sort", "", (distinct(3, 7),), lambda F, x: [*F.sort(x), *F.sort(x, 0, descending=True)]),
    Case("sort", "stable with ties", (tied(40),), lambda F, x: [*x.sort(stable=True), *x.sort(descending=True, stable=True)], differences=False),
    Case("argsort", "", (distinct(3, 7),), lambda F, x: [F.argsort(x), F.argsort(x, 0, descending=True)], differences=False),
    Case("argsort", "stable with ties", (tied(40),), lambda F, x: F.argsort(x, stable=True), differences=False),
    Case("unique", "", (integers(-3, 4, 5, 6),), lambda F, x: [F.unique(x), *F.unique(x, return_counts=True)]),
    Case("bincount", "", (integers(0, 6, 30),), lambda F, x: [F.bincount(x), F.bincount(x, minlength=9)]),
    Case("nonzero", "", (tied(4, 5).frozen(),), lambda F, x: F.nonzero(x)),
]
