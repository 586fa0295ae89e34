"""Which convolutions to measure: the layers of a net, or problems written by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .. import conv, nn
from ..autograd import inference_mode, ops
from ..conv.geometry import same_padding
from ..models import get_model, usual_side
from ..train.recipe import RecipeError, parse_option

FIELDS = "N,C,H,W,K,R,S,stride,pad,dilation,groups"


@dataclass(frozen=True)
class Layer:
    """A convolution to measure.

    Attributes:
        name: what the tables call it.
        problem: its shape.
        count: how often the net has it.
        passes: those that a training step computes; the first layer of a net has no ``grad_input``.
    """

    name: str
    problem: conv.Problem
    count: int = 1
    passes: tuple[str, ...] = conv.PASSES

    @property
    def title(self) -> str:
        """``conv3_2 ×2``."""
        return self.name + (f" ×{self.count}" if self.count > 1 else "")


def parse_problem(text: str) -> conv.Problem:
    """``N,C,H,W,K,R,S,stride,pad,dilation,groups``, the last four optional, as a problem.

    Raises:
        ValueError: for a wrong number of fields, a field that is no integer or too small, or sizes that do not fit.
    """
    words = text.replace(" ", "").split(",")
    if not 7 <= len(words) <= 11 or not all(word.isdecimal() for word in words):
        raise ValueError(f"expected {FIELDS} (the last four may be left out), 7 to 11 whole numbers, got {text!r}")
    n, c, h, w, k, r, s, stride, pad, dilation, groups = [int(word) for word in words] + [1, 0, 1, 1][len(words) - 7 :]
    for name, value in (("N", n), ("C", c), ("H", h), ("W", w), ("K", k), ("R", r), ("S", s), ("stride", stride), ("dilation", dilation),
                        ("groups", groups)):
        if value < 1:
            raise ValueError(f"{text!r}: {name} must be 1 or more, got {value}")
    if c % groups or k % groups:
        raise ValueError(f"{text!r}: {c} input and {k} output channels cannot be cut into {groups} groups")
    problem = conv.Problem(n, c, h, w, k, r, s, (stride, stride), ((pad, pad), (pad, pad)), (dilation, dilation), groups)
    if h + 2 * pad < problem.rows or w + 2 * pad < problem.columns:
        raise ValueError(f"{text!r}: the padded input ({h + 2 * pad} x {w + 2 * pad}) is smaller than the filter's reach "
                         f"({problem.rows} x {problem.columns})")
    return problem


def problem_text(problem: conv.Problem) -> str:
    """``1×64×56×56 → 128, 3×3`` and what differs from the plain case."""
    g = problem
    words = [f"{g.N}×{g.C}×{g.H}×{g.W} → {g.K}, {g.R}×{g.S}"]
    words += [f"stride {g.stride[0]}"] * (g.stride != (1, 1)) + [f"dilation {g.dilation[0]}"] * (g.dilation != (1, 1))
    words += [f"{g.groups} groups"] * (g.groups > 1)
    if any(pad != n // 2 for side, n in zip(g.padding, (g.rows, g.columns), strict=True) for pad in side):
        words.append(f"padding {g.padding[0][0]}")
    return ", ".join(words)


def build_net(spec: str, **extra) -> nn.Module:
    """A net by name and options, ``vgg16``, ``cifar_vgg:config=A,batch_norm=false`` or ``small_vgg:widths=[8,'M',16]``.

    Raises:
        ValueError: for an unknown net, malformed options or ones the net does not take.
    """
    name, _, rest = spec.partition(":")
    options = {}
    try:
        for word in filter(None, re.split(r",(?![^\[]*\])", rest)):  # at commas outside brackets
            options |= parse_option(word)
        return get_model(name, **options, **extra)
    except (RecipeError, TypeError) as error:
        raise ValueError(f"net {spec!r}: {error}") from None


def default_size(spec: str) -> int:
    """Height and width of the images that the net of a specification is made for."""
    return usual_side(spec.partition(":")[0])


def layers_of(spec: str, batch: int, size: int) -> list[Layer]:
    """The different convolutions of a net in the order of execution; equal ones are counted. Names are the paper's: conv<stage>_<place>.

    Raises:
        ValueError: for an unknown net, or images too small for it.
    """
    with nn.init.skip():
        model = build_net(spec).eval()
    found: dict[conv.Problem, Layer] = {}
    place = [1, 0]  # stage, place in it

    def note(module, inputs, output):
        if isinstance(module, nn.MaxPool2d):
            place[:] = place[0] + 1, 0
            return
        place[1] += 1
        problem = _problem_of(module, inputs[0].shape, batch)
        if problem in found:
            found[problem] = replace(found[problem], count=found[problem].count + 1, passes=conv.PASSES)
        else:
            found[problem] = Layer(f"conv{place[0]}_{place[1]}", problem, passes=conv.PASSES if found else ("forward", "grad_weight"))

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            module.register_forward_hook(note)
    try:
        with inference_mode():
            model(ops.zeros(1, 3, size, size))
    except RuntimeError as error:
        raise ValueError(f"net {spec!r} at {size}×{size}: {error}") from None
    if not found:
        raise ValueError(f"net {spec!r} has no convolution")
    return list(found.values())


def _problem_of(module, x_shape, batch) -> conv.Problem:
    if module.padding == "same":
        around = same_padding(module.kernel_size, module.dilation)
    else:
        vertical, horizontal = (0, 0) if module.padding == "valid" else module.padding
        around = (vertical, vertical), (horizontal, horizontal)
    _, c, h, w = x_shape
    return conv.Problem(batch, c, h, w, module.out_channels, *module.kernel_size, module.stride, around, module.dilation, module.groups)
