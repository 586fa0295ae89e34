"""Where two implementations part: two sides in lockstep, layer by layer, forward and backward, with a float64 truth between them."""

from .compare import MODES, compare
from .result import Divergence, Layer, Own
from .sides import DTYPES, Side

__all__ = ["DTYPES", "MODES", "Divergence", "Layer", "Own", "Side", "compare"]
