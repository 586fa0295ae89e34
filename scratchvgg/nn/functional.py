"""torch.nn.functional's names: the operations that layers are made of, as functions. Each is written in ``scratchvgg/ops``.

``conv2d_relu`` and ``batch_norm_relu``, which torch has not, are several of them at once.
"""

from ..ops.activations import elu, hardtanh, leaky_relu, relu6, sigmoid, silu, softplus, tanh
from ..ops.adaptive_avg_pool2d import adaptive_avg_pool2d
from ..ops.adaptive_max_pool2d import adaptive_max_pool2d
from ..ops.avg_pool2d import avg_pool2d
from ..ops.batch_norm import batch_norm
from ..ops.batch_norm_act import batch_norm_relu as batch_norm_relu
from ..ops.conv2d import conv2d
from ..ops.conv2d_act import conv2d_relu as conv2d_relu
from ..ops.conv_transpose2d import conv_transpose2d
from ..ops.cross_entropy import cross_entropy
from ..ops.dropout import dropout, dropout2d
from ..ops.gelu import gelu
from ..ops.interpolate import interpolate
from ..ops.linear import linear
from ..ops.local_response_norm import local_response_norm
from ..ops.max_pool2d import max_pool2d, max_pool2d_with_indices
from ..ops.max_unpool2d import max_unpool2d
from ..ops.mse_loss import l1_loss, mse_loss
from ..ops.nll_loss import nll_loss
from ..ops.one_hot import one_hot
from ..ops.pad import pad
from ..ops.relu import relu, relu_
from ..ops.softmax import log_softmax, softmax
from ..ops.unfold import fold, unfold

__all__ = [
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "batch_norm", "conv2d", "conv_transpose2d", "cross_entropy", "dropout",
    "dropout2d", "elu", "fold", "gelu", "hardtanh", "interpolate", "l1_loss", "leaky_relu", "linear", "local_response_norm",
    "log_softmax", "max_pool2d", "max_pool2d_with_indices", "max_unpool2d", "mse_loss", "nll_loss", "one_hot", "pad", "relu", "relu6",
    "relu_", "sigmoid", "silu", "softmax", "softplus", "tanh", "unfold",
]
