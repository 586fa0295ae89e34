"""Guided backpropagation: J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for simplicity: the all convolutional net",
arXiv 1412.6806, section 3.4.

    gradient             g · [x > 0]
    deconvolution        g · [g > 0]
    guided               g · [x > 0] · [g > 0]

Going back through a ReLU, a gradient passes only where the input was positive (as it must) and where it is positive itself. So only paths are
shown that raise the score at every step. The pictures are crisp, and that is deceptive: what they show is largely the picture's edges, whatever
the net learnt (J. Adebayo et al., 2018; :mod:`.sanity` shows it).
"""

from __future__ import annotations

import numpy as np

from ...autograd import intercept_backward
from ..errors import StudyError
from .gradient import RULE
from .result import Attribution, high_percentile, show_picture
from .scope import as_picture, forward, numpy, undisturbed


def guided_backpropagation(model, x, target=None, *, preset=None, categories=None) -> Attribution:
    """The guided gradient of a class's score; the map is its largest magnitude over the channels, ``raw`` the C×H×W numbers.

    Args and errors as :func:`~scratchvgg.study.attribution.gradient.saliency`; and:

    Raises:
        StudyError: if there is no ReLU on the way, or one that is fused with another layer: there the rule could not be kept.
    """
    rule = _Rule()
    with undisturbed(model):
        run = forward(model, as_picture(model, x), target, categories)
        with intercept_backward(rule):
            (gradient,) = run.gradient_of_score(run.x)
    if not rule.passed:
        raise StudyError("guided backpropagation changes how gradients pass ReLUs, and this net has none on the way to the score")
    picture, stretched = show_picture(numpy(run.x.detach())[0], preset)
    map = np.abs(gradient[0]).max(0)
    return Attribution("guided", map, run.target, picture, "the gradient along the paths that raise the score at every ReLU", stretched,
                       top=high_percentile(map), top_rule=RULE, raw=gradient[0], settings={"relus": rule.passed})


class _Rule:
    """Stands around the backward of every operation; counts the ReLUs it changed."""

    def __init__(self):
        self.passed = 0

    def __call__(self, node, grads, proceed):
        if node.name.endswith("_relu"):
            raise StudyError(f"guided backpropagation: this net calls {node.name}, which does several layers at once; call them one by one")
        if node.name != "relu":
            return proceed(grads)
        self.passed += 1
        xp = node.outputs[0][2].xp
        return proceed([xp.maximum(g, xp.zeros((), g.dtype)) for g in grads])
