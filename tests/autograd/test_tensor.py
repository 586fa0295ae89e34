"""The tensor itself: making, copying, printing, and meeting other libraries."""

import copy
import pickle

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.autograd import ops


def test_types_of_new_tensors(torch):
    for data in (
        1,
        1.5,
        True,
        [1, 2],
        [1.0, 2],
        [[True, False]],
        [],
        [1, True],
        np.float64(2),
        np.float32(2),
        np.int32(3),
        np.zeros(2),
        np.zeros(2, np.float32),
        np.arange(3),
        np.zeros(2, np.uint8),
        [np.float32(1), 2.0],
    ):
        ours, theirs = sv.tensor(data), torch.tensor(data)
        assert (ours.dtype.name, tuple(ours.shape)) == (str(theirs.dtype).removeprefix("torch."), tuple(theirs.shape)), data
    assert sv.tensor([1, 2], dtype=sv.float16).dtype is sv.float16 and sv.tensor([sv.tensor(1.0), 2.0]).shape == (2,)


def test_default_dtype():
    try:
        sv.set_default_dtype(sv.float64)
        made = [
            sv.tensor(1.5),
            sv.zeros(2),
            sv.randn(2),
            sv.tensor([1, 2]) / 2,
            sv.arange(0.0, 1.0, 0.5),
            sv.tensor([1, 2]).exp(),
            sv.full((1,), 1.5),
        ]
        assert all(t.dtype is sv.float64 for t in made)
    finally:
        sv.set_default_dtype(sv.float32)


@pytest.mark.parametrize("bad", [["a"], [1j], np.zeros(2, np.complex64)], ids=repr)
def test_what_tensors_cannot_hold(bad):
    with pytest.raises(TypeError):
        sv.tensor(bad)


@pytest.mark.parametrize("bad", [None, [None], object(), [1, object()]], ids=["None", "[None]", "object", "[1, object]"])
def test_objects_have_no_element_type(torch, bad):
    for make in (sv.tensor, torch.tensor):
        with pytest.raises(RuntimeError):
            make(bad)


def test_the_old_constructor(torch):
    """``Tensor(...)`` makes float32 of any list, and takes integers for sizes."""
    for module in (sv, torch):
        assert module.Tensor([1, 2]).dtype is module.float32 and module.Tensor([1, 2]).tolist() == [1.0, 2.0]
        assert [tuple(t.shape) for t in (module.Tensor(2, 3), module.Tensor(module.zeros(4, 5).shape), module.Tensor())] == [(2, 3), (4, 5), (0,)]
        weight = module.nn.Parameter(module.Tensor(4, 3))
        assert weight.requires_grad and weight.dtype is module.float32


def test_variable(torch):
    for module in (sv, torch):
        x = module.zeros(2)
        v = module.autograd.Variable(x, requires_grad=True)
        v.data.add_(1)
        assert v.requires_grad and not x.requires_grad and x.tolist() == [1.0, 1.0]


def test_an_assigned_gradient_must_fit(torch):
    for module in (sv, torch):
        x = module.zeros(3, requires_grad=True)
        with pytest.raises(TypeError):
            x.grad = 1
        for wrong in (module.zeros(2), module.zeros(3, dtype=module.float64)):
            with pytest.raises(RuntimeError):
                x.grad = wrong
        assert x.grad is None
        x.grad = module.ones(3)
        x.sum().backward()
        assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_formatting(torch):
    """A single number formats as a number, anything else as its repr, and no format fits several."""
    for module in (sv, torch):
        assert f"{module.tensor(3)} {module.tensor(2.5):.2f}" == "3 2.50" and f"{module.tensor([3])}" == "tensor([3])"
        with pytest.raises(TypeError):
            format(module.tensor([2.5]), ".2f")


def test_ragged():
    with pytest.raises(ValueError, match="inhomogeneous"):
        sv.tensor([[1, 2], [3]])


def test_copying_and_sharing():
    a = np.zeros(3, np.float32)
    copied, shared, also = sv.tensor(a), sv.from_numpy(a), sv.as_tensor(a)
    a[0] = 1
    assert copied[0] == 0 and shared[0] == 1 and also[0] == 1 and sv.as_tensor(shared) is shared
    assert shared.numpy() is a
    shared[1] = 5
    assert a[1] == 5
    with pytest.raises(TypeError, match="from_numpy"):
        sv.from_numpy([1])


def test_numpy_refuses_a_tensor_that_requires_grad():
    x = sv.ones(2, requires_grad=True)
    for ask in (x.numpy, lambda: np.asarray(x), lambda: np.asarray(x * 2)):
        with pytest.raises(RuntimeError, match="detach"):
            ask()
    assert np.asarray(x.detach()).sum() == 2


def test_array_protocol():
    x = sv.tensor([1.5, 2.5])
    assert np.asarray(x) is x.array and np.array(x) is not x.array and not np.shares_memory(np.array(x), x.array)
    assert np.asarray(x, dtype=np.int32).tolist() == [1, 2]
    assert isinstance(np.ones(2) + x, sv.Tensor) and isinstance(np.float64(2) * x, sv.Tensor)
    assert (np.ones(2, np.float32) - x).tolist() == [-0.5, -1.5]


