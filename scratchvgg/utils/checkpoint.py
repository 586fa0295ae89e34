"""torch's place of activation recomputation; it is done in :mod:`scratchvgg.autograd.checkpoint`."""

from ..autograd.checkpoint import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
