"""What each layer of a net makes, keeps and costs, without waiting for weights or times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .. import nn
from ..autograd import ops
from . import layers, rebatch, visits
from .trace import trace

MACS, BYTES = 2e10, 2 << 30
"""A batch is run as it is up to so much work and kept memory (about a second)."""


def overview(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> layers.LayerTable:
    """The layer table of a net on zeros, in training mode, without drawing its weights: none of it depends on their values.

    A batch that would take long is not run: one image and two images are, and what they show is carried on exactly, see :mod:`.rebatch`.

    Args:
        build: makes the net.
        input_shape: (N, C, H, W).

    Raises:
        RuntimeError: if the images are too small for the net.
    """
    with nn.init.skip():
        model = build().train()
    batch, image = input_shape[0], input_shape[1:]
    try:
        one = _run(model, (1, *image))
    except ValueError:  # training needs more than one value per channel: batch norm on a 1×1 map, of one image
        model.train(batch > 1)
        return _table(model, _run(model, input_shape), input_shape)
    table = _table(model, one, (1, *image))
    if batch == 1:
        return table
    if batch * table.totals["macs"] > MACS or batch * table.totals["kept_bytes"] > BYTES:
        scaled = _scaled(one, _run(model, (2, *image)), batch)
        if scaled is not None:
            return _table(model, scaled, input_shape, [SCALED])
    return _table(model, _run(model, input_shape), input_shape)


SCALED = ("scaled from runs of 1 and 2 images, in which every extent of every array stays or is proportional to the batch; scratch is known for a "
          "batch that is run")


def _run(model, input_shape):
    """(calls, modules, visits) of a recorded run on zeros."""
    with visits.watch(model) as watched:
        run = trace(model, ops.zeros(*input_shape), record=True)
    return run.calls, run.modules, visits.of_trace(run, watched)


def _table(model, run, input_shape, notes=()):
    calls, modules, visited = run
    return layers.assemble(model, calls, modules, visited, input_shape, notes=notes)


def _scaled(one, two, batch):
    """A run of ``batch`` images from those of one and two, or None."""
    calls = rebatch.at_batch(one[0], two[0], batch)
    if calls is None or [visit.name for visit in one[2]] != [visit.name for visit in two[2]]:
        return None
    pairs = zip(one[2], two[2], strict=True)
    return calls, one[1], [replace(a, output_shape=rebatch.extents(a.output_shape, b.output_shape, batch)) for a, b in pairs]


def summarize(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> dict:
    """:func:`overview` as plain values, without memory and receptive fields.

    Returns:
        ``{"input_shape", "layers", "totals"}``. A layer has ``name type output_shape parameters macs bias_adds``; totals have ``parameters
        trainable parameter_bytes macs bias_adds``. MACs are those of convolutions and linear layers, for the whole batch.

    Raises:
        RuntimeError: if the images are too small for the net.
    """
    table = overview(build, input_shape).to_dict()
    about = ("name", "type", "output_shape", "parameters", "macs", "bias_adds")
    totals = ("parameters", "trainable", "parameter_bytes", "macs", "bias_adds")
    return {"input_shape": list(input_shape), "layers": [{key: row[key] for key in about} for row in table["layers"]],
            "totals": {key: table["totals"][key] for key in totals}}
