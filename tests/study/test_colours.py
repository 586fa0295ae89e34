"""Colours of maps: even steps of lightness, also for eyes that see fewer hues."""

import numpy as np

from scratchvgg.study import colours

# H. Brettel, F. Viénot, J. D. Mollon, 1997, in the one-plane form of F. Viénot, H. Brettel, J. D. Mollon, 1999: linear RGB as a protanope and a
# deuteranope see it
PROTANOPE = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTERANOPE = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


def seen(rgb, by):
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ by.T
    linear = np.clip(linear, 0, 1)
    return np.round(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(np.uint8)


def test_lightness_is_oklabs():
    known = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    assert np.allclose(colours.lightness(known), [0, 1, 0.62796, 0.86644, 0.45201], atol=1e-4), "published for sRGB's primaries"


def test_equal_steps_are_equal_steps_of_lightness():
    table = colours.heat()
    light = colours.lightness(table)
    assert table.shape == (256, 3) and table.dtype == np.uint8
    assert np.abs(light - np.linspace(light[0], light[-1], 256)).max() < 0.006 and light[0] < 0.2 and light[-1] > 0.9
    two = colours.lightness(colours.two_sided())
    assert np.abs(two - two[::-1]).max() < 0.01, "both sides are equally strong"
    assert np.abs(two[128:] - np.linspace(two[128], two[-1], 128)).max() < 0.006 and two.argmax() in range(120, 136)


def test_fewer_hues_are_enough():
    for eye in (PROTANOPE, DEUTERANOPE):
        light = colours.lightness(seen(colours.heat(), eye))
        assert (np.diff(light[::8]) > 0).all(), "the order can still be seen"
        low, high = seen(colours.two_sided()[[20, -21]], eye).astype(int)
        assert np.abs(low - high).max() > 60, "and on which side of zero a number lies"


def test_paint():
    values = np.array([[0.0, 1.0, 0.5], [-3.0, 9.0, np.nan]])
    heat, two = colours.heat(), colours.two_sided()
    assert np.array_equal(colours.paint(values), [[heat[0], heat[255], heat[128]], [heat[0], heat[255], heat[0]]])
    assert np.array_equal(colours.paint(values, True)[0], [two[128], two[255], two[191]])
    assert np.array_equal(colours.paint(values, True)[1, [0, 2]], two[[0, 128]]), "NaN is 0"
    assert np.array_equal(colours.bar(height=3)[2], heat) and np.array_equal(colours.bar(True)[0], two)
    assert not heat.flags.writeable, "it is shared"
