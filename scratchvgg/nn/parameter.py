"""Parameter: a tensor that a module owns and an optimiser may change."""

from __future__ import annotations

from ..array import CPU, Device, as_dtype, get_backend, get_default_dtype
from ..autograd import Tensor, is_tensor, tensor


class Parameter(Tensor):
    """A leaf tensor that registers itself when it becomes an attribute of a :class:`~scratchvgg.nn.Module`.

    Args:
        data: a Tensor, whose memory is shared, or anything :func:`scratchvgg.tensor` takes; None makes an empty one.
        requires_grad: whether it is trained.
    """

    def __init__(self, data=None, requires_grad: bool = True):
        if data is None:
            data = Tensor.wrap(get_backend(CPU), get_backend(CPU).empty((0,), get_default_dtype()))
        elif not is_tensor(data):
            data = tensor(data)
        self._start(data.backend, data.array, data.version)
        self.requires_grad = requires_grad

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()


def empty_tensor(shape, dtype=None, device=None, layout: str = "contiguous") -> Tensor:
    """An uninitialised Tensor: what layers make before an initialiser fills it.

    Args:
        layout: ``"channels_last"`` lays out (K, C, R, S) in memory as K, R, S, C, the order convolutions read.
    """
    backend = get_backend(Device(device or "cpu"))
    return Tensor.wrap(backend, backend.empty(shape, as_dtype(dtype or get_default_dtype()), layout=layout))
