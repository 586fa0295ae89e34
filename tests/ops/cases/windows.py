"""Padding, sliding windows, resampling, one-hot."""

from tests.harness import Case, integers, normal

x = normal(2, 3, 5, 6)
small = normal(1, 2, 4, 5)

CASES = [
    Case("pad", "", (x,), lambda F, x: F.pad(x, (1, 2)), half=True),
    Case("pad", "value, several dimensions", (x,), lambda F, x: F.pad(x, (1, 2, 0, 1, 2, 0), value=3.5)),
    Case("pad", "negative crops", (x,), lambda F, x: F.pad(x, (-1, 2, 1, -2))),
    Case("pad", "reflect", (x,), lambda F, x: F.pad(x, (2, 1, 3, 4), mode="reflect")),
    Case("pad", "replicate", (x,), lambda F, x: F.pad(x, (2, 7, 3, 0), mode="replicate")),
    Case("pad", "circular", (x,), lambda F, x: F.pad(x, (2, 1, 3, 5), mode="circular")),
    Case("pad", "reflect, unbatched", (normal(3, 5, 6),), lambda F, x: F.pad(x, (2, 1, 1, 1), mode="reflect")),
    Case("pad", "integers", (integers(0, 9, 2, 3),), lambda F, x: F.pad(x, (1, 1), value=-1)),
    Case("one_hot", "", (integers(0, 4, 3, 5),), lambda F, x: F.one_hot(x, 4)),
    Case("one_hot", "classes from the largest", (integers(0, 6, 20),), lambda F, x: F.one_hot(x)),
    Case("unfold", "", (x,), lambda F, x: F.unfold(x, 3)),
    Case("unfold", "unequal everything", (normal(2, 3, 8, 7),), lambda F, x: F.unfold(x, (2, 3), (2, 1), (1, 2), (3, 1))),
    Case("unfold", "unbatched", (normal(3, 5, 6),), lambda F, x: F.unfold(x, 2, stride=2)),
    Case("fold", "", (normal(2, 12, 6),), lambda F, x: F.fold(x, (3, 4), 2)),
    Case("fold", "unequal everything", (normal(2, 18, 12),), lambda F, x: F.fold(x, (8, 5), (2, 3), dilation=(3, 1), padding=(1, 0), stride=(2, 1))),
    Case("fold", "unbatched", (normal(12, 6),), lambda F, x: F.fold(x, (3, 4), 2)),
    Case("fold", "of unfold", (x,), lambda F, x: F.fold(F.unfold(x, 3, padding=1), (5, 6), 3, padding=1)),
    Case("interpolate", "nearest, doubling", (x,), lambda F, x: F.interpolate(x, scale_factor=2), half=True),
    Case("interpolate", "nearest, to a size", (x,), lambda F, x: F.interpolate(x, (7, 4))),
    Case("interpolate", "nearest, odd factor", (x,), lambda F, x: F.interpolate(x, scale_factor=(1.7, 0.6))),
    Case("interpolate", "nearest, factors that leave or double the size", (x,), lambda F, x: F.interpolate(x, scale_factor=(1.19, 2.16))),
    Case("interpolate", "bilinear, factor that leaves a size", (x,), lambda F, x: F.interpolate(x, scale_factor=(1.19, 2.1), mode="bilinear")),
    Case("interpolate", "nearest, factor recomputed", (x,), lambda F, x: F.interpolate(x, scale_factor=1.7, recompute_scale_factor=True)),
    Case("interpolate", "bilinear, up", (small,), lambda F, x: F.interpolate(x, (9, 7), mode="bilinear")),
    Case("interpolate", "bilinear, down", (normal(1, 2, 11, 9),), lambda F, x: F.interpolate(x, (4, 5), mode="bilinear")),
    Case("interpolate", "bilinear, corners", (small,), lambda F, x: F.interpolate(x, (9, 7), mode="bilinear", align_corners=True)),
    Case("interpolate", "bilinear, factor", (small,), lambda F, x: F.interpolate(x, scale_factor=(1.6, 2.3), mode="bilinear")),
    Case("interpolate", "bilinear, factor recomputed", (small,),
         lambda F, x: F.interpolate(x, scale_factor=1.6, mode="bilinear", recompute_scale_factor=True)),
    Case("interpolate", "antialias, down", (normal(1, 2, 13, 11),), lambda F, x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True)),
    Case("interpolate", "antialias, up", (small,), lambda F, x: F.interpolate(x, (9, 7), mode="bilinear", antialias=True)),
    Case("interpolate", "antialias, corners", (normal(1, 2, 13, 11),),
         lambda F, x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True, align_corners=True)),
    Case("interpolate", "to one pixel", (small,), lambda F, x: F.interpolate(x, (1, 1), mode="bilinear", align_corners=True)),
]
