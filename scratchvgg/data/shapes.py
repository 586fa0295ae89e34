"""The ten outlines of the built-in set, as distances from their edge.

Each function takes the coordinates u, v of points (float32, any shape) in a frame where the outline fills about the unit
circle and returns an array of their shape: below zero inside, above zero outside, near the edge about the distance to it
(I. Quilez, "2D distance functions", has the idea). Only + − × ÷, min, max, abs and sqrt are used: IEEE 754 fixes every
bit of those, so a picture is the same on every machine.
"""

from __future__ import annotations

import numpy as np

_f = np.float32


def _length(u, v):
    return np.sqrt(u * u + v * v)


def _box(u, v, width, height):
    return np.maximum(np.abs(u) - _f(width), np.abs(v) - _f(height))


def disc(u, v):
    """A filled circle."""
    return _length(u, v) - _f(0.88)


def ring(u, v):
    """A circle's outline, 0.36 wide."""
    return np.abs(_length(u, v) - _f(0.77)) - _f(0.18)


def square(u, v):
    """A filled square."""
    return _box(u, v, 0.74, 0.74)


def triangle(u, v):
    """An equilateral triangle: three half-planes."""
    side = np.abs(u) * _f(0.8660254) + v * _f(0.5)
    return np.maximum(side, -v) - _f(0.5)


def cross(u, v):
    """Two bars at right angles."""
    return np.minimum(_box(u, v, 0.95, 0.25), _box(u, v, 0.25, 0.95))


def star(u, v):
    """A pentagram: the points that lie inside at least four of five half-planes."""
    w = np.abs(u)
    values = (v, w * _f(0.95105652) + v * _f(0.30901699), w * _f(-0.95105652) + v * _f(0.30901699),
              w * _f(0.58778525) - v * _f(0.80901699), w * _f(-0.58778525) - v * _f(0.80901699))
    largest, second = np.maximum(values[0], values[1]), np.minimum(values[0], values[1])
    for value in values[2:]:
        second = np.maximum(second, np.minimum(largest, value))
        largest = np.maximum(largest, value)
    return second - _f(0.34)


def heart(u, v):
    """A square with a half-circle on two neighbouring sides."""
    u, v = u + _f(0.14), v + _f(0.14)
    lobes = np.minimum(_length(u - _f(0.5), v), _length(u, v - _f(0.5))) - _f(0.5)
    return np.minimum(_box(u, v, 0.5, 0.5), lobes)


def crescent(u, v):
    """A circle less a shifted circle."""
    return np.maximum(_length(u, v) - _f(0.95), _f(0.78) - _length(u - _f(0.5), v))


def arrow(u, v):
    """A triangle on a shaft."""
    head = np.maximum(np.abs(v) * _f(0.77) + u * _f(0.64) - _f(0.61), -u)
    return np.minimum(head, _box(u + _f(0.45), v, 0.5, 0.2))


def bars(u, v):
    """Two parallel bars."""
    return _box(u, np.abs(v) - _f(0.52), 0.9, 0.24)


SHAPES = (disc, ring, square, triangle, cross, star, heart, crescent, arrow, bars)
