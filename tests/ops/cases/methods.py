"""Tensor's methods: that each leads to its operation with the arguments in torch's order. What the operations do is tested beside them."""

from tests.harness import Case, array, booleans, distinct, integers, normal, tied, uniform

x, y, positive = distinct(3, 4), normal(3, 4), uniform(0.5, 2, 3, 4)


def method(name, *arguments, inputs=(x,), operation=None, **options):
    """``inputs[0].name(*inputs[1:], *arguments, **options)``."""
    given = ", ".join([*map(str, arguments), *(f"{k}={v}" for k, v in options.items())])
    return Case(operation or name, f"x.{name}({given})", inputs, lambda F, x, *more: getattr(x, name)(*more, *arguments, **options),
                differences=False)


def operator(title, operation, function, inputs=(x,)):
    return Case(operation, title, inputs, lambda F, *tensors: function(*tensors), differences=False)


def changed(function):
    """``function`` applied to a copy that it may write to; augmented assignment keeps the object."""

    def apply(x, *rest):
        copy = x * 1
        out = function(copy, *rest)
        assert out is copy
        return out

    return apply


def iadd(x, y):
    x += y
    return x


def isub(x, y):
    x -= y
    return x


def imul(x, y):
    x *= y
    return x


def itruediv(x, y):
    x /= y
    return x


def ipow(x):
    x **= 3
    return x


CASES = [
    *(method(name, inputs=(positive,)) for name in (
        "abs", "ceil", "clone", "cos", "erf", "exp", "floor", "log", "neg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt",
        "square", "tanh", "trunc", "t", "isnan", "isinf", "isfinite", "logical_not", "nonzero", "unbind", "tril", "triu", "flatten", "prod", "norm",
        "var", "std", "contiguous",
    )),
    method("negative", operation="neg"),
    *(method(name, inputs=(x, positive)) for name in (
        "add", "sub", "mul", "div", "remainder", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and",
        "logical_or", "logical_xor", "isclose", "allclose", "equal",
    )),
    method("pow", inputs=(positive, y)), method("floor_divide", inputs=(x.frozen(), positive.frozen())),
    *(method(name, inputs=(x, positive), operation=op) for name, op in
      (("subtract", "sub"), ("multiply", "mul"), ("divide", "div"), ("true_divide", "div"))),
    method("add", inputs=(x, y), alpha=3), method("matmul", inputs=(x, normal(4, 2))), method("mm", inputs=(x, normal(4, 2))),
    method("bmm", inputs=(normal(2, 3, 4), normal(2, 4, 2))), method("dot", inputs=(normal(4), normal(4))),
    method("outer", inputs=(normal(4), normal(3))), method("lerp", 0.3, inputs=(x, y)), method("addcmul", inputs=(x, y, positive), value=2),
    method("addcdiv", inputs=(x, y, positive), value=2), method("where", inputs=(x, booleans(3, 4), y)),
    method("masked_fill", 2.5, inputs=(x, booleans(3, 4))), method("masked_select", inputs=(x, booleans(3, 4))),
    Case("gather", "x.gather", (x, integers(0, 4, 3, 2)), lambda F, x, i: x.gather(1, i)),
    Case("index_select", "x.index_select", (x, array([1, 0], grad=False)), lambda F, x, i: x.index_select(1, i)),
    # reductions and their arguments
    method("softmax", 1), method("log_softmax", -1), method("logsumexp", 1), method("amax", 1, True), method("amin", (0, 1)), method("cumsum", 1),
    method("var", 1, False), method("std", 0, keepdim=True), method("prod", 1, True), method("norm", 1, 1), method("max", 1, True), method("min", 0),
    method("argmax", 1, True), method("argmin", 0), method("all", 1), method("any", 0, True),
    # order
    method("topk", 2, 0), method("sort", 1, True), method("argsort", 1, True), method("clip", -1, 2, operation="clamp"),
    # shape
    method("roll", 1, 0), method("flip", 0, 1), method("narrow", 1, 1, 2), method("transpose", 0, 1), method("swapaxes", 0, 1),
    method("movedim", 0, 1), method("tile", 2, 1), method("reshape", 2, 6), method("permute", 1, 0), method("expand", 2, 3, 4),
    method("repeat", 2, 1), method("split", 2, 1),
    method("chunk", 2, 1), method("unflatten", 1, (2, 2)),
    # integers
    method("unique", inputs=(tied(8).frozen(),)), method("bincount", inputs=(integers(0, 5, 9),)),
    *(method(name, operation="to", inputs=(normal(3, std=4).frozen(),)) for name in ("int", "float", "long", "half", "double", "bool", "cpu")),
    method("type_as", inputs=(x, integers(0, 2, 1)), operation="to"),
    Case("to", "x.type", (x.frozen(),), lambda F, x: x.type(x.double().dtype)[: x.ndimension()]),
    Case("expand", "x.expand_as", (normal(3, 1), y), lambda F, x, y: x.expand_as(y)),
    Case("reshape", "x.reshape_as", (normal(2, 6), y), lambda F, x, y: x.reshape_as(y)),
    Case("zeros", "x.new_zeros", (x.frozen(),), lambda F, x: [x.new_zeros(2, 3), x.new_zeros((2,))]),
    Case("ones", "x.new_ones", (x.frozen(),), lambda F, x: x.new_ones(2, 3)),
    Case("empty", "x.new_empty", (x.frozen(),), lambda F, x: x.new_empty(2, 3).zero_()),
    Case("full", "x.new_full", (x.frozen(),), lambda F, x: x.new_full((2, 3), 1.5)),
    Case("to", "x.new_tensor", (x.frozen(),), lambda F, x: [x.new_tensor([1, 2]), x.double()]),
    operator("operator -x", "neg", lambda x: -x), operator("operator +x", "add", lambda x: +x + 0),
    operator("operator 2 * x", "mul", lambda x: 2 * x), operator("operator 7 // x", "floor_divide", lambda x: 7 // x, (integers(1, 5, 4),)),
    operator("operator 7 % x", "remainder", lambda x: 7 % x, (integers(1, 5, 4),)),
    operator("operator 2 ** x", "pow", lambda x: 2**x, (positive,)),
    operator("operator +=", "add_", changed(iadd), (x, y)), operator("operator -=", "sub_", changed(isub), (x, y)),
    operator("operator *=", "mul_", changed(imul), (x, y)), operator("operator /=", "div_", changed(itruediv), (x, positive)),
    operator("operator **=", "pow_", changed(ipow), (positive,)),
    operator("iteration", "getitem", lambda x: [row * 2 for row in x]),
    operator("tolist, item, len, in, bool, numbers", "getitem", lambda x: [
        x.tolist() == [[1.5, -2.0]], x[0, 0].item(), len(x), int(x[0, 1]), float(x[0, 0]), bool(x[0, 0] > 0), 1.5 in x, 7.0 in x, f"{x[0, 0]:.2f}",
        [10, 20, 30][(x[0, 1].long() + 3)],
    ], (array([[1.5, -2.0]], grad=False),)),
    operator("sizes", "getitem", lambda x: [
        x[0].dim(), x.numel(), x.nelement(), x.size(0), list(x.size()), x.element_size() * x.numel() == x.nbytes, x.is_floating_point(),
        x.ndim, x.itemsize == x.element_size(), x.is_cuda and x.device.type != "cuda",
    ], (y.frozen(),)),
]
