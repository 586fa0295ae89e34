"""Floor 3: two-dimensional convolution on plain arrays. It knows nothing of Tensors or the tape.

Every algorithm computes the same three things, each a method of one class in one file:

    forward       y  = x ⋆ w + bias          (N, C, H, W), (K, C/groups, R, S), (K,) → (N, K, P, Q)
    grad_input    dx = ∂L/∂x from dy and w
    grad_weight   dw = ∂L/∂w from dy and x

Arrays are logically NCHW with any strides; results come channels-last in memory.
"""

from .autotune import autotune
from .candidates import candidates, error_limit, set_error_limit
from .check import check
from .chooser import MODES, check_setting, choose, current, intercept_choices, set_algorithm, using
from .direct import Direct
from .epilogue import PLAIN, Epilogue
from .fft import Fft
from .gemm_1x1 import Gemm1x1
from .geometry import Problem
from .im2col import Im2col
from .plugin import PluginError, load_plugin
from .prepared import cache, cache_filters
from .registry import PASSES, Algorithm, algorithms, convolve, get, register
from .shifted import Shifted
from .winograd import Winograd2x2, Winograd4x4

__all__ = [
    "MODES", "PASSES", "PLAIN", "Algorithm", "Direct", "Epilogue", "Fft", "Gemm1x1", "Im2col", "PluginError", "Problem", "Shifted",
    "Winograd2x2", "Winograd4x4", "algorithms", "autotune", "cache", "cache_filters", "candidates", "check", "check_setting", "choose",
    "convolve", "current", "error_limit", "get", "intercept_choices", "load_plugin", "register", "set_algorithm", "set_error_limit",
    "using",
]
