"""Weights by name: what ``state_dict`` returns and ``load_state_dict`` takes back."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

from ..autograd import Size, Tensor, as_tensor
from ..weights import layouts
from .parameter import Parameter


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What :meth:`Module.load_state_dict` could not match: two lists of keys."""

    __slots__ = ()

    def __repr__(self):
        return super().__repr__() if self.missing_keys or self.unexpected_keys else "<All keys matched successfully>"


def collect(module, destination=None, prefix: str = "", keep_vars: bool = False):
    """Parameters and persistent buffers by their dotted names, module by module in the order of registration."""
    destination = OrderedDict() if destination is None else destination
    for key, owner, name in _entries(module, prefix):
        value = getattr(owner, name)
        destination[key] = value if keep_vars else value.detach()
    return destination


def load(module, state_dict, strict: bool = True, assign: bool = False) -> IncompatibleKeys:
    """Copy ``state_dict`` into ``module``; nothing is copied if anything is wrong. See :meth:`Module.load_state_dict`.

    Names are taken as they are. Only where they do not fit (with ``strict=False``: where none does) is the dict read as what a file of
    another kind holds: wrapped, prefixed, in timm's or Keras' layout (:mod:`scratchvgg.weights.layouts`).
    """
    if not hasattr(state_dict, "keys"):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
    entries = list(_entries(module, ""))
    state_dict, note = _read_for(entries, state_dict, strict)
    missing, problems, pairs, known = [], [], [], set()
    for key, owner, name in entries:
        known.add(key)
        if key not in state_dict:
            if name not in owner._may_be_missing:
                missing.append(key)
            continue
        mine, value = getattr(owner, name), _as_tensor(state_dict[key])
        if value is None:
            problems.append(
                f'While copying the parameter named "{key}", expected a Tensor or an array from checkpoint but received {type(state_dict[key])}'
            )
            continue
        if mine.ndim == 0 and value.shape == (1,):
            value = Tensor.wrap(value.backend, value.array.reshape(()))
        if value.shape != mine.shape:
            problems.append(
                f"size mismatch for {key}: copying a param with shape {Size(value.shape)} from checkpoint, "
                f"the shape in current model is {mine.shape}."
            )
            continue
        pairs.append((owner, name, mine, value))
    unexpected = [key for key in state_dict if key not in known]
    if strict and unexpected:
        problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
    if strict and missing:
        problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    if problems:
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t" + "\n\t".join(problems + note))
    for owner, name, mine, value in pairs:
        if assign:
            setattr(owner, name, Parameter(value, mine.requires_grad) if isinstance(mine, Parameter) else value.detach())
        else:
            with mine.backend.quiet():
                mine.array[...] = mine.backend.asarray(value.array if value.backend.xp is mine.backend.xp else value.backend.to_numpy(value.array))
            mine.version.value += 1
    return IncompatibleKeys(missing, unexpected)


def _read_for(entries, state_dict, strict):
    """(the dict in the reading that fits these entries best, lines that say how it was read)."""
    known = {key: name in owner._may_be_missing for key, owner, name in entries}
    if strict and all(key in state_dict or optional for key, optional in known.items()) and all(key in known for key in state_dict):
        return state_dict, []
    if not strict and any(key in state_dict for key in known):
        return state_dict, []
    adapted = layouts.adapt(state_dict, {key: tuple(getattr(owner, name).shape) for key, owner, name in entries})
    about = layouts.describe(state_dict)
    if adapted is None:
        return state_dict, [f"What was given looks like this: {about}."] if about not in ("", "layout 'torchvision'") else []
    return adapted, [f"The state dict was read so: {about}."]


def _entries(module, prefix):
    """(dotted key, owner, attribute) of every entry. A module that hangs in two places has two sets of keys, as in torch."""
    for name, value in module._parameters.items():
        if value is not None:
            yield prefix + name, module, name
    for name, value in module._buffers.items():
        if value is not None and name not in module._non_persistent_buffers_set:
            yield prefix + name, module, name
    for name, child in module._modules.items():
        if child is not None:
            yield from _entries(child, f"{prefix}{name}.")


def _as_tensor(value):
    """Tensors as they are, arrays and tensors of other libraries without a copy, None for anything else."""
    if isinstance(value, Tensor):
        return value
    return as_tensor(value.detach().cpu().numpy() if hasattr(value, "detach") else value) if hasattr(value, "__array__") else None


def _quoted(keys):
    return ", ".join(f'"{key}"' for key in keys)
