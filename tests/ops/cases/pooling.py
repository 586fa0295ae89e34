"""Pooling and its inverse. ``distinct`` inputs have one winner in every window, ``tied`` ones many."""

from tests.harness import Case, array, distinct, normal, tied

ranks, x = distinct(2, 3, 8, 7), normal(2, 3, 8, 7)
zeros = array([[[[0.0] * 6] * 6] * 2])

CASES = [
    Case("max_pool2d", "2x2 as in VGG", (distinct(2, 3, 8, 6),), lambda F, x: F.max_pool2d(x, 2, 2), half=True),
    Case("max_pool2d", "odd size", (ranks,), lambda F, x: F.max_pool2d(x, 2)),
    Case("max_pool2d", "ceil_mode", (ranks,), lambda F, x: F.max_pool2d(x, 2, ceil_mode=True)),
    Case("max_pool2d", "overlapping", (ranks,), lambda F, x: F.max_pool2d(x, 3, 2)),
    Case("max_pool2d", "padding is -inf", (distinct(1, 2, 6, 6),), lambda F, x: F.max_pool2d(x - 1000.0, 3, 2, 1)),
    Case("max_pool2d", "unequal, dilated", (ranks,), lambda F, x: F.max_pool2d(x, (2, 3), (2, 1), (1, 1), (3, 2))),
    Case("max_pool2d", "first of ties", (tied(2, 3, 8, 8),), lambda F, x: F.max_pool2d(x, 2), differences=False),
    Case("max_pool2d", "first of ties, overlapping", (tied(2, 3, 8, 8),), lambda F, x: F.max_pool2d(x, 3, 1, 1), differences=False),
    Case("max_pool2d", "all zeros, as after ReLU", (zeros,), lambda F, x: F.max_pool2d(x, 2), differences=False),
    Case("max_pool2d", "indices", (ranks,), lambda F, x: F.max_pool2d(x, 3, 2, 1, return_indices=True)),
    Case("max_pool2d", "indices of ties", (tied(2, 2, 6, 6),), lambda F, x: F.max_pool2d(x, 2, return_indices=True), differences=False),
    Case("max_pool2d", "NaN wins", (array([[[[1.0, float("nan"), 3.0, 2.0], [0.0, 5.0, 1.0, 1.0]]]], grad=False),),
         lambda F, x: F.max_pool2d(x, 2)),
    Case("max_pool2d", "-inf everywhere", (array([[[[float("-inf")] * 4] * 4]], grad=False),), lambda F, x: F.max_pool2d(x, 2, return_indices=True)),
    Case("max_pool2d", "unbatched", (distinct(3, 6, 6),), lambda F, x: F.max_pool2d(x, 2)),
    Case("max_pool2d", "empty batch", (normal(0, 3, 6, 6),), lambda F, x: F.max_pool2d(x, 2)),
    Case("max_unpool2d", "", (distinct(2, 3, 6, 6),), lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    Case("max_unpool2d", "output size", (distinct(2, 3, 7, 7),),
         lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(7, 7))),
    Case("max_unpool2d", "unbatched", (distinct(3, 6, 6),), lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    Case("avg_pool2d", "", (x,), lambda F, x: F.avg_pool2d(x, 2), half=True),
    Case("avg_pool2d", "padding counts", (x,), lambda F, x: F.avg_pool2d(x, 3, 2, 1)),
    Case("avg_pool2d", "padding does not count", (x,), lambda F, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    Case("avg_pool2d", "ceil_mode", (x,), lambda F, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    Case("avg_pool2d", "ceil_mode, padding does not count", (x,), lambda F, x: F.avg_pool2d(x, 3, 2, 1, True, False)),
    Case("avg_pool2d", "divisor", (x,), lambda F, x: F.avg_pool2d(x, (2, 3), divisor_override=5)),
    Case("avg_pool2d", "unbatched", (normal(3, 6, 6),), lambda F, x: F.avg_pool2d(x, 2, 1)),
    Case("avg_pool2d", "empty batch", (normal(0, 3, 6, 6),), lambda F, x: F.avg_pool2d(x, 2)),
    Case("adaptive_avg_pool2d", "whole image", (x,), lambda F, x: F.adaptive_avg_pool2d(x, 1), half=True),
    Case("adaptive_avg_pool2d", "7x7 from 14x14", (normal(1, 2, 14, 14),), lambda F, x: F.adaptive_avg_pool2d(x, (7, 7))),
    Case("adaptive_avg_pool2d", "uneven windows", (x,), lambda F, x: F.adaptive_avg_pool2d(x, (3, 5))),
    Case("adaptive_avg_pool2d", "1x1 tiled to 7x7", (normal(2, 3, 1, 1),), lambda F, x: F.adaptive_avg_pool2d(x, (7, 7))),
    Case("adaptive_avg_pool2d", "one side kept", (x,), lambda F, x: F.adaptive_avg_pool2d(x, (None, 2))),
    Case("adaptive_avg_pool2d", "unbatched", (normal(3, 5, 6),), lambda F, x: F.adaptive_avg_pool2d(x, 2)),
    Case("adaptive_avg_pool2d", "empty batch", (normal(0, 3, 5, 6),), lambda F, x: F.adaptive_avg_pool2d(x, 2)),
    Case("adaptive_max_pool2d", "", (ranks,), lambda F, x: F.adaptive_max_pool2d(x, (3, 5))),
    Case("adaptive_max_pool2d", "indices", (ranks,), lambda F, x: F.adaptive_max_pool2d(x, 2, return_indices=True)),
    Case("adaptive_max_pool2d", "first of ties", (tied(2, 3, 8, 8),), lambda F, x: F.adaptive_max_pool2d(x, 3, return_indices=True),
         differences=False),
    Case("adaptive_max_pool2d", "unbatched", (distinct(3, 5, 6),), lambda F, x: F.adaptive_max_pool2d(x, (2, None))),
]
