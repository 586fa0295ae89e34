"""The whole files that are mutated: small, with every feature of their format."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable

import numpy as np


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "features.0.weight": rng.standard_normal((4, 3, 3, 3), np.float32), "features.0.bias": rng.standard_normal(4, np.float32),
        "features.1.running_var": rng.random(4), "features.1.num_batches_tracked": np.array(7),
        "half": rng.standard_normal((2, 5)).astype(np.float16),
        "mask": rng.random(6) > 0.5, "bytes": rng.integers(0, 256, (3, 1, 2), np.uint8), "empty": np.zeros((0, 3), np.float32),
    }


def _torch_trees() -> list:
    import torch

    state = OrderedDict((name, torch.from_numpy(value)) for name, value in _arrays().items())
    state["tied"] = state["features.0.weight"]
    state["turned"] = state["half"].t()
    state["part"] = state["features.0.weight"][1:3]
    state["brain"] = state["features.0.bias"].bfloat16()
    state._metadata = OrderedDict([("", {"version": 1})])
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    wrapped = {"state_dict": layer.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5, "name": "vgg", "none": None,
               "pair": (1, -2), "large": 1 << 70, "parameter": torch.nn.Parameter(torch.ones(2)), 5: [True, False, b"bytes"]}
    return [state, wrapped]


def _torch_files(new: bool) -> list[bytes]:
    import torch

    files = []
    for tree in _torch_trees():
        file = io.BytesIO()
        torch.save(tree, file, _use_new_zipfile_serialization=new)
        files.append(file.getvalue())
    return files


def _saved(suffix: str, trees: list) -> list[bytes]:
    import tempfile
    from pathlib import Path

    import scratchvgg as sv

    with tempfile.TemporaryDirectory() as folder:
        path, files = Path(folder) / f"net{suffix}", []
        for tree in trees:
            sv.save(tree, path)
            files.append(path.read_bytes())
    return files


def _npz() -> list[bytes]:
    plain = io.BytesIO()
    np.savez(plain, **_arrays())
    tree = {"net": _arrays(), "epoch": 3, "list": [1, None, (2.5, float("nan"))], "turned": np.arange(6.0).reshape(2, 3).T, 4: "four"}
    return [*_saved(".npz", [tree]), plain.getvalue()]


def _keras() -> list[bytes]:
    import h5py

    rng, classic, new = np.random.default_rng(0), io.BytesIO(), io.BytesIO()
    layers = {"block1_conv1": (3, 3, 3, 4), "block1_conv2": (3, 3, 4, 4), "fc1": (196, 8), "predictions": (8, 5)}
    with h5py.File(classic, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for name, shape in layers.items():
            group = file.create_group(name)
            names = [f"{name}/kernel:0", f"{name}/bias:0"]
            group.attrs["weight_names"] = np.array([n.encode() for n in names])
            group[names[0]], group[names[1]] = rng.standard_normal(shape).astype("f4"), rng.standard_normal(shape[-1]).astype("f4")
    with h5py.File(new, "w") as file:
        for name, shape in layers.items():
            file[f"layers/{name}/vars/0"], file[f"layers/{name}/vars/1"] = rng.standard_normal(shape).astype("f4"), np.zeros(shape[-1], "f4")
    return [classic.getvalue(), new.getvalue()]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "torch": lambda: _torch_files(True) + _saved(".pth", [{"net": _arrays(), "epoch": 3}]),
    "torch-legacy": lambda: _torch_files(False),
    "safetensors": lambda: _saved(".safetensors", [_arrays()]),
    "npz": _npz,
    "keras": _keras,
}
