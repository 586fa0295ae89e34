"""``import scratchvgg``: what it brings, what it leaves out, how long it takes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scratchvgg as sv
from scratchvgg.autograd import ops

FORBIDDEN = {"torch", "cupy", "matplotlib", "PIL", "rich", "hypothesis", "scipy", "ml_dtypes"}


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_everything_named_is_there():
    assert all(getattr(sv, name) is not None for name in sv.__all__)
    assert set(sv.__all__) <= set(dir(sv)) and len(set(sv.__all__)) == len(sv.__all__)


def test_every_operation_is_a_function_here():
    hidden = {"backward", "getitem", "setitem_"}
    assert set(ops.names()) - hidden <= set(sv.__all__)
    assert all(getattr(sv, name) is getattr(ops, name) for name in set(ops.names()) - hidden)


def test_torch_has_the_same_names(torch):
    """What torch has at its top level under our names is the same kind of thing."""
    dtypes = ["float32", "float64", "float16", "half", "float", "double", "uint8", "int8", "int16", "short", "int32", "int", "int64", "long", "bool"]
    for name in dtypes:
        assert getattr(sv, name).name == str(getattr(torch, name)).removeprefix("torch."), name
    for name in ("Tensor", "Size", "Generator", "dtype", "device", "no_grad", "enable_grad", "inference_mode", "set_grad_enabled"):
        assert isinstance(getattr(sv, name), type) and isinstance(getattr(torch, name), type), name
    assert (sv.inf, sv.pi, sv.e) == (torch.inf, torch.pi, torch.e)


def test_submodule_imports():
    import scratchvgg.nn as nn
    import scratchvgg.nn.functional as F
    import scratchvgg.nn.init as init
    import scratchvgg.optim as optim
    from scratchvgg import Tensor, models
    from scratchvgg.nn import functional
    from scratchvgg.optim.lr_scheduler import OneCycleLR

    assert F is functional is nn.functional and init is nn.init and Tensor is sv.Tensor
    assert sv.nn is nn and sv.optim is optim and sv.models is models and optim.lr_scheduler.OneCycleLR is OneCycleLR


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'resnet'"):
        sv.resnet  # noqa: B018


def test_version_is_the_packages():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert sv.__version__ == project["version"]


def test_import_brings_no_optional_library():
    loaded = run("import sys, scratchvgg, scratchvgg.nn, scratchvgg.models, scratchvgg.optim; print(*sys.modules)").split()
    assert not FORBIDDEN & {name.partition(".")[0] for name in loaded}


def test_subpackages_wait_until_they_are_used():
    program = "import sys, scratchvgg as sv; a = 'scratchvgg.models' in sys.modules; sv.models; print(a, 'scratchvgg.models' in sys.modules)"
    assert run(program).split() == ["False", "True"]


def test_import_is_fast():
    """0.3 s on top of NumPy. Processor time, the best of three: the machine may be busy with other things."""
    program = "import time, numpy; t = time.process_time(); import scratchvgg; print(time.process_time() - t)"
    assert min(float(run(program)) for _ in range(3)) < 0.3


def test_save_and_load_a_state_dict(tmp_path):
    model = sv.nn.Sequential(sv.nn.Conv2d(3, 4, 3), sv.nn.BatchNorm2d(4))
    sv.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "model.npz")
    saved = sv.load(tmp_path / "model.npz")
    twin = sv.nn.Sequential(sv.nn.Conv2d(3, 4, 3), sv.nn.BatchNorm2d(4))
    assert saved["epoch"] == 3 and twin.load_state_dict(saved["model"]).missing_keys == []
    assert all(sv.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
