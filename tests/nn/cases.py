"""One table of all modules: how to build each with scratchvgg and with torch, and what to feed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..inputs import Input, distinct, integers, normal, off_zero, uniform


@dataclass(frozen=True)
class ModuleCase:
    """A comparison of one module with torch's.

    Args:
        build: ``build(nn)`` with either library's ``nn``.
        inputs: arguments of forward.
        title: what is particular about it.
        modes: training modes to compare in; random modules have only ``(False,)``.
        call: ``call(nn, module, *inputs)``, where forward alone would not do.
    """

    build: Callable
    inputs: tuple[Input, ...] = ()
    title: str = ""
    modes: tuple[bool, ...] = (True, False)
    call: Callable = lambda nn, module, *inputs: module(*inputs)


IMAGE = (normal(2, 4, 7, 6),)
DISTINCT = (distinct(2, 3, 7, 6),)
PROBABILITIES = (normal(5, 4), uniform(0.1, 1, 5, 4).frozen())

CASES: dict[str, list[ModuleCase]] = {
    "Conv2d": [
        ModuleCase(lambda nn: nn.Conv2d(4, 6, 3), IMAGE),
        ModuleCase(lambda nn: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), IMAGE, "pairs"),
        ModuleCase(lambda nn: nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), IMAGE, "groups, no bias"),
        ModuleCase(lambda nn: nn.Conv2d(4, 5, 1), (normal(4, 5, 5),), "unbatched"),
        ModuleCase(lambda nn: nn.Conv2d(4, 5, (2, 3), padding="same", dilation=2), IMAGE, "same"),
        ModuleCase(lambda nn: nn.Conv2d(4, 5, 3, padding="valid"), IMAGE, "valid"),
        ModuleCase(lambda nn: nn.Conv2d(4, 5, 3, padding=(1, 2), padding_mode="reflect"), IMAGE, "reflect"),
        ModuleCase(lambda nn: nn.Conv2d(4, 5, 3, padding=1, padding_mode="replicate", stride=2), IMAGE, "replicate"),
        ModuleCase(lambda nn: nn.Conv2d(4, 5, 3, padding="same", padding_mode="circular", dilation=2), IMAGE, "circular same"),
    ],
    "ConvTranspose2d": [
        ModuleCase(lambda nn: nn.ConvTranspose2d(4, 6, 3), IMAGE),
        ModuleCase(lambda nn: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, bias=False, dilation=2), IMAGE, "all options"),
        ModuleCase(
            lambda nn: nn.ConvTranspose2d(4, 2, (3, 2), stride=(3, 2)), IMAGE, "output_size",
            call=lambda nn, m, x: m(x, output_size=(23, 13)),
        ),
    ],
    "Linear": [
        ModuleCase(lambda nn: nn.Linear(4, 3), (normal(5, 4),)),
        ModuleCase(lambda nn: nn.Linear(6, 3, bias=False), IMAGE, "no bias, many dimensions"),
    ],
    "Identity": [ModuleCase(lambda nn: nn.Identity(54, unused=1), (normal(3),))],
    "MaxPool2d": [
        ModuleCase(lambda nn: nn.MaxPool2d(2), DISTINCT),
        ModuleCase(lambda nn: nn.MaxPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True), DISTINCT, "overlapping"),
        ModuleCase(lambda nn: nn.MaxPool2d(2, 2, 0, 2, True), DISTINCT, "indices"),
    ],
    "MaxUnpool2d": [
        ModuleCase(lambda nn: nn.MaxUnpool2d(2, stride=2), (normal(1, 2, 2, 3), integers(0, 1, 1, 2, 2, 3)), "indices zero", modes=()),
        ModuleCase(
            lambda nn: nn.MaxUnpool2d(2), (distinct(2, 3, 8, 6),), "of a max-pool",
            call=lambda nn, m, x: m(*nn.functional.max_pool2d(x, 2, return_indices=True), output_size=(8, 6)),
        ),
    ],
    "AvgPool2d": [
        ModuleCase(lambda nn: nn.AvgPool2d(2), IMAGE),
        ModuleCase(lambda nn: nn.AvgPool2d((3, 2), 2, 1, ceil_mode=True, count_include_pad=False), IMAGE, "without padding"),
        ModuleCase(lambda nn: nn.AvgPool2d(3, 2, divisor_override=5), IMAGE, "divisor"),
    ],
    "AdaptiveAvgPool2d": [
        ModuleCase(lambda nn: nn.AdaptiveAvgPool2d((7, 7)), (normal(2, 3, 1, 1),), "tiles"),
        ModuleCase(lambda nn: nn.AdaptiveAvgPool2d(3), IMAGE),
        ModuleCase(lambda nn: nn.AdaptiveAvgPool2d((None, 2)), IMAGE, "None keeps"),
    ],
    "AdaptiveMaxPool2d": [
        ModuleCase(lambda nn: nn.AdaptiveMaxPool2d((3, 2)), DISTINCT),
        ModuleCase(lambda nn: nn.AdaptiveMaxPool2d(2, return_indices=True), DISTINCT, "indices"),
    ],
    "ReLU": [
        ModuleCase(lambda nn: nn.ReLU(), (off_zero(3, 4),)),
        ModuleCase(lambda nn: nn.ReLU(inplace=True), (off_zero(3, 4),), "in place", call=lambda nn, m, x: m(x * 2)),
    ],
    "LeakyReLU": [
        ModuleCase(lambda nn: nn.LeakyReLU(), (off_zero(3, 4),)),
        ModuleCase(lambda nn: nn.LeakyReLU(0.2, inplace=True), (off_zero(3, 4),), "in place", call=lambda nn, m, x: m(x * 2)),
    ],
    "GELU": [ModuleCase(lambda nn: nn.GELU(), (normal(3, 4),)), ModuleCase(lambda nn: nn.GELU("tanh"), (normal(3, 4),), "tanh")],
    "ELU": [
        ModuleCase(lambda nn: nn.ELU(), (off_zero(3, 4),)),
        ModuleCase(lambda nn: nn.ELU(0.5, inplace=True), (off_zero(3, 4),), "in place", call=lambda nn, m, x: m(x * 2)),
    ],
    "SiLU": [
        ModuleCase(lambda nn: nn.SiLU(), (normal(3, 4),)),
        ModuleCase(lambda nn: nn.SiLU(True), (normal(3, 4),), "in place", call=lambda nn, m, x: m(x * 2)),
    ],
    "Softplus": [ModuleCase(lambda nn: nn.Softplus(), (normal(3, 4),)), ModuleCase(lambda nn: nn.Softplus(2.0, 1.5), (normal(3, 4),), "sharp")],
    "Hardtanh": [
        ModuleCase(lambda nn: nn.Hardtanh(), (normal(3, 4),)),
        ModuleCase(lambda nn: nn.Hardtanh(-0.5, 2.0, inplace=True), (normal(3, 4),), "in place", call=lambda nn, m, x: m(x * 2)),
    ],
    "ReLU6": [
        ModuleCase(lambda nn: nn.ReLU6(), (normal(3, 4, std=5.0),)),
        ModuleCase(lambda nn: nn.ReLU6(True), (normal(3, 4, std=5.0),), "in place", call=lambda nn, m, x: m(x * 2)),
    ],
    "Sigmoid": [ModuleCase(lambda nn: nn.Sigmoid(), (normal(3, 4),))],
    "Tanh": [ModuleCase(lambda nn: nn.Tanh(), (normal(3, 4),))],
    "Softmax": [ModuleCase(lambda nn: nn.Softmax(1), (normal(3, 4, 2),)), ModuleCase(lambda nn: nn.Softmax(dim=-1), (normal(3, 4),), "last")],
    "LogSoftmax": [ModuleCase(lambda nn: nn.LogSoftmax(dim=1), (normal(3, 4, 2),))],
    "Dropout": [
        ModuleCase(lambda nn: nn.Dropout(), (normal(3, 4),), modes=(False,)),
        ModuleCase(lambda nn: nn.Dropout(p=0), (normal(3, 4),), "p=0"),
        ModuleCase(lambda nn: nn.Dropout(1.0), (normal(3, 4),), "p=1"),
    ],
    "Dropout2d": [
        ModuleCase(lambda nn: nn.Dropout2d(0.3, inplace=True), IMAGE, modes=(False,)),
        ModuleCase(lambda nn: nn.Dropout2d(1.0), IMAGE, "p=1"),
    ],
    "BatchNorm1d": [
        ModuleCase(lambda nn: nn.BatchNorm1d(4), (normal(5, 4, mean=1.0, std=2.0),)),
        ModuleCase(lambda nn: nn.BatchNorm1d(4, momentum=None), (normal(3, 4, 5),), "cumulative, 3D"),
    ],
    "BatchNorm2d": [
        ModuleCase(lambda nn: nn.BatchNorm2d(4), (normal(3, 4, 5, 2, mean=2.0, std=3.0),)),
        ModuleCase(lambda nn: nn.BatchNorm2d(4, eps=1e-3, momentum=0.3, affine=False), IMAGE, "no weight"),
        ModuleCase(lambda nn: nn.BatchNorm2d(4, track_running_stats=False), IMAGE, "no running statistics"),
        ModuleCase(lambda nn: nn.BatchNorm2d(4, momentum=None), IMAGE, "cumulative"),
        ModuleCase(lambda nn: nn.BatchNorm2d(4, bias=False), IMAGE, "no bias"),
    ],
    "LocalResponseNorm": [
        ModuleCase(lambda nn: nn.LocalResponseNorm(2), IMAGE),
        ModuleCase(lambda nn: nn.LocalResponseNorm(5, alpha=5e-1, beta=0.6, k=2.0), IMAGE, "strong"),
    ],
    "NLLLoss": [
        ModuleCase(lambda nn: nn.NLLLoss(), (normal(5, 4), integers(0, 4, 5))),
        ModuleCase(lambda nn: nn.NLLLoss(ignore_index=1, reduction="sum"), (normal(5, 4, 2), integers(0, 4, 5, 2)), "ignore"),
    ],
    "CrossEntropyLoss": [
        ModuleCase(lambda nn: nn.CrossEntropyLoss(), (normal(5, 4), integers(0, 4, 5))),
        ModuleCase(lambda nn: nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=2), (normal(5, 4), integers(0, 4, 5)), "smoothing"),
        ModuleCase(lambda nn: nn.CrossEntropyLoss(reduction="none"), PROBABILITIES, "probabilities"),
    ],
    "MSELoss": [
        ModuleCase(lambda nn: nn.MSELoss(), (normal(5, 4), normal(5, 4))),
        ModuleCase(lambda nn: nn.MSELoss(reduction="none"), (normal(5, 4), normal(5, 4)), "none"),
    ],
    "L1Loss": [
        ModuleCase(lambda nn: nn.L1Loss(), (normal(5, 4), normal(5, 4))),
        ModuleCase(lambda nn: nn.L1Loss(reduction="sum"), (normal(5, 4), normal(5, 4)), "sum"),
    ],
    "Flatten": [ModuleCase(lambda nn: nn.Flatten(), IMAGE), ModuleCase(lambda nn: nn.Flatten(0, 2), IMAGE, "some")],
    "Unflatten": [ModuleCase(lambda nn: nn.Unflatten(1, (2, -1)), IMAGE)],
    "Unfold": [
        ModuleCase(lambda nn: nn.Unfold(3), IMAGE),
        ModuleCase(lambda nn: nn.Unfold((3, 2), dilation=(1, 2), padding=1, stride=2), IMAGE, "options"),
    ],
    "Fold": [
        ModuleCase(lambda nn: nn.Fold((5, 4), 2), (normal(2, 12, 12),)),
        ModuleCase(lambda nn: nn.Fold((5, 4), (3, 2), padding=1, stride=2), (normal(2, 18, 9),), "options"),
    ],
    "Upsample": [
        ModuleCase(lambda nn: nn.Upsample(scale_factor=2), IMAGE),
        ModuleCase(lambda nn: nn.Upsample(size=(9, 5), mode="bilinear", align_corners=True), IMAGE, "bilinear"),
        ModuleCase(lambda nn: nn.Upsample(scale_factor=(1.5, 2.0), mode="bilinear"), IMAGE, "factors"),
        ModuleCase(lambda nn: nn.Upsample(size=3), IMAGE, "smaller"),
    ],
    "ZeroPad2d": [ModuleCase(lambda nn: nn.ZeroPad2d(1), IMAGE), ModuleCase(lambda nn: nn.ZeroPad2d((1, -2, 0, 3)), IMAGE, "crop")],
    "ConstantPad2d": [ModuleCase(lambda nn: nn.ConstantPad2d((1, 0, 2, 1), 3.5), IMAGE)],
    "ReflectionPad2d": [ModuleCase(lambda nn: nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE)],
    "ReplicationPad2d": [ModuleCase(lambda nn: nn.ReplicationPad2d(2), IMAGE)],
    "CircularPad2d": [ModuleCase(lambda nn: nn.CircularPad2d((1, 2, 0, 1)), IMAGE)],
    "Sequential": [
        ModuleCase(lambda nn: nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(60, 2)), IMAGE),
        ModuleCase(lambda nn: nn.Sequential(), (normal(3),), "empty"),
    ],
    "ModuleList": [
        ModuleCase(lambda nn: nn.ModuleList([]), title="empty", modes=()),
        ModuleCase(
            lambda nn: nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2))]), (normal(2, 3),),
            call=lambda nn, m, x: m[3](m[1](m[0](x))),
        ),
    ],
    "ModuleDict": [
        ModuleCase(
            lambda nn: nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.ReLU(), "c": nn.ModuleDict()}), (normal(2, 3),),
            call=lambda nn, m, x: m["a"](x),
        ),
    ],
}

ALL = [(name, case) for name, cases in CASES.items() for case in cases]
IDS = [f"{name}: {case.title}" if case.title else name for name, case in ALL]