def test_dlpack_both_ways(torch):
    ours = sv.tensor([[1.0, 2.0], [3.0, 4.0]])
    theirs = torch.from_dlpack(ours)
    theirs[0, 0] = 9
    assert ours[0, 0] == 9
    back = sv.from_dlpack(torch.arange(4.0).reshape(2, 2).t())
    assert back.tolist() == [[0, 2], [1, 3]] and back.stride() == (1, 2)
    with pytest.raises(BufferError, match="grad"):
        sv.ones(2, requires_grad=True).__dlpack__()


def test_deepcopy():
    x = sv.ones(2, 3, requires_grad=True)
    (x * 2).sum().backward()
    y = copy.deepcopy(x)
    assert (
        y.requires_grad
        and y.is_leaf
        and not np.shares_memory(x.array, y.array)
        and not np.shares_memory(x.grad.array, y.grad.array)
    )
    np.testing.assert_array_equal(y.grad, x.grad)
    (a, b) = copy.deepcopy([x, x])
    assert a is b
    with pytest.raises(RuntimeError, match="leaf"):
        copy.deepcopy(x * 2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool", "uint8"])
def test_pickling(dtype):
    x = sv.tensor([[0, 1], [2, 3]], dtype=dtype)
    y = pickle.loads(pickle.dumps(x))
    assert y.dtype is x.dtype and y.equal(x) and type(y) is sv.Tensor
    x = sv.ones(2, requires_grad=True)
    assert pickle.loads(pickle.dumps(x)).requires_grad


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: sv.tensor([[1.0, 2.0]], requires_grad=True), "tensor([[1., 2.]], requires_grad=True)"),
        (lambda: sv.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: sv.tensor(1.5), "tensor(1.5000)"),
        (lambda: sv.tensor([True, False]), "tensor([ True, False])"),
        (lambda: sv.tensor([0.25, 1e-3, 2.0]), "tensor([2.5000e-01, 1.0000e-03, 2.0000e+00])"),
        (lambda: sv.zeros(0), "tensor([])"),
        (lambda: sv.tensor([0.5], dtype=sv.float64), "tensor([0.5000], dtype=scratchvgg.float64)"),
        (lambda: sv.tensor([2.0], requires_grad=True) * 2, "tensor([4.], grad_fn=<MulBackward>)"),
    ],
)
def test_repr_looks_like_torchs(make, text):
    assert repr(make()) == text


def test_long_tensors_are_shortened():
    assert "..." in repr(sv.zeros(5000)) and len(repr(sv.zeros(300, 300))) < 2000


