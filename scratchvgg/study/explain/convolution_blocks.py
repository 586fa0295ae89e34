"""How the explanation of a convolution is told."""

from __future__ import annotations

import numpy as np

from ..page.formats import count, size
from . import engine
from .explanation import Bars, Check, Heading, Matrices, Note, Table, Text
from .matrices import MOST, matrix
from .numbers import exact_sum

CHANNELS = 3  # channels of the patch that are shown
BARS = 12


def blocks_of(it) -> list:
    """The blocks of a :class:`~scratchvgg.study.explain.convolution.Convolution`."""
    return [*_forward(it), *_product(it), *(_backward(it, it.backward) if it.backward is not None else ())]


def _forward(it) -> list:
    g, n, k, p, q = it.problem, it.sample, it.channel, it.row, it.column
    deep = len(it.patch)
    order = it.strongest[:CHANNELS]
    where = "stride {}×{}, padding {}, dilation {}×{}, groups {}".format(
        *g.stride, "/".join(map(str, (*g.padding[0], *g.padding[1]))) if len({*g.padding[0], *g.padding[1]}) > 1 else g.padding[0][0], *g.dilation,
        g.groups)
    bias = "" if it.bias is None else f"b[{k}] + "
    blocks = [
        Text(f"{g.C}→{g.K} channels, filter {g.R}×{g.S}, {where}; image {g.H}×{g.W}, output {g.P}×{g.Q}, {it.dtype}."),
        Text(f"y[{n}, {k}, {p}, {q}] = {bias}Σ x[{n}, c, {_index(p, g, 0)}, {_index(q, g, 1)}] · W[{k}, c − {it.first_channel}, r, s]"
             if it.first_channel else
             f"y[{n}, {k}, {p}, {q}] = {bias}Σ x[{n}, c, {_index(p, g, 0)}, {_index(q, g, 1)}] · W[{k}, c, r, s]", formula=True),
        Heading("Patch × filter"),
        Text(f"The window reads {g.R}×{g.S} pixels of {deep} channel{'s' * (deep > 1)}: {it.patch.size:,} products."
             + ("" if it.inside.all() else f" {int((~it.inside).sum())} of its {g.R * g.S} places lie in the padding and read 0.")
             + (f" The {CHANNELS} channels that contribute most are shown." if deep > CHANNELS else "")),
    ]
    for c in order:
        name = it.first_channel + c
        blocks.append(Matrices([
            matrix(it.patch[c], f"x, channel {name}", marks=np.where(it.inside, "", "padding"), rows=it.rows, columns=it.columns),
            matrix(it.filter[c], f"W[{k}, {c}]", columns=[""] * g.S),
            matrix(it.products[c], f"products, Σ = {it.contributions[c]:+.5g}", marks=np.where(it.inside, "", "padding"), columns=[""] * g.S),
        ], ("×", "=")))
    if deep > 1:
        top = it.strongest[:BARS]
        blocks.append(Bars(it.contributions[top].tolist(), [f"channel {it.first_channel + c}" for c in top],
                           "Σ of the products by input channel, largest first"))
        if deep > BARS:
            blocks.append(Note(f"The other {deep - BARS} channels add {exact_sum(it.contributions[it.strongest[BARS:]]):+.5g} together."))
    total = exact_sum(it.products)
    rows = [["Σ of the products (float64)", f"{total:+.9g}"], *([] if it.bias is None else [[f"+ bias b[{k}]", f"{it.bias:+.9g}"]]),
            ["= shown", f"{it.shown:+.9g}"], [f"stored by the engine ({it.algorithms['forward']}, {it.dtype})", f"{it.stored:+.9g}"]]
    return [*blocks, Heading("Sum"), Table(rows), Check(it.deviation)]


def _index(output, g, axis) -> str:
    """How an input index follows from an output: ``10 + r − 1``."""
    tap, start = "rs"[axis], output * g.stride[axis] - g.padding[axis][0]
    step = tap if g.dilation[axis] == 1 else f"{g.dilation[axis]}{tap}"
    return f"{start} + {step}" if start > 0 else f"{step} − {-start}" if start else step


def _product(it) -> list:
    g, m = it.problem, it.gemm
    taps = [f"{r},{s},{c + it.first_channel}" for r in range(g.R) for s in range(g.S) for c in range(len(it.patch))]
    padding = np.repeat(np.where(it.inside, "", "padding").ravel(), len(it.patch))
    strip = matrix(np.stack([it.im2col_column, it.filter_row, it.products.transpose(1, 2, 0).ravel()]), "in the order r, s, channel",
                   marks=np.stack([padding, np.full_like(padding, ""), padding]), rows=["column", "filter", "products"], columns=taps, most=10)
    each = f", for each of {m.groups} groups" if m.groups > 1 else ""
    return [
        Heading("As a matrix product (im2col)"),
        Text(f"The patch, written as one row of {m.k:,} numbers, is row {(it.sample * g.P + it.row) * g.Q + it.column:,} of the column matrix; the "
             "filter is a row of the same order. Their inner product is the pixel, and all pixels of all channels are one matrix product:"),
        Matrices([strip]),
        Text(f"Y (M×N) = col (M×K) · Wᵀ (K×N),  M = N·P·Q = {m.m:,}, N = {m.n:,} channels out, K = R·S·C = {m.k:,}{each}", formula=True),
        Table([["the whole column matrix, which is never built", size(m.column_bytes)],
               [f"the tile of it that im2col builds at a time: {count(m.tile_rows)} of {count(m.m)} rows ({m.tiles} tile{'s' * (m.tiles != 1)})",
                size(m.tile_bytes)]]),
        *([] if it.algorithms["forward"] == "im2col" else [
            Note(f"The engine took {it.algorithms['forward']} here, which comes to the same sum another way.")]),
    ]


