"""Net A first: the paper's way to begin the training of its deeper nets (section 3.1).

Net A is shallow enough to be trained from random weights. A deeper net then begins with A's first four convolutions and three linear layers,
and random weights between them; all of it is trained, the copied layers as fast as the others.

Conv for conv, "the first four" do not fit: A's second has 128 outputs, B's 64. They do fit by their place in the stages, which is how they are
taken here: A's conv1_1, conv2_1, conv3_1 and conv3_2 become the deeper net's layers of the same names.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from .. import models, nn, weights
from . import checkpoint
from .recipe import Recipe, RecipeError

CONVOLUTIONS, LINEAR = 4, 3
FOLDER = "net-a"


def recipe_of(recipe: Recipe) -> Recipe | None:
    """The recipe that trains net A for a recipe with ``init_from = "A"``: the same but for the net; None if its net is A already.

    Raises:
        RecipeError: if the net has no net A: its builder takes no ``config`` and is none of vgg11 … vgg19_bn.
    """
    builder = models.get_model_builder(recipe.model) if recipe.model in models.list_models() else None
    if builder is not None and "config" in inspect.signature(builder).parameters:
        changes = {"model_options": {**recipe.model_options, "config": "A"}}
    elif builder is not None and recipe.model.startswith("vgg"):
        changes = {"model": "vgg11_bn" if recipe.model.endswith("_bn") else "vgg11"}
    else:
        raise RecipeError(f"init_from: {recipe.model} has no net A to begin with; nets of the paper have (vgg16, paper_vgg, cifar_vgg, ...)")
    if all(getattr(recipe, name) == value for name, value in changes.items()):
        return None
    return recipe.replace(name=FOLDER, init_from=None, **changes)


def check(recipe: Recipe) -> None:
    """Look whether ``init_from`` is something to begin with, without reading it.

    Raises:
        RecipeError: if it names neither A nor a file or folder. WeightsError, FileNotFoundError: if there are no weights in that.
    """
    if recipe.init_from in (None, "A"):
        return
    path = Path(recipe.init_from)
    if not path.exists():
        raise RecipeError(f"init_from: there is no run, checkpoint or weights file {path} (or A, to train net A first)")
    weights.identify(str(checkpoint.find(path)))


def load_source(path):
    """The net of a run folder, a checkpoint, or a weights file of one of the paper's nets.

    Raises:
        WeightsError: if it is damaged or unknown. FileNotFoundError: if a run has no checkpoint.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".ckpt":
        return checkpoint.load_model(path)[0]
    return models.load_net(weights=str(path)).model


def copy_layers(source: nn.Module, net: nn.Module) -> list[str]:
    """Copy the first four convolutions (each with its batch norm, if both nets have one) and the last three linear layers of ``source``
    into the layers of ``net`` at the same places; layers that are missing there or have another shape stay as they are.

    Returns:
        Names of the layers of ``net`` that were filled, in order.
    """
    ours, theirs = _places(net), _places(source)
    chosen = [place for place in theirs if place[0] == "conv"][:CONVOLUTIONS] + [place for place in theirs if place[0] == "linear"]
    names = {id(module): name for name, module in net.named_modules()}
    copied = []
    for place in chosen:
        for layer, other in zip(ours.get(place, ()), theirs[place], strict=False):
            if type(layer) is type(other) and layer.weight.shape == other.weight.shape:
                layer.load_state_dict(other.state_dict())
                copied.append(names[id(layer)])
    return copied


def _places(net) -> dict[tuple, list]:
    """Layers by place: ("conv", stage, number in it) → [convolution, its batch norm if any], ("linear", number from the end) → [layer]."""
    places, stage, number, last = {}, 1, 0, None
    for layer in getattr(net, "features", ()):
        if isinstance(layer, nn.Conv2d):
            number += 1
            last = places[("conv", stage, number)] = [layer]
        elif isinstance(layer, nn.BatchNorm2d) and last is not None:
            last.append(layer)
        elif isinstance(layer, nn.MaxPool2d):
            stage, number = stage + 1, 0
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-LINEAR:]
    return places | {("linear", len(linear) - i): [layer] for i, layer in enumerate(linear)}
