"""The one dispatch point. Every operation of the library is a subclass of :class:`Op` and runs through :meth:`Op.apply`.

``Op`` works on plain arrays: ``forward(ctx, *arrays_and_numbers, **options)`` returns an array (or a tuple), ``backward(ctx, *grads)``
one gradient (or None) per positional argument. :class:`Function` is the same for users who know torch: it sees Tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

from . import anomaly
from .grad_mode import no_grad, state
from .node import Context, Node
from .tensor import Tensor

_interceptors: list[Callable] = []


@contextmanager
def intercept(interceptor: Callable):
    """Let ``interceptor(op, args, options, proceed)`` stand around every operation: autocast, tracing and profiling attach here.

    It must return what ``proceed(args, options)`` returns, or something like it. The innermost ``with`` is called first.
    """
    _interceptors.append(interceptor)
    try:
        yield
    finally:
        _interceptors.remove(interceptor)


class Op:
    """An operation on arrays. Subclasses define ``forward`` and ``backward`` as static methods side by side.

    Contract of backward: a gradient is a fresh array, the incoming gradient, or a view of it; inputs and kept arrays are never
    returned and never written to.

    Attributes:
        name: shown in errors, traces and ``grad_fn``; the class name unless set.
        differentiable: False for operations without a gradient (comparisons, argmax).
        view: True if outputs may share memory with the first argument.
        keeps_dtype: True if bfloat16 operands give bfloat16: a result that the array module widened is rounded. False for casts.
        twin: the operation by CUDA kernels, see :func:`kernel_twin`.
    """

    name = "Op"
    differentiable = True
    view = False
    keeps_dtype = True
    twin: type[Op] | None = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    @classmethod
    def apply(cls, *args, **options):
        """Run the operation on Tensors and numbers and, if any input requires grad, record it."""
        if _interceptors:
            return _onion(cls, args, options, len(_interceptors) - 1)
        return cls._run(args, options)

    @classmethod
    def _run(cls, args, options):
        backend, needs = None, []
        for a in args:
            if isinstance(a, Tensor):
                if backend is None:
                    backend = a.backend
                elif a.backend is not backend:
                    raise RuntimeError(f"{cls.name}: expected all tensors on one device, found {backend.device} and {a.device}")
                needs.append(a.requires_grad)
            else:
                needs.append(False)
        record = state.grad and cls.differentiable and True in needs
        if record:
            for a in args:
                if isinstance(a, Tensor):
                    a.check_recordable(cls.name)
        if backend is None:
            backend = options.pop("backend")
        ctx = Context(backend, tuple(needs) if record else (False,) * len(needs))
        ctx.operation = cls.name
        arrays = [a.array if isinstance(a, Tensor) else a for a in args]
        if cls.twin is not None and backend.runs_kernels and cls.twin.takes(ctx, *arrays, **options):
            cls = cls.twin
        with backend.quiet():
            result = cls.forward(ctx, *arrays, **options)
        many = isinstance(result, tuple)
        results = result if many else (result,)
        if cls.keeps_dtype and any(a.dtype.kind == "V" for a in arrays if hasattr(a, "dtype")):  # bfloat16
            results = _rounded(arrays, results)
        outputs = tuple(Tensor.wrap(ctx.backend, r) for r in results)
        if ctx.writes:  # in place: the first argument's memory now holds the first output
            args[0].version.value += 1
            outputs[0].share_memory_of(args[0])
        elif cls.view:
            for out in outputs:
                if backend.xp.may_share_memory(out.array, args[0].array):
                    out.share_memory_of(args[0])
        if record:
            cls._record(ctx, args, outputs)
        if state.anomaly:
            anomaly.check_forward(cls, outputs)
        return outputs if many else outputs[0]

    @classmethod
    def _record(cls, ctx, args, outputs):
        edges = tuple(a.gradient_edge() if isinstance(a, Tensor) and a.requires_grad else None for a in args)
        node = Node(cls, ctx, edges)
        node.outputs = tuple((o.array.shape, o.array.dtype, ctx.backend) for o in outputs)
        for index, out in enumerate(outputs):
            if out.dtype.is_floating_point and not any(out.array is a for a in ctx.constant_outputs):
                out.set_history(node, index)
        ctx.watch([(t.array, t.version) for t in (*args, *outputs) if isinstance(t, Tensor)])
        if state.checkpoint is not None:
            state.checkpoint.take(node, args)

    @staticmethod
    def forward(ctx, *args, **options):
        """Compute the result."""
        raise TypeError("an operation must define forward(ctx, ...)")

    @staticmethod
    def backward(ctx, *grads):
        """Compute the gradients of forward's positional arguments."""
        raise RuntimeError(f"{ctx.operation} has no gradient")