def test_numbers():
    x = sv.tensor([3])
    assert (x.item(), int(x), float(x), bool(x), [10, 20, 30, 40][x], f"{sv.tensor(1.25):.1f}") == (3, 3, 3.0, True, 40, "1.2")
    for ask in (lambda: sv.ones(2).item(), lambda: bool(sv.ones(2)), lambda: float(sv.ones(0))):
        with pytest.raises(RuntimeError, match="elements"):
            ask()
    with pytest.raises(TypeError, match="integer"):
        [1, 2][sv.tensor(1.0)]
    with pytest.raises(TypeError, match="0-d"):
        len(sv.tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(sv.tensor(1.0))


def test_sizes():
    x = sv.zeros(2, 3, 4)
    assert x.size() == x.shape == (2, 3, 4) and x.size(-1) == 4 and x.shape.numel() == x.numel() == 24 and x.dim() == x.ndim == 3
    assert (
        len(x) == 2
        and [r.shape for r in x] == [(3, 4)] * 2
        and x.stride() == (12, 4, 1)
        and x.element_size() == 4
        and x.nbytes == 96
    )
    assert repr(x.shape) == "Size([2, 3, 4])" and 0.0 in x and 1.0 not in x
    assert x.shape[1:].numel() == 12 and repr(x.size()[:1]) == "Size([2])"


def test_equality_with_other_things():
    x = sv.ones(2)
    assert (x == None) is False and (x != None) is True and (x == "a") is False  # noqa: E711
    assert (x == 1).tolist() == [True, True] and (x == np.array([1, 2])).tolist() == [True, False]
    assert len({x, sv.ones(2)}) == 2 and x in [x]
    with pytest.raises(TypeError):
        x < "a"  # noqa: B015
    with pytest.raises(TypeError, match="add"):
        x + "a"


def test_data_may_be_replaced():
    x = sv.ones(2, requires_grad=True)
    y = (x * x).sum()
    x.data = sv.zeros(2)
    assert x.tolist() == [0, 0] and x.requires_grad
    with pytest.raises(RuntimeError, match="in-place"):
        y.backward()
    with pytest.raises(TypeError, match="data"):
        x.data = [1, 2]


# ---- no float64 appears from float32 ------------------------------------------------------------------------------------

ONE = "exp log sqrt rsqrt square reciprocal sin cos erf abs sign floor ceil trunc round neg relu sigmoid tanh sum mean prod var std amax amin "
ONE += "isnan clone contiguous t flatten tril triu nonzero unique zeros_like ones_like rand_like randn_like norm"
FORMS = {
    **{name: (lambda x, name=name: getattr(ops, name)(x)) for name in ONE.split()},
    **{
        f"{name} scalar": (lambda x, name=name: getattr(ops, name)(x, 2.5))
        for name in "add sub mul div pow floor_divide remainder".split()
    },
    **{
        f"{name} numpy scalar": (lambda x, name=name: getattr(ops, name)(x, np.float64(2.5)))
        for name in "add sub mul div pow maximum".split()
    },
    **{
        f"{name} reversed": (lambda x, name=name: getattr(ops, name)(np.float64(2.5), x))
        for name in "add sub mul div pow".split()
    },
    **{
        f"{name} 0-d float64": (lambda x, name=name: getattr(ops, name)(x, sv.tensor(2.5, dtype=sv.float64)))
        for name in "add sub mul div pow".split()
    },
    **{
        f"{name} tensor": (lambda x, name=name: getattr(ops, name)(x, x))
        for name in "add sub mul div pow maximum minimum matmul floor_divide".split()
    },
    **{
        f"{name} integers": (lambda x, name=name: getattr(ops, name)(x, sv.arange(1, 4)))
        for name in "add sub mul div pow maximum".split()
    },
    **{
        f"{name} along": (lambda x, name=name: getattr(ops, name)(x, 0))
        for name in "sum mean prod var std cumsum logsumexp softmax log_softmax".split()
    },
    "integer mean": lambda x: ops.div(sv.tensor([1, 2]), 2),
    "integer exp": lambda x: sv.tensor([1, 2]).exp(),
    "integer sqrt": lambda x: sv.tensor([1]).sqrt(),
    "clamp": lambda x: x.clamp(np.float64(0.1), 2),
    "where": lambda x: ops.where(x > 1, x, 0.5),
    "lerp": lambda x: x.lerp(x * 2, 0.25),
    "addcmul": lambda x: ops.addcmul(x, x, x, value=0.5),
    "addcdiv": lambda x: ops.addcdiv(x, x, x, value=0.5),
    "masked_fill": lambda x: x.masked_fill(x > 1, 0.5),
    "index": lambda x: x[sv.tensor([0, 2])],
    "topk": lambda x: x.topk(2)[0],
    "sort": lambda x: x.sort()[0],
    "max": lambda x: x.max(0)[0],
    "norm 3": lambda x: x.norm(3),
    "cat": lambda x: ops.cat([x, x]),
    "round": lambda x: x.round(decimals=1),
    "normal_": lambda x: (x * 1).normal_(0.5, 2.0),
    "bernoulli": lambda x: ops.bernoulli(x / 10),
    "gather": lambda x: x.gather(0, sv.zeros(1, 3, dtype=sv.int64)),
    "bincount": lambda x: ops.bincount(sv.tensor([0, 1]), x[0, :2]),
}


@pytest.mark.parametrize("form", FORMS)
def test_no_silent_float64(form):
    x = sv.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]], requires_grad=True)
    made = []

    def look(op, args, options, proceed):
        result = proceed(args, options)
        made.extend((op.name, r.dtype.name) for r in (result if isinstance(result, tuple) else (result,)))
        return result

    with sv.autograd.intercept(look):
        out = FORMS[form](x)
    outs = out if isinstance(out, tuple) else (out,)
    assert all(o.dtype.name != "float64" for o in outs) and not [m for m in made if m[1] == "float64"]
    if outs[0].requires_grad:
        outs[0].sum().backward()
        assert x.grad.dtype is sv.float32 and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("form", [f for f in FORMS if "0-d" not in f and f not in ("nonzero", "unique")])
def test_backward_computes_in_float32_too(form):
    """Gradients are made float32 where they are computed, not cast back afterwards."""
    x = sv.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]], requires_grad=True)
    out = FORMS[form](x)
    out = out[0] if isinstance(out, tuple) else out
    if not out.requires_grad or out is x:
        return
    node, seen = out.grad_fn, set()
    grads = [o.backend.xp.ones(shape, dtype) for shape, dtype, o in [(s, d, out) for s, d, _ in node.outputs]]
    stack = [(node, grads)]
    while stack:
        node, grads = stack.pop()
        if node.op.name == "Cast" or id(node) in seen:
            continue
        seen.add(id(node))
        results = node.op.backward(node.ctx, *grads)
        for edge, result in zip(node.edges, results if isinstance(results, tuple) else (results,), strict=True):
            if edge is not None and result is not None:
                assert result.dtype == np.float32, f"{node.name} made {result.dtype}"
                if len(edge[0].outputs) == 1 and hasattr(edge[0], "op"):
                    stack.append((edge[0], [result]))
