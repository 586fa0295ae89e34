"""Names with a trailing underscore: the value, the gradient through what was overwritten, and that self comes back.

The inputs are copied first (``x * 1``): a leaf that requires grad may not be written to.
"""

from tests.harness import Case, booleans, distinct, normal, off_zero, tied, uniform

x, y = normal(2, 3, 4, 5), normal(3, 4, 5)


def inplace(name, title, inputs, function, **options):
    """``function(copy, *rest)`` must return the very tensor it was called on."""

    def checked(F, x, *rest):
        copy = x * 1
        returned = function(copy, *rest)
        assert returned is copy, f"{name} must return the tensor itself"
        return copy * copy

    return Case(name, title, inputs, checked, **options)


CASES = [
    inplace("add_", "", (x, y), lambda x, y: x.add_(y), half=True),
    inplace("add_", "alpha", (x, y), lambda x, y: x.add_(y, alpha=-0.5)),
    inplace("sub_", "", (x, y), lambda x, y: x.sub_(y, alpha=2)),
    inplace("mul_", "", (x, y), lambda x, y: x.mul_(y)),
    inplace("mul_", "number", (x,), lambda x: x.mul_(0.9)),
    inplace("div_", "", (x, off_zero(4, 5)), lambda x, y: x.div_(y)),
    inplace("pow_", "", (uniform(0.5, 2, 3, 4),), lambda x: x.pow_(2.5)),
    inplace("neg_", "", (x,), lambda x: x.neg_()),
    inplace("exp_", "", (x,), lambda x: x.exp_()),
    inplace("sqrt_", "", (uniform(0.5, 2, 3, 4),), lambda x: x.sqrt_()),
    inplace("abs_", "", (off_zero(3, 4),), lambda x: x.abs_()),
    inplace("clamp_", "", (distinct(3, 4),), lambda x: x.clamp_(-1.0, 2.0)),
    inplace("relu_", "", (off_zero(3, 4),), lambda x: x.relu_(), half=True),
    inplace("relu_", "zeros", (tied(3, 4),), lambda x: x.relu_(), differences=False),
    inplace("lerp_", "", (x, y), lambda x, y: x.lerp_(y, 0.25)),
    inplace("addcmul_", "", (x, y, normal(5)), lambda x, y, z: x.addcmul_(y, z, value=-2)),
    inplace("addcdiv_", "", (x, y, off_zero(5)), lambda x, y, z: x.addcdiv_(y, z, value=-2)),
    inplace("masked_fill_", "", (x, booleans(4, 5)), lambda x, m: x.masked_fill_(m, 3.0)),
    inplace("zero_", "", (x,), lambda x: x.zero_()),
    inplace("fill_", "", (x,), lambda x: x.fill_(2.5)),
    inplace("copy_", "", (x, y), lambda x, y: x.copy_(y)),
    inplace("copy_", "another type", (x, y), lambda x, y: x.copy_(y.double())),
]
