"""Losses, with their reductions."""

from tests.harness import Case, array, distinct, integers, normal, uniform

logits, target, weight = normal(6, 5), integers(0, 5, 6), uniform(0.2, 2.0, 5)
maps, map_target = normal(2, 5, 3, 4), integers(0, 5, 2, 3, 4)
soft = array([[0.7, 0.1, 0.1, 0.05, 0.05], [0.2] * 5, [0.0, 0.0, 1.0, 0.0, 0.0]])
ignored = array([0, -100, 2, 4, -100, 1], grad=False)
REDUCTIONS = "mean", "sum", "none"


def each(name, title, inputs, function, **options):
    return [Case(name, f"{title}{r}", inputs, lambda F, *a, r=r: function(F, *a, r), **options) for r in REDUCTIONS]


CASES = [
    *each("nll_loss", "", (logits, target), lambda F, x, t, r: F.nll_loss(F.log_softmax(x, 1), t, reduction=r)),
    *each("nll_loss", "weighted, ignoring, ", (logits, ignored, weight.frozen()), lambda F, x, t, w, r: F.nll_loss(x, t, w, reduction=r)),
    Case("nll_loss", "another index ignored", (logits, target), lambda F, x, t: F.nll_loss(x, t, ignore_index=2)),
    Case("nll_loss", "all ignored", (logits, array([-100] * 6, grad=False)), lambda F, x, t: F.nll_loss(x, t), differences=False),
    *each("nll_loss", "images, ", (maps, map_target), lambda F, x, t, r: F.nll_loss(x, t, reduction=r)),
    Case("nll_loss", "unbatched", (normal(5), array(3, grad=False)), lambda F, x, t: F.nll_loss(x, t)),
    *each("cross_entropy", "", (logits, target), lambda F, x, t, r: F.cross_entropy(x, t, reduction=r), half=True),
    *each("cross_entropy", "smoothed, ", (logits, target), lambda F, x, t, r: F.cross_entropy(x, t, reduction=r, label_smoothing=0.1)),
    *each("cross_entropy", "weighted, ignoring, smoothed, ", (logits, ignored, weight.frozen()),
          lambda F, x, t, w, r: F.cross_entropy(x, t, w, reduction=r, label_smoothing=0.2)),
    *each("cross_entropy", "weighted, ", (logits, target, weight.frozen()), lambda F, x, t, w, r: F.cross_entropy(x, t, w, reduction=r)),
    *each("cross_entropy", "probabilities, ", (normal(3, 5), soft.frozen()), lambda F, x, t, r: F.cross_entropy(x, t, reduction=r)),
    *each("cross_entropy", "probabilities, weighted, smoothed, ", (normal(3, 5), soft.frozen(), weight.frozen()),
          lambda F, x, t, w, r: F.cross_entropy(x, t, w, reduction=r, label_smoothing=0.3)),
    *each("cross_entropy", "images, ", (maps, map_target), lambda F, x, t, r: F.cross_entropy(x, t, reduction=r, label_smoothing=0.1)),
    Case("cross_entropy", "gradient of the probabilities", (normal(3, 5), soft), lambda F, x, t: F.cross_entropy(x, t)),
    Case("cross_entropy", "unbatched", (normal(5), array(3, grad=False)), lambda F, x, t: F.cross_entropy(x, t)),
    Case("cross_entropy", "unbatched probabilities", (normal(5), array([0.1, 0.2, 0.7, 0.0, 0.0], grad=False)),
         lambda F, x, t: F.cross_entropy(x, t)),
    Case("cross_entropy", "large logits", (normal(6, 5, std=300.0), target), lambda F, x, t: F.cross_entropy(x, t)),
    Case("cross_entropy", "empty batch", (normal(0, 5), integers(0, 5, 0)), lambda F, x, t: F.cross_entropy(x, t, reduction="sum")),
    *each("mse_loss", "", (normal(3, 4), normal(3, 4)), lambda F, x, t, r: F.mse_loss(x, t, reduction=r), half=True),
    *each("l1_loss", "", (distinct(3, 4), normal(3, 4, std=0.02)), lambda F, x, t, r: F.l1_loss(x, t, reduction=r)),
]
