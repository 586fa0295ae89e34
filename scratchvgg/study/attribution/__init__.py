"""Which part of a picture speaks for a class: six methods, what they cannot tell, and the check that shows it.

    maps = attribution.attribute(model, x, "dog", methods=("grad-cam", "guided"), preset=net.preset, categories=net.categories)
    maps["grad-cam"].map                     # (H, W)
    attribution.METHODS["occlusion"](model, x, patch=32)

Every method has the arguments ``(model, x, target=None, *, preset=None, categories=None, …)`` and returns an
:class:`~scratchvgg.study.attribution.result.Attribution`. The net is left as it was.

Maps are computed in the net's type. In float64 they equal PyTorch's to 1e-14. In float32 a ReLU or a pooling now and then decides otherwise on a
rounding error, in every implementation: in VGG-16 at 224×224, of single pixels' gradients, PyTorch is off by up to 7e-2 of the largest, this library
by 3e-2 (in the 2-norm both by 1e-2), of the guided gradient by 2e-2 and 2e-3. Grad-CAM, which looks at few layers, agrees to 2e-6.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from ..classes import near_names
from ..errors import StudyError
from .grad_cam import grad_cam
from .gradient import gradient_input, saliency, smoothgrad
from .guided import guided_backpropagation
from .occlusion import occlusion
from .result import Attribution, Attributions

METHODS: dict[str, Callable[..., Attribution]] = {
    "gradient": saliency,
    "gradient-input": gradient_input,
    "smoothgrad": smoothgrad,
    "guided": guided_backpropagation,
    "grad-cam": grad_cam,
    "occlusion": occlusion,
}


def find_methods(names: str | Sequence[str]) -> list[str]:
    """Names of :data:`METHODS` in the given order, each once; a text has commas between them, and ``"all"`` is all.

    Raises:
        StudyError: for an unknown name, or none.
    """
    import difflib

    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    names = list(METHODS) if names == ["all"] else names
    for name in names:
        if name not in METHODS:
            near = near_names(difflib.get_close_matches(name, METHODS, 2, 0.4))
            raise StudyError(f"methods: there is no method {name!r}{near} (there are {', '.join(METHODS)})")
    if not names:
        raise StudyError(f"methods: expected one or more of {', '.join(METHODS)}")
    return list(dict.fromkeys(names))


def attribute(model, x, target=None, *, methods="grad-cam,guided,gradient", note: str = "", progress=None, **options) -> Attributions:
    """Several methods on one picture, for one class.

    Args:
        model, x, target: as for each method; the class that is likeliest is followed by all of them.
        methods: names of :data:`METHODS`, a sequence or with commas.
        note: a sentence to show above the maps.
        progress: called with lines of text.
        options: ``preset`` and ``categories``, and options of methods (``layer``, ``patch`` …): each goes to those that know it.

    Raises:
        StudyError: also for an option that none of the methods knows.
    """
    names = find_methods(methods)
    known = {name: inspect.signature(METHODS[name]).parameters for name in names}
    for option in options:
        if not any(option in parameters for parameters in known.values()):
            raise StudyError(f"attribute: none of {', '.join(names)} has an option {option!r}")
    options["progress"] = progress
    maps = []
    for name in names:
        if progress:
            progress(name)
        maps.append(METHODS[name](model, x, target, **{key: value for key, value in options.items() if key in known[name]}))
    return Attributions(maps, note)
