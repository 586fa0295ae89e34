"""Checkpoints: everything a run needs to go on bit for bit, in one archive written atomically.

====================  ======================================================================================
``model``             parameters and buffers
``optimizer``         momentum and step counts
``schedule``          the step of the learning rate; of a plateau also the best accuracy and the tests since
``average``           EMA or Lookahead weights, or None
``scaler``            scale and count of good steps of float16 runs, else empty
``progress``          epoch, batches done in it, step, running sums, best result, seconds, lengths of metrics.jsonl and record.jsonl
``random``            the default generator (dropout) and the loader's seed; batches follow from seed, epoch and batch
``threads``           CPU threads: sums may round differently with another number
``algorithms``        the convolution algorithm of each pass of each problem met
``recipe`` ``data``   what is trained on what (classes, mean, std, image shape)
``version``           of scratchvgg
====================  ======================================================================================
"""

from __future__ import annotations

from pathlib import Path

from ..weights.archive import load_tree, save_tree
from ..weights.errors import WeightsError
from . import build, recipe

FORMAT = 1
_PARTS = {"model": dict, "optimizer": dict, "schedule": dict, "progress": dict, "random": dict, "threads": int, "algorithms": dict,
          "recipe": dict, "data": dict, "version": str}


def save(path, state: dict) -> None:
    """Write a trainer's state to ``path``; the old file stays until the new one is whole."""
    save_tree(path, {"format": FORMAT, **state})


def load(path) -> dict:
    """Read what :func:`save` wrote.

    Raises:
        WeightsError: if it is damaged, or no checkpoint of a training. OSError: if it cannot be opened.
    """
    state = load_tree(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise WeightsError(f"{path}: no training checkpoint (expected format {FORMAT})")
    for part, kind in _PARTS.items():
        if not isinstance(state.get(part), kind):
            raise WeightsError(f"{path}: no training checkpoint: {part!r} is missing or malformed")
    return state


def find(path) -> Path:
    """The checkpoint file meant by a run folder (its best, else its last) or by a file.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    for name in ("best.ckpt", "last.ckpt"):
        if (path / name).is_file():
            return path / name
    missing = "checkpoint in it (best.ckpt, last.ckpt)" if path.is_dir() else "such file or folder"
    raise FileNotFoundError(f"{path}: there is no {missing}")


def load_model(path):
    """The net of a run folder or checkpoint file, as it was tested: with the average of its weights if the recipe has ``ema``.

    Returns:
        (model in evaluation mode, state): ``state["data"]`` has classes, mean, std and image shape.

    Raises:
        WeightsError: if the file is damaged or its weights do not fit the net it names. FileNotFoundError: if it is missing.
    """
    path = find(path)
    state = load(path)
    try:
        net = build.model(recipe.from_dict(state["recipe"]), len(state["data"]["classes"]))
        net.load_state_dict(state["model"])
        if state["recipe"]["ema"] is not None:
            net.load_state_dict(state["average"]["averages"], strict=False)
    except (RuntimeError, KeyError, TypeError, recipe.RecipeError) as error:
        raise WeightsError(f"{path}: {error}") from error
    return net.eval(), state
