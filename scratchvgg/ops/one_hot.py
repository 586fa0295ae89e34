"""One-hot codes: a last dimension that is 1 at the class and 0 elsewhere."""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor


class OneHot(Op):
    """No gradient: classes are integers."""

    name = "one_hot"
    differentiable = False

    @staticmethod
    def forward(ctx, classes, count):
        xp = ctx.xp
        codes = xp.zeros((*classes.shape, count), xp.int64)
        xp.put_along_axis(codes, classes[..., None], 1, -1)
        return codes


@ops.register
def one_hot(tensor, num_classes: int = -1):
    """int64 codes of shape (…, num_classes) for int64 class numbers of shape (…).

    Args:
        num_classes: −1 means the largest class plus one.

    Raises:
        RuntimeError: another element type, negative classes, classes beyond ``num_classes``, or nothing to infer it from.
    """
    check_tensor("one_hot", "tensor", tensor)
    if tensor.dtype.name != "int64":
        raise RuntimeError(f"one_hot: class numbers must be int64, got {tensor.dtype}")
    classes = tensor.array
    if not classes.size:
        if num_classes < 1:
            raise RuntimeError(f"one_hot: cannot tell the number of classes of an empty tensor, got num_classes={num_classes}")
        return OneHot.apply(tensor, num_classes)
    with tensor.backend.quiet():
        smallest, largest = int(classes.min()), int(classes.max())
    if smallest < 0:
        raise RuntimeError(f"one_hot: class numbers must not be negative, got {smallest}")
    if num_classes == -1:
        num_classes = largest + 1
    if num_classes < 1 or largest >= num_classes:
        raise RuntimeError(f"one_hot: class {largest} does not fit num_classes={num_classes}")
    return OneHot.apply(tensor, num_classes)
