"""Convolution layers. Weights are laid out in memory as the kernels read them: channels last."""

from __future__ import annotations

import math

from ..ops.common import pair
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter, empty_tensor

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What both directions share: arguments, weight, default initialisation, repr."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
                 padding_mode, weight_shape, device, dtype, algorithm):
        super().__init__()
        name = type(self).__name__
        if groups <= 0:
            raise ValueError(f"{name}: groups must be a positive integer, got {groups}")
        if in_channels % groups:
            raise ValueError(f"{name}: in_channels must be divisible by groups, got {in_channels} and {groups}")
        if out_channels % groups:
            raise ValueError(f"{name}: out_channels must be divisible by groups, got {out_channels} and {groups}")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"{name}: invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(s != 1 for s in stride):
                raise ValueError(f"{name}: padding='same' is not supported for strided convolutions, got stride {stride}")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"{name}: padding_mode must be one of {', '.join(map(repr, _PADDING_MODES))}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.output_padding, self.groups, self.padding_mode, self.algorithm = output_padding, groups, padding_mode, algorithm
        self.weight = Parameter(empty_tensor((*weight_shape, *kernel_size), dtype, device, layout="channels_last"))
        self.register_parameter("bias", Parameter(empty_tensor((out_channels,), dtype, device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: weight and bias uniform in ±1/√fan_in (Kaiming uniform with a = √5)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = math.prod(self.weight.shape[1:])
        if self.bias is not None and fan_in:
            init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self):
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0, 0):
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        if self.algorithm is not None:
            parts.append(f"algorithm={self.algorithm}")
        return ", ".join(parts)


class Conv2d(_Conv):
    """2-D convolution (cross-correlation): (N, C, H, W) or (C, H, W) → (N, K, P, Q), weight (K, C/groups, R, S), bias (K).

    P = ⌊(H + 2·padding − dilation·(R − 1) − 1) / stride⌋ + 1, and Q alike.

    Args:
        in_channels, out_channels: C and K.
        kernel_size, stride, dilation: an int or a pair.
        padding: an int, a pair, ``"valid"`` (none) or ``"same"`` (P = H; stride 1 only).
        groups: cut the channels into independent convolutions.
        bias: add a learned number to each output channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        algorithm: name of the convolution algorithm for all three passes; None lets the library choose each.

    Raises:
        ValueError: for channels that ``groups`` does not divide, or an unknown padding.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros", device=None, dtype=None, *, algorithm=None):
        if not isinstance(padding, str):
            padding = pair("Conv2d", "padding", padding)
        super().__init__(
            in_channels, out_channels, pair("Conv2d", "kernel_size", kernel_size), pair("Conv2d", "stride", stride), padding,
            pair("Conv2d", "dilation", dilation), (0, 0), groups, bias, padding_mode,
            (out_channels, in_channels // groups if groups > 0 else 0), device, dtype, algorithm,
        )

    def forward(self, input):
        """Convolve."""
        if self.padding_mode == "zeros":
            return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, algorithm=self.algorithm)
        padded = F.pad(input, self._border(), mode=self.padding_mode)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups, algorithm=self.algorithm)

    def _border(self):
        """(left, right, top, bottom) that ``padding`` asks for."""
        sizes = []
        for i in (1, 0):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                sizes += [total // 2, total - total // 2]
            else:
                sizes += [0 if self.padding == "valid" else self.padding[i]] * 2
        return tuple(sizes)


class ConvTranspose2d(_Conv):
    """The adjoint of :class:`Conv2d` (its gradient with respect to the input): (N, C, H, W) → (N, K, P, Q), weight (C, K/groups, R, S).

    P = (H − 1)·stride − 2·padding + dilation·(R − 1) + output_padding + 1.

    Args:
        output_padding: extra rows and columns on one side, to choose among the sizes that a strided convolution maps to H × W.
        (others): as for :class:`Conv2d`; only ``padding_mode="zeros"``.

    Raises:
        ValueError: as for :class:`Conv2d`.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
                 dilation=1, padding_mode="zeros", device=None, dtype=None, *, algorithm=None):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for ConvTranspose2d, got {padding_mode!r}')
        name = "ConvTranspose2d"
        super().__init__(
            in_channels, out_channels, pair(name, "kernel_size", kernel_size), pair(name, "stride", stride),
            pair(name, "padding", padding), pair(name, "dilation", dilation), pair(name, "output_padding", output_padding),
            groups, bias, padding_mode, (in_channels, out_channels // groups if groups > 0 else 0), device, dtype, algorithm,
        )

    def forward(self, input, output_size=None):
        """Convolve backwards.

        Args:
            output_size: (P, Q) wanted; replaces ``output_padding``.

        Raises:
            ValueError: if no output_padding below the stride gives that size.
        """
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation,
                                  algorithm=self.algorithm)

    def _extra(self, input, output_size):
        wanted = tuple(output_size)[-2:]
        least = tuple(
            (input.shape[i - 2] - 1) * self.stride[i] - 2 * self.padding[i] + self.dilation[i] * (self.kernel_size[i] - 1) + 1
            for i in (0, 1)
        )
        if len(tuple(output_size)) not in (2, input.ndim):
            raise ValueError(f"ConvTranspose2d: output_size must have 2 or {input.ndim} elements, got {tuple(output_size)}")
        for i in (0, 1):
            if not least[i] <= wanted[i] < least[i] + self.stride[i]:
                most = tuple(n + s - 1 for n, s in zip(least, self.stride, strict=True))
                raise ValueError(f"ConvTranspose2d: requested output size {wanted}, but valid sizes range from {least} to {most}")
        return tuple(w - n for w, n in zip(wanted, least, strict=True))