def _backward(it, b) -> list:
    n, k, p, q = it.sample, it.channel, it.row, it.column
    first = k // len(b.arrived) * len(b.arrived)
    near = engine.around(k - first, len(b.arrived), MOST)
    order = np.argsort(-np.abs(b.outer).sum((1, 2)), kind="stable")[:CHANNELS].tolist() if b.gradient else it.strongest[:CHANNELS]
    padding = np.where(it.inside, "", "padding")
    blocks = [
        Heading("Backward: the gradient arrives"),
        Text(f"dY[{n}, {k}, {p}, {q}] = {b.gradient:.6g}, one of {len(b.arrived)} channels at this pixel."
             + (" It is 0: this output changes nothing (behind it a ReLU was shut, or a pool took another pixel)." if b.gradient == 0 else "")),
        Matrices([matrix(b.arrived[near], f"dY[{n}, :, {p}, {q}] of channels around {k}", marks=np.where(near == k - first, "hit", ""),
                         columns=first + near)]),
        Heading(f"dW[{k}]: an outer product from every pixel"),
        Text(f"This pixel adds dY · patch to dW[{k}] (and dY of the other channels · patch to theirs: an outer product). So do all "
             f"{b.pixels:,} pixels of the batch; {b.silent:,} of them bring 0."),
        Text(f"dW[{k}] = Σ dY[n, {k}, p, q] · patch(n, p, q)", formula=True),
    ]
    for c in order[:2]:
        parts = [matrix(it.patch[c], f"{b.gradient:.4g} ·  x, channel {it.first_channel + c}", marks=padding),
                 matrix(b.outer[c], f"into dW[{k}, {c}]", marks=padding)]
        blocks.append(Matrices([*parts, *([] if b.weight_engine is None else [matrix(b.weight_engine[c], f"dW[{k}, {c}], all pixels")])],
                               ("=", "of")[: len(parts) - 1 + (b.weight_engine is not None)]))
    if b.weight_engine is None:
        blocks.append(Note("The weight is not trained: the engine computes no dW."))
    else:
        blocks += [Check(b.weight_deviation)]
        if b.weight_same is not None:
            same = "is, to the last bit, the one that the run recorded" if b.weight_same else "is NOT the one that the run recorded"
            blocks.append(Note(f"The engine's dW is that of {it.algorithms['grad_weight']}, run again on the same arrays; its norm {same}."))
    if b.bias_deviation is not None:
        blocks += [Table([[f"db[{k}] = Σ dY[n, {k}, p, q]", f"{b.bias_shown:+.9g}"], ["the engine's", f"{b.bias_engine:+.9g}"]]),
                   Check(b.bias_deviation)]
    return [*blocks, *_scatter(it, b, order, padding)]


def _scatter(it, b, order, padding) -> list:
    g = it.problem
    most = int(b.overlap_rows.max(initial=0) * b.overlap_columns.max(initial=0))
    blocks = [
        Heading("dX: columns, and their scatter back (col2im)"),
        Text(f"dcol = Σ_k dY[{it.sample}, k, {it.row}, {it.column}] · W[k]: how each of the {b.dcol.size:,} numbers of this pixel's column "
             "should move. It is added to the pixels that the column was read from. "
             + (f"Windows overlap: up to {most} of them read a pixel." if most > 1 else "No pixel is read by two windows.")),
    ]
    for c in order[:2]:
        three = [matrix(b.dcol[c], f"dcol, channel {it.first_channel + c}", marks=padding, rows=it.rows, columns=it.columns),
                 matrix(b.overlap, "windows over each pixel", marks=padding, columns=[""] * g.S)]
        if b.input_engine is not None:
            three.append(matrix(b.input_engine[c], "dX there (engine)", marks=padding, columns=[""] * g.S))
        blocks.append(Matrices(three))
    blocks.append(Matrices([matrix(np.outer(b.overlap_rows, b.overlap_columns), "windows over every pixel of the image",
                                   rows=range(g.H), columns=range(g.W))]))
    if b.input_engine is None:
        return [*blocks, Note(f"The engine has no dX here: {b.input_from}. Summed by hand, dX under the window has the norm "
                              f"{np.linalg.norm(b.input_shown):.4g}.")]
    return [*blocks, Check(b.input_deviation), Note(f"The engine's dX: {b.input_from}.")]
