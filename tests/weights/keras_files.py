"""Keras's HDF5 files of VGG's shape, small, in every layout that Keras has used."""

import numpy as np

BLOCKS = (2, 2, 3, 3, 3)  # VGG-16


def layers(width: int = 2, blocks=BLOCKS, head: bool = True) -> dict[str, dict[str, np.ndarray]]:
    """``{"block1_conv1": {"kernel": (3, 3, C, K), "bias": (K,)}, ..., "fc1": {"kernel": (in, out), ...}, ...}`` with random float32 values."""
    rng, tree, channels = np.random.default_rng(0), {}, 3
    for block, count in enumerate(blocks, 1):
        for number in range(1, count + 1):
            tree[f"block{block}_conv{number}"] = {"kernel": rng.normal(size=(3, 3, channels, width)), "bias": rng.normal(size=width)}
            channels = width
    for name, inputs, outputs in (("fc1", 49 * width, 6), ("fc2", 6, 5), ("predictions", 5, 4)) if head else ():
        tree[name] = {"kernel": rng.normal(size=(inputs, outputs)), "bias": rng.normal(size=outputs)}
    return {name: {role: array.astype(np.float32) for role, array in group.items()} for name, group in tree.items()}


def classic(path, tree, *, root: str = "", weight: str = "{layer}/{role}:0", **options):
    """Keras 1 and 2: ``weight`` gives the datasets' names, ``options`` go to h5py's ``create_dataset``."""
    import h5py

    with h5py.File(path, "w") as file:
        top = file.create_group(root) if root else file
        names = ["input_1", *tree, "flatten"]
        top.attrs["layer_names"] = [name.encode() for name in names]
        top.attrs["backend"] = b"tensorflow"
        for layer in names:
            group = top.create_group(layer)
            weights = {weight.format(layer=layer, role=role, letter={"kernel": "W", "bias": "b"}.get(role)): array
                       for role, array in tree.get(layer, {}).items()}
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, array in weights.items():
                group.create_dataset(name, data=array, **options)
    return path


def modern(path, tree, *, named: bool = False):
    """Keras 3's ``.weights.h5``: groups called by class and number; newer versions keep the layer's name as an attribute."""
    import h5py

    with h5py.File(path, "w") as file:
        count = {"conv2d": 0, "dense": 0}
        for layer, weights in tree.items():
            kind = "conv2d" if weights["kernel"].ndim == 4 else "dense"
            group = file.create_group(f"layers/{kind}" + (f"_{count[kind]}" if count[kind] else "")).create_group("vars")
            count[kind] += 1
            if named:
                group.attrs["name"] = layer
            group["0"], group["1"] = weights["kernel"], weights["bias"]
        file.create_group("layers/max_pooling2d/vars")
        file.create_group("optimizer/vars")["0"] = np.int64(7)
        file.create_group("vars")
    return path
