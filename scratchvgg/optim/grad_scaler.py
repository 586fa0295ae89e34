"""Loss scaling for float16: torch's ``amp.GradScaler``.

The smallest float16 number is 6·10⁻⁸, and many gradients are smaller. So the loss is multiplied by a scale s before ``backward``, which
multiplies every gradient by s; the step divides by it. If a gradient overflows, the step is left out and s ← s · backoff; after
``growth_interval`` good steps in a row s ← s · growth. bfloat16 has the range of float32 and needs none of this.

s, the count of good steps and whether an Inf was found live on the device. There, an optimiser with the attributes ``grad_scale`` and
``found_inf`` (:class:`SGD`) divides and skips by itself, so that a step never waits for the host. Micikevicius et al., 2018, section 3.2.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable

from .. import cuda
from ..array import get_backend
from ..autograd import Tensor, no_grad, ops
from ..cuda.faces.sgd import find_nonfinite
from .blocks import BlockRunner

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"
_BEFORE = "call scale(loss) and backward() earlier in the iteration"


class _Progress:
    """What was done with one optimiser since the last update: its stage, and device → 0-dimensional float32 Tensor, not 0 if an Inf was found."""

    def __init__(self):
        self.stage, self.found = READY, {}


class GradScaler:
    """Scales losses, unscales gradients, and skips steps whose gradients overflowed.

    ::

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)       # only to clip or look at gradients
        scaler.step(optimizer)
        scaler.update()

    Args:
        device: ``"cuda"``, ``"emulator"`` or ``"cpu"``; ``"cuda"`` without a GPU warns and disables.
        init_scale: first scale.
        growth_factor, backoff_factor, growth_interval: as above.
        enabled: False makes every method pass through.

    Raises:
        AssertionError: unless growth_factor > 1 and backoff_factor < 1.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ):
        if enabled and device == "cuda" and not cuda.is_available():
            warnings.warn("GradScaler: there is no CUDA device; scaling is disabled", stacklevel=2)
            enabled = False
        if enabled and growth_factor <= 1:
            raise AssertionError(f"growth_factor: expected more than 1, got {growth_factor}")
        if enabled and backoff_factor >= 1:
            raise AssertionError(f"backoff_factor: expected less than 1, got {backoff_factor}")
        self._device, self._enabled = device, bool(enabled)
        self._init_scale, self._init_tracker = float(init_scale), 0
        self._growth_factor, self._backoff_factor, self._growth_interval = growth_factor, backoff_factor, growth_interval
        self._scale: Tensor | None = None  # (), float32; made where the first loss is
        self._tracker: Tensor | None = None  # (), int32: good steps since the last change
        self._progress: defaultdict = defaultdict(_Progress)  # id of the optimiser → its progress

    # ---- one iteration -------------------------------------------------------------------------------------------

    def scale(self, outputs: Tensor | Iterable):
        """``outputs`` (a Tensor, or a nest of sequences of them) times the scale.

        Raises:
            ValueError: for something else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._start(outputs.backend)
            return outputs * self._scale.to(outputs.device)
        if not isinstance(outputs, Iterable):
            raise ValueError(f"scale: outputs must be a Tensor or an iterable of Tensors, got {type(outputs).__name__}")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled

    def unscale_(self, optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by the scale, to clip or look at them before :meth:`step`.

        Raises:
            RuntimeError: a second time since :meth:`update`, or after :meth:`step`. ValueError: for float16 gradients, which may underflow.
            AssertionError: before the first :meth:`scale`.
        """
        if not self._enabled:
            return
        self._check_started("unscale_")
        progress = self._progress[id(optimizer)]
        if progress.stage == UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update()")
        if progress.stage == STEPPED:
            raise RuntimeError("unscale_() is being called after step()")
        if any(g.dtype.name == "float16" for g in _gradients(optimizer)):
            raise ValueError("unscale_: attempting to unscale float16 gradients; keep parameters in float32 and use autocast, or let step() do it")
        progress.found = self._examine(optimizer, unscale=True)
        progress.stage = UNSCALED

    def step(self, optimizer, *args, **kwargs):
        """``optimizer.step(*args, **kwargs)`` with unscaled gradients, unless one of them is infinite or NaN.

        Returns:
            What the optimiser's step returned; None if it was skipped.

        Raises:
            RuntimeError: a second time since :meth:`update`, or with a closure. AssertionError: before the first :meth:`scale`, or without gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("step: a closure cannot be used while scaling is enabled")
        self._check_started("step")
        progress = self._progress[id(optimizer)]
        if progress.stage == STEPPED:
            raise RuntimeError("step() has already been called since the last update()")
        divides = hasattr(optimizer, "grad_scale") and hasattr(optimizer, "found_inf")
        scaled = progress.stage == READY and divides
        if scaled:
            progress.found = self._examine(optimizer, unscale=False)
        elif progress.stage == READY:
            self.unscale_(optimizer)
        if not progress.found:
            raise AssertionError("step: no gradient of this optimizer was checked for Inf; " + _BEFORE)
        progress.stage = STEPPED
        (backend, found), *others = progress.found.items()
        skips = divides and not others and backend.runs_kernels  # on the device, without asking
        if not skips and any(f.item() for f in progress.found.values()):
            if hasattr(optimizer, "steps"):
                optimizer.steps += 1  # it counts, as one that a device skips; a schedule goes on
            return None
        if not divides:
            return optimizer.step(*args, **kwargs)
        optimizer.grad_scale, optimizer.found_inf = self._scale.to(backend.device) if scaled else None, found if skips else None
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            optimizer.grad_scale = optimizer.found_inf = None

    @no_grad()
    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what the steps of this iteration found, or set it.

        Raises:
            AssertionError: before the first :meth:`scale`, if no gradients were checked, or for a ``new_scale`` that is no number.
        """
        if not self._enabled:
            return
        self._check_started("update")
        scale, tracker, xp = self._scale.array, self._tracker.array, self._scale.backend.xp
        if new_scale is not None:
            if isinstance(new_scale, Tensor) and (new_scale.numel() != 1 or new_scale.requires_grad):
                raise AssertionError("update: new_scale must be a float or a Tensor of one element that requires no gradient")
            scale[...] = new_scale.to(self._scale.device).array.reshape(()) if isinstance(new_scale, Tensor) else float(new_scale)
        else:
            found = [f.to(self._scale.device).array for p in self._progress.values() for f in p.found.values()]
            if not found:
                raise AssertionError("update: no gradients were checked for Inf before; " + _BEFORE)
            bad = sum(found[1:], found[0]) > 0
            grows = ~bad & (tracker + 1 == self._growth_interval)
            grown = scale * xp.float32(self._growth_factor)
            scale[...] = xp.where(bad, scale * xp.float32(self._backoff_factor), xp.where(grows & xp.isfinite(grown), grown, scale))
            tracker[...] = xp.where(bad | grows, 0, tracker + 1)
        self._scale.version.value += 1
        self._progress.clear()

    # ---- its parts -----------------------------------------------------------------------------------------------

    def _start(self, backend):
        self._scale = ops.full((), self._init_scale, dtype="float32", device=backend.device)
        self._tracker = ops.full((), self._init_tracker, dtype="int32", device=backend.device)

    def _check_started(self, method):
        if self._scale is None:
            raise AssertionError(f"{method}: there is no scale yet; {_BEFORE}")

    def _examine(self, optimizer, unscale: bool) -> dict:
        """Look for Inf and NaN in all gradients, and divide them if asked to; device → Tensor () of 1 or 0."""
        by_backend = defaultdict(list)
        for g in _gradients(optimizer):
            by_backend[g.backend].append(g)
        found = {}
        for backend, gradients in by_backend.items():
            flag, scale = backend.zeros((1,), "float32"), self._scale.to(backend.device).array if unscale else None
            with backend.quiet():
                (_on_device if backend.runs_kernels else _on_host)(backend, gradients, flag, scale)
            for g in gradients if unscale else ():
                g.version.value += 1
            found[backend] = Tensor.wrap(backend, flag.reshape(()))
        return found

    # ---- state ---------------------------------------------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale (1.0 when disabled). Waits for the device."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by when it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by when it grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by when gradients overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by when gradients overflow."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many good steps in a row the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many good steps in a row the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def state_dict(self) -> dict:
        """Scale, factors, interval and the count of good steps as plain numbers, under torch's names; empty when disabled."""
        if not self._enabled:
            return {}
        tracker = self._init_tracker if self._tracker is None else int(self._tracker.item())
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": tracker,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Return to a state that :meth:`state_dict` gave, here or in torch.

        Raises:
            RuntimeError: for the empty state of a disabled scaler.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("load_state_dict: the state is empty: it is that of a disabled scaler")
        self._init_scale, self._init_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None:
            self._start(get_backend(self._scale.device))


def _gradients(optimizer) -> list[Tensor]:
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _on_host(backend, gradients, flag, scale):
    """Blocks in parallel: ``flag`` becomes 1 if a number is not finite; gradients are divided by ``scale`` unless it is None."""
    inverse = None if scale is None else 1 / float(scale)

    def rule(scratch, g):
        if not backend.xp.isfinite(g).all():
            flag[0] = 1
        if inverse is not None:
            g *= inverse

    runner = BlockRunner()
    for g in gradients:
        runner.add(backend, rule, (g.array,))
    runner.run()


def _on_device(backend, gradients, flag, scale):
    """The same by the kernel that the optimiser's file has for it; nothing is read back."""
    for g in gradients:
        array, strides = g.array, g.array.strides
        order = sorted(range(array.ndim), key=[-abs(s) for s in strides].__getitem__)  # as it lies in memory
        find_nonfinite(backend, array.transpose(order).reshape(-1), flag)
        if scale is not None:
            array /= scale.astype(array.dtype)
