"""Whether float32 may be multiplied on tensor cores as TF32 (10 bits of mantissa in place of 23), under torch's names.

    sv.backends.cudnn.allow_tf32 = True          convolutions may take the algorithm "tensor_core_tf32" by themselves
    sv.backends.cuda.matmul.allow_tf32 = True    matrix products (read by whatever multiplies matrices)

Both are False at first, also the first, which torch has True: here float32 means float32 until somebody says otherwise. The switches are
the process's. The other words of ``torch.backends.cudnn`` are taken for torch's sake: kernels are always deterministic, ``sv.conv.autotune``
and the mode "tuned" are what ``benchmark`` is in torch.
"""

from __future__ import annotations


class Switch:
    """Something that may use TF32.

    Attributes:
        allow_tf32: whether it may.
    """

    __slots__ = ("_allow_tf32",)

    def __init__(self):
        self._allow_tf32 = False

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 may be rounded to TF32."""
        return self._allow_tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"allow_tf32 must be True or False, got {value!r}")
        self._allow_tf32 = value


class Cudnn(Switch):
    """``torch.backends.cudnn``: convolutions.

    Attributes:
        allow_tf32: whether they may use TF32.
        enabled, benchmark, deterministic: without effect.
    """

    __slots__ = ("benchmark", "deterministic", "enabled")

    def __init__(self):
        super().__init__()
        self.enabled, self.benchmark, self.deterministic = True, False, True


class CudaBackend:
    """``torch.backends.cuda``.

    Attributes:
        matmul: the switch of matrix products.
    """

    __slots__ = ("matmul",)

    def __init__(self):
        self.matmul = Switch()


class Backends:
    """``torch.backends``.

    Attributes:
        cuda, cudnn: see the file.
    """

    __slots__ = ("cuda", "cudnn")

    def __init__(self):
        self.cuda, self.cudnn = CudaBackend(), Cudnn()


backends = Backends()
"""The switches of this process: ``sv.backends``."""
