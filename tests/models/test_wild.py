"""VGG files as found in the wild run unchanged when their import lines name scratchvgg instead of torch."""

from __future__ import annotations

import re
import types
from pathlib import Path

import numpy as np
import pytest

import scratchvgg as sv

torch = pytest.importorskip("torch")

WILD = Path(__file__).parent / "wild"
BUILDERS = {
    "modern": lambda file: file.small_vgg(dropout=0.0),
    "modern, batch norm": lambda file: file.small_vgg_bn(num_classes=7, dropout=0.0),
    "older": lambda file: file.VGG(drop=0.0),
    "older, batch norm": lambda file: file.VGG(bn=True, num_class=7, drop=0.0),
}


def load(name: str, library: str) -> types.ModuleType:
    """The file as a module, with ``torch`` replaced by ``library`` in the import lines."""
    source = (WILD / f"{name}.py").read_text()
    if library != "torch":
        source = re.sub(r"^import torch$", f"import {library} as torch", source, flags=re.M)
        source = re.sub(r"^(import|from) torch\b", rf"\1 {library}", source, flags=re.M)
        assert not re.search(r"^(import|from) torch\b", source, flags=re.M)
    module = types.ModuleType(f"{name}_on_{library}")
    exec(compile(source, f"{name}.py on {library}", "exec"), module.__dict__)
    return module


def pictures(n, size=32):
    rng = np.random.default_rng(5)
    return rng.normal(0.4, 0.3, (n, 3, size, size)).astype("f4"), rng.integers(0, 7, n)


@pytest.mark.parametrize("title", BUILDERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("f8", 1e-9), ("f4", 2e-3)])
def test_same_loss_trajectory(title, dtype, tolerance):
    name = title.partition(",")[0]
    ours, theirs = load(name, "scratchvgg"), load(name, "torch")
    model, reference = BUILDERS[title](ours), BUILDERS[title](theirs)
    assert list(model.state_dict()) == list(reference.state_dict())
    assert [n for n, _ in model.named_buffers()] == [n for n, _ in reference.named_buffers()]
    assert str(model) == str(reference) and repr(model) == repr(reference)
    model.load_state_dict(reference.state_dict())
    x, y = pictures(6)
    x = x.astype(dtype)
    if dtype == "f8":
        model.double()
        reference.double()
    mine = ours.fit(model, sv.tensor(x), sv.tensor(y))
    expected = theirs.fit(reference, torch.tensor(x), torch.tensor(y))
    np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)
    assert len(set(mine)) > 5, "the loss must move"


@pytest.mark.parametrize("title", BUILDERS)
def test_their_initialisation_runs_and_spreads_as_theirs(title):
    name = title.partition(",")[0]
    mine, expected = BUILDERS[title](load(name, "scratchvgg")), BUILDERS[title](load(name, "torch"))
    for (key, p), q in zip(mine.named_parameters(), expected.parameters(), strict=True):
        a, b = p.detach().numpy(), q.detach().numpy()
        assert a.shape == b.shape and abs(a.std() - b.std()) <= 0.3 * b.std() + 1e-9, key
