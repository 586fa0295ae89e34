"""Convolution and its transpose: every registered algorithm that supports the problem runs each case."""

from tests.harness import Case, normal

x, w, b = normal(2, 4, 7, 6), normal(6, 4, 3, 3, std=0.3), normal(6)
t = normal(4, 3, 3, 3, std=0.3)

CASES = [
    Case("conv2d", "3x3 as in VGG", (x, w, b), lambda F, x, w, b: F.conv2d(x, w, b, padding=1), half=True),
    Case("conv2d", "no padding, no bias", (x, w), lambda F, x, w: F.conv2d(x, w)),
    Case("conv2d", "stride 2", (x, w, b), lambda F, x, w, b: F.conv2d(x, w, b, stride=2, padding=1)),
    Case("conv2d", "unequal everything", (normal(2, 3, 9, 8), normal(5, 3, 2, 3), normal(5)),
         lambda F, x, w, b: F.conv2d(x, w, b, stride=(2, 3), padding=(1, 2), dilation=(3, 1))),
    Case("conv2d", "dilation 2", (x, w, b), lambda F, x, w, b: F.conv2d(x, w, b, padding=2, dilation=2)),
    Case("conv2d", "two groups", (x, normal(6, 2, 3, 3), b), lambda F, x, w, b: F.conv2d(x, w, b, padding=1, groups=2)),
    Case("conv2d", "depthwise", (x, normal(8, 1, 3, 3)), lambda F, x, w: F.conv2d(x, w, groups=4)),
    Case("conv2d", "1x1", (x, normal(5, 4, 1, 1), normal(5)), lambda F, x, w, b: F.conv2d(x, w, b)),
    Case("conv2d", "1x1 with stride", (x, normal(5, 4, 1, 1)), lambda F, x, w: F.conv2d(x, w, stride=2)),
    Case("conv2d", "whole image: FC as convolution", (normal(2, 3, 5, 5), normal(7, 3, 5, 5)), lambda F, x, w: F.conv2d(x, w)),
    Case("conv2d", "padding same, even filter", (x, normal(3, 4, 2, 4)), lambda F, x, w: F.conv2d(x, w, padding="same")),
    Case("conv2d", "padding same, dilated", (x, normal(3, 4, 3, 2)), lambda F, x, w: F.conv2d(x, w, padding="same", dilation=2)),
    Case("conv2d", "padding valid", (x, w), lambda F, x, w: F.conv2d(x, w, padding="valid")),
    Case("conv2d", "unbatched", (normal(4, 7, 6), w, b), lambda F, x, w, b: F.conv2d(x, w, b, padding=1)),
    Case("conv2d", "empty batch", (normal(0, 4, 7, 6), w, b), lambda F, x, w, b: F.conv2d(x, w, b, padding=1)),
    Case("conv2d", "padding wider than the filter", (normal(1, 2, 3, 3), normal(2, 2, 2, 2)), lambda F, x, w: F.conv2d(x, w, padding=3)),
    Case("conv2d", "image without gradient", (x.frozen(), w, b), lambda F, x, w, b: F.conv2d(x, w, b, padding=1)),
    Case("conv2d", "frozen filter", (x, w.frozen()), lambda F, x, w: F.conv2d(x, w, padding=1)),
    Case("conv2d", "twice through one filter", (normal(1, 3, 5, 5), normal(3, 3, 3, 3)),
         lambda F, x, w: F.conv2d(F.conv2d(x, w, padding=1), w, padding=1)),
    Case("conv_transpose2d", "", (x, t, normal(3)), lambda F, x, w, b: F.conv_transpose2d(x, w, b)),
    Case("conv_transpose2d", "doubling", (x, normal(4, 3, 2, 2), normal(3)), lambda F, x, w, b: F.conv_transpose2d(x, w, b, stride=2)),
    Case("conv_transpose2d", "output padding", (x, t, normal(3)),
         lambda F, x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1)),
    Case("conv_transpose2d", "output padding beyond the stride", (x, t), lambda F, x, w: F.conv_transpose2d(x, w, output_padding=1, dilation=2)),
    Case("conv_transpose2d", "output padding takes back what padding cut off", (x, t),
         lambda F, x, w: F.conv_transpose2d(x, w, padding=2, output_padding=1, dilation=2)),
    Case("conv_transpose2d", "unequal everything", (normal(2, 4, 4, 5), normal(4, 3, 3, 2), normal(6)),
         lambda F, x, w, b: F.conv_transpose2d(x, w, b, (3, 2), (1, 0), (2, 1), 2, (1, 2))),
    Case("conv_transpose2d", "unbatched", (normal(4, 4, 4), t), lambda F, x, w: F.conv_transpose2d(x, w, padding=1)),
    Case("conv_transpose2d", "empty batch", (normal(0, 4, 4, 4), t), lambda F, x, w: F.conv_transpose2d(x, w)),
]
