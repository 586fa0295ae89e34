"""Grad-CAM: R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", arXiv 1610.02391.

    α_k = mean over the positions of ∂S_c/∂A_k        (their equation 1; S_c before the softmax)
    map = ReLU(Σ_k α_k A_k)                           (equation 2)

A is what a late convolution stage makes, K×h×w. The map has h×w numbers (14×14 in a VGG at 224×224) and is enlarged to the picture
bilinearly, corners not aligned; so it says which region, never which pixel.
"""

from __future__ import annotations

import numpy as np

from ...autograd import Tensor, from_numpy
from ...nn import Conv2d, ReLU
from ...nn import functional as F
from ..errors import StudyError
from .result import Attribution, largest, show_picture
from .scope import as_picture, check_layer, forward, hooked, numpy, undisturbed


def grad_cam(model, x, target=None, *, layer: str | None = None, preset=None, categories=None) -> Attribution:
    """The regions that speak for a class; ``raw`` is the map before it is enlarged.

    Args:
        layer: dotted name of the module whose output is A (of its last call, if it is called twice). By default the last ReLU that has height and
            width: in a VGG the one before pool5, ``features.29`` of VGG-16. If a convolution runs after it (the net calls ``F.relu`` there),
            the last convolution. A net without ReLU modules: its last layer that has height and width.
        Others as :func:`~scratchvgg.study.attribution.gradient.saliency`.

    Raises:
        StudyError: also for an unknown layer (the message has near names), one that did not run, or one without height and width.
    """
    if layer is not None:
        check_layer(model, layer)
    seen = _Seen(layer)
    relus = any(isinstance(module, ReLU) for module in model.modules())

    def wanted(name, module):
        return name == layer if layer is not None else isinstance(module, (ReLU, Conv2d)) if relus else not list(module.children())

    with undisturbed(model):
        with hooked(model, wanted, seen):
            run = forward(model, as_picture(model, x), target, categories)
        (gradient,), name = run.gradient_of_score(seen.found()), seen.name
        activations = numpy(seen.output.detach())
    weights = gradient.mean((2, 3), keepdims=True)
    small = np.maximum((weights * activations).sum(1, keepdims=True), 0)
    picture, stretched = show_picture(numpy(run.x.detach())[0], preset)
    map = F.interpolate(from_numpy(np.ascontiguousarray(small)), size=picture.shape[:2], mode="bilinear", align_corners=False).numpy()[0, 0]
    return Attribution("grad-cam", map, run.target, picture, f"how much the region speaks for the class, seen at {name} ({_by(small)})", stretched,
                       top=largest(map), layer=name, raw=small[0, 0], settings={"channels": int(activations.shape[1])})


def _by(small) -> str:
    return "×".join(map(str, small.shape[2:]))


class _Seen:
    """A hook that keeps the last output that can be used. The net goes on with a copy: what writes over that leaves ours as it was."""

    def __init__(self, layer):
        self.layer, self.name, self.output, self.unfit = layer, None, None, None

    def __call__(self, name, module, output):
        if not isinstance(output, Tensor) or output.ndim != 4 or (self.layer is None and max(output.shape[2:]) == 1):
            self.unfit = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            return None
        self.name, self.output = name, output
        return output.clone()

    def found(self) -> Tensor:
        if self.output is not None:
            return self.output
        if self.layer is None:
            raise StudyError("layer: no layer of this net makes channels with height and width that Grad-CAM could take by default; name one")
        if self.unfit is not None:
            raise StudyError(f"layer: {self.layer} makes {self.unfit}; Grad-CAM needs a layer with height and width, (N, K, h, w)")
        raise StudyError(f"layer: {self.layer} did not run, or another layer did its work")
