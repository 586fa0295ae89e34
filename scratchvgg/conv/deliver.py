"""A finished tile of sums on its way into the output: scale, bias, ReLU and pool while it is in cache."""

from __future__ import annotations

from .epilogue import Epilogue


def deliver(backend, epilogue: Epilogue, tile, bias, result, winners=None) -> None:
    """result = epilogue(tile + bias).

    Args:
        tile: (n, p, q, K) sums, overwritten; p is even when pooling, unless the last row of the image is in it.
        bias: (K,) or None.
        result: (n, p, q, K), or (n, p // 2, q // 2, K) when pooling: part of the output, any strides and dtype, or ``tile`` itself.
        winners: uint8 of the shape of ``result``, or None.
    """
    xp = backend.xp
    if epilogue.scale is not None:
        tile *= epilogue.scale.astype(tile.dtype, copy=False)
    if bias is not None:
        _add(xp, tile, bias.astype(tile.dtype, copy=False))
    if epilogue.pool:
        rows, columns = tile.shape[1] // 2 * 2, tile.shape[2] // 2 * 2
        corners = [tile[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]
        epilogue.reduce(backend, corners, result, winners)
        return
    epilogue.activate(xp, tile)
    if result is not tile:
        result[...] = tile


def _add(xp, tile, bias):
    """tile += bias, by whole rows of the image: adding q·K numbers at a time beats adding K."""
    n, p, q, k = tile.shape
    if tile.strides[1] == q * tile.strides[2] and q > 1 and k < 512:
        rows = tile.reshape(n, p, q * k)
        rows += xp.tile(bias, q)
    else:
        tile += bias