def kernel_twin(op: type[Op]):
    """Class decorator: where arrays live on a device that runs CUDA kernels, this class does the work of ``op``.

    It has the forward and backward of ``op``, and ``takes(ctx, *arrays, **options)``: whether it can do this call. Where it cannot, ``op`` itself
    runs, through the device's array module.
    """

    def enter(twin):
        op.twin = twin
        return twin

    return enter


def _rounded(arrays, results):
    """float32 results of operands that are bfloat16 only, rounded: NumPy computes a bfloat16 array with a Python number in float32."""
    types = {a.dtype.name for a in arrays if hasattr(a, "dtype") and a.dtype.kind in "fV"}
    if types != {"bfloat16"}:
        return results
    narrow = next(a.dtype for a in arrays if hasattr(a, "dtype") and a.dtype.kind == "V")
    return tuple(r.astype(narrow) if r.dtype.name == "float32" else r for r in results)


def _onion(op, args, options, depth):
    if depth < 0:
        return op._run(args, options)
    return _interceptors[depth](op, args, options, lambda a, o: _onion(op, a, o, depth - 1))


class _FunctionContext:
    """torch's ``ctx`` over :class:`Context`."""

    def __init__(self, ctx):
        self.__dict__["_ctx"] = ctx

    def save_for_backward(self, *tensors):
        """Keep tensors for backward; read them as ``ctx.saved_tensors``."""
        self._ctx.save(**{str(i): None if t is None else t.array for i, t in enumerate(tensors)})

    def mark_non_differentiable(self, *tensors):
        """These outputs have no gradient: they do not require grad."""
        self._ctx.constant_outputs = tuple(t.array for t in tensors)

    @property
    def saved_tensors(self):
        """What :meth:`save_for_backward` kept."""
        return tuple(None if a is None else Tensor.wrap(self._ctx.backend, a) for a in self._ctx.saved)

    def __getattr__(self, name):
        return getattr(self._ctx, name)

    def __setattr__(self, name, value):
        setattr(self._ctx, name, value)


class Function(Op):
    """A user's own operation, written as for torch: static ``forward(ctx, *args)`` and ``backward(ctx, *grads)`` see Tensors.

    Both run without recording, so gradients of gradients are not available.
    """

    @classmethod
    def _run(cls, args, options):
        if "_array_level" not in cls.__dict__:
            cls._array_level = type(cls.__name__, (Op,), {"forward": _lift_forward(cls), "backward": _lift_backward(cls)})
        return cls._array_level._run(args, {**options, "_tensors": tuple(isinstance(a, Tensor) for a in args)})


def _unwrap(results):
    many = isinstance(results, tuple)
    arrays = tuple(r.array if isinstance(r, Tensor) else r for r in (results if many else (results,)))
    return arrays if many else arrays[0]


def _lift_forward(function):
    def forward(ctx, *args, _tensors, **options):
        seen = [Tensor.wrap(ctx.backend, a) if is_tensor else a for a, is_tensor in zip(args, _tensors, strict=True)]
        with no_grad():
            return _unwrap(function.forward(_FunctionContext(ctx), *seen, **options))

    return staticmethod(forward)


def _lift_backward(function):
    def backward(ctx, *grads):
        with no_grad():
            return _unwrap(function.backward(_FunctionContext(ctx), *(Tensor.wrap(ctx.backend, g) for g in grads)))

    return staticmethod(backward)
