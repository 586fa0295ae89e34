"""Maps from the gradient of a class's score with respect to the picture: ∂S_c/∂x, C×H×W numbers.

====================  =================================  =========================================================================
``saliency``          max over channels of \\|∂S_c/∂x\\|   K. Simonyan, A. Vedaldi, A. Zisserman, "Deep inside convolutional networks",
                                                         arXiv 1312.6034, section 3: by VGG's own authors
``gradient_input``    Σ over channels of x · ∂S_c/∂x     the first-order share of each pixel in the score (a net without biases, that is
                                                         piecewise linear: the shares sum up to the score)
``smoothgrad``        mean over noisy copies of x        D. Smilkov et al., "SmoothGrad", arXiv 1706.03825
====================  =================================  =========================================================================

S_c is the score before the softmax: the probability's gradient would also speak of the other classes.
"""

from __future__ import annotations

import numpy as np

from ...array import Generator
from ...autograd import Tensor
from ..errors import StudyError
from .result import Attribution, high_percentile, show_picture
from .scope import as_picture, forward, numpy, undisturbed

RULE = "99.5 % of the pixels stay below"


def saliency(model, x, target=None, *, preset=None, categories=None) -> Attribution:
    """How fast the score changes with each pixel, in the colour where it changes fastest.

    Args:
        model: a classifier; it is run in evaluation mode and left as it was.
        x: the normalised picture, Tensor or array (1, C, H, W) or (C, H, W).
        target: class number or name; None takes the likeliest.
        preset: with ``mean`` and ``std``, to show the picture as it was. categories: names of the classes.

    Raises:
        StudyError: for another shape, or an unknown class. RuntimeError: what the net raises.
    """
    run, (gradient,) = _run(model, x, target, categories)
    return _made("gradient", np.abs(gradient[0]).max(0), run, gradient[0], preset, "how fast the score changes with the pixel (its fastest colour)")


def gradient_input(model, x, target=None, *, preset=None, categories=None) -> Attribution:
    """Gradient × input: what each pixel, as far as it differs from the mean colour (0 after normalisation), adds to the score; orange
    adds, blue takes away. Arguments and errors as :func:`saliency`."""
    run, (gradient,) = _run(model, x, target, categories)
    map = (gradient[0] * numpy(run.x)[0]).sum(0)
    return _made("gradient-input", map, run, gradient[0], preset, "what the pixel adds to the score, to first order (orange) or takes away (blue)",
                 signed=True)


def smoothgrad(model, x, target=None, *, samples: int = 16, noise: float = 0.15, seed: int = 0, preset=None, categories=None,
               progress=None) -> Attribution:
    """:func:`saliency` of the gradient's mean over noisy copies of the picture: what flickers from pixel to pixel is averaged away.

    Args:
        samples: copies.
        noise: standard deviation of the noise, as a part of the picture's range max − min.
        seed: of the noise, which is drawn from a generator of its own.
        progress: called with a line of text before each copy.
        Others as :func:`saliency`.

    Raises:
        StudyError: also for fewer than one copy, or negative noise.
    """
    if samples < 1 or noise < 0:
        raise StudyError(f"samples, noise: expected 1 or more and 0 or more, got {samples} and {noise}")
    with undisturbed(model):
        clean = as_picture(model, x)
        run = forward(model, clean, target, categories)
        picture, generator, total = numpy(clean.detach())[0], Generator(seed), 0.0
        spread = noise * float(np.ptp(picture))
        for copy in range(samples):
            if progress:
                progress(f"SmoothGrad: copy {copy + 1} of {samples}")
            moved = picture + spread * generator.normal(picture.shape).astype(picture.dtype)
            noisy = Tensor.wrap(clean.backend, clean.backend.asarray(moved[None]).astype(clean.array.dtype))
            total = total + forward(model, noisy, run.target.index, categories).gradient_of_score(noisy)[0][0].astype(np.float64)
    mean = (total / samples).astype(picture.dtype)
    return _made("smoothgrad", np.abs(mean).max(0), run, mean, preset, f"the gradient, averaged over {samples} copies of the picture with noise",
                 settings={"samples": samples, "noise": noise, "seed": seed})


def _run(model, x, target, categories):
    """(run, its gradients with respect to the picture)."""
    with undisturbed(model):
        run = forward(model, as_picture(model, x), target, categories)
        return run, run.gradient_of_score(run.x)


def _made(method, map, run, gradient, preset, about, **more) -> Attribution:
    picture, stretched = show_picture(numpy(run.x.detach())[0], preset)
    return Attribution(method, map, run.target, picture, about, stretched, top=high_percentile(map), top_rule=RULE, raw=gradient, **more)
