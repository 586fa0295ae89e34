"""Unfolding and folding against NumPy: every version, part of the matrix, the order of pooling windows, bad arguments."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda.emulator import order
from scratchvgg.cuda.faces import conv_examples as cases
from scratchvgg.cuda.faces.im2col import col2im, im2col
from scratchvgg.cuda.launch_size import accumulator

backend = get_backend(Device("emulator"))
SHAPES = cases.SMALL | {
    "beyond": cases.Shape(1, 4, 3, 3, 4, 2, 2, padding=((3, 3), (2, 2))),
    "one": cases.Shape(1, 1, 1, 1, 1, 1, 1, padding=((0, 0), (0, 0))),
    "many rows": cases.Shape(3, 4, 20, 21, 4, 1, 3),
}


def image(g, dtype="float32", seed=0):
    return cases.random(backend, np.random.default_rng(seed), g.shapes["x"], dtype)


def matrix(g, rows=None, dtype="float32"):
    return backend.empty((g.groups, g.N * g.P * g.Q if rows is None else rows, g.depth), accumulator(cases.dtype_of(dtype)))


def versions(g, dtype):
    return ["v1", "general", *([""] if g.C // g.groups % (2 if dtype == "float64" else 4) == 0 else [])]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", SHAPES)
def test_both_directions_are_numpys(name, dtype):
    g = SHAPES[name]
    x = image(g, dtype)
    expected = cases.columns(g, x)
    for version in (None, *versions(g, dtype)):
        columns = im2col(backend, g, x, matrix(g, dtype=dtype), version=version)
        np.testing.assert_array_equal(columns, expected)
    for version in (None, *versions(g, dtype)[1:]):
        dx = col2im(backend, g, columns, backend.empty(g.shapes["x"], dtype), version=version)
        error = np.abs(np.asarray(dx, np.float64) - cases.scattered(g, expected)).max()
        assert error <= 8 * cases.TOLERANCE[dtype] * np.abs(cases.scattered(g, np.abs(expected))).max()


@pytest.mark.parametrize("version", ["v1", "general", None])
def test_a_part_of_the_rows(version):
    g = SHAPES["vgg"]
    x, expected = image(g), cases.columns(g, image(g))
    for first, rows in ((0, 7), (13, 20), (59, 1)):
        np.testing.assert_array_equal(im2col(backend, g, x, matrix(g, rows), first, version=version), expected[:, first : first + rows])


@pytest.mark.parametrize("version", ["v1", "general", None])
@pytest.mark.parametrize("name", ["vgg", "odd", "many rows"])
def test_rows_in_the_order_of_windows(name, version):
    g = SHAPES[name]
    p, q = g.P // 2, g.Q // 2
    whole = cases.columns(g, image(g)).reshape(g.groups, g.N, g.P, g.Q, g.depth)[:, :, : 2 * p, : 2 * q]
    windows = whole.reshape(g.groups, g.N, p, 2, q, 2, g.depth).transpose(0, 1, 2, 4, 3, 5, 6).reshape(g.groups, -1, g.depth)
    for first in (0, 4):
        columns = matrix(g, windows.shape[1] - first)
        np.testing.assert_array_equal(im2col(backend, g, image(g), columns, first, True, version), windows[:, first:])


@pytest.mark.parametrize("which", ["reverse", 3])
def test_any_order_of_threads(which):
    g = SHAPES["odd"]
    with order(which):
        columns = im2col(backend, g, image(g), matrix(g))
        dx = col2im(backend, g, columns, backend.empty(g.shapes["x"], "float32"))
    np.testing.assert_array_equal(columns, cases.columns(g, image(g)))
    np.testing.assert_array_equal(dx, col2im(backend, g, columns, backend.empty(g.shapes["x"], "float32")))


def test_arrays_at_odd_places_take_the_general_version():
    g = SHAPES["vgg"]
    held = backend.empty((image(g).size + 1,), "float32")
    held[1:] = image(g).ravel()
    x = held[1:].reshape(g.shapes["x"])
    np.testing.assert_array_equal(im2col(backend, g, x, matrix(g)), cases.columns(g, image(g)))


def test_errors_name_the_array():
    g = SHAPES["vgg"]
    with pytest.raises(ValueError, match=r"x has shape \(2, 6, 5, 4\), expected \(2, 6, 5, 8\)"):
        im2col(backend, g, image(g)[..., :4], matrix(g))
    with pytest.raises(ValueError, match="x of shape .* must be contiguous"):
        im2col(backend, g, image(g)[:, ::-1], matrix(g))
    with pytest.raises(ValueError, match="rows 50 to 60 were asked for; the column matrix has 60"):
        im2col(backend, g, image(g), matrix(g, 11), 50)
    with pytest.raises(TypeError, match="columns is float64, expected float32"):
        im2col(backend, g, image(g), matrix(g, dtype="float64"))
    with pytest.raises(TypeError, match="x is int32; there are kernels for float16"):
        im2col(backend, g, image(g).astype(np.int32), matrix(g))
    with pytest.raises(ValueError, match="numbers in an image; the kernels count up to 2147483647"):
        im2col(backend, huge := cases.Shape(1, 1 << 10, 1 << 11, 1 << 11, 4), np.broadcast_to(np.float32(0), huge.shapes["x"]), matrix(g))
