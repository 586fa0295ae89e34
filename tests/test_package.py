"""The wheel: what is in it and what is not, and that it works where the repository is not."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DECOYS = [  # ignored files, as they lie about in a working tree
    "kernels/.env", "kernels/im2col.o", "scratchvgg/stale.so", "scratchvgg/ops/__pycache__/relu.cpython-311.pyc",
    "runs/last/model.npz", "data/cifar.bin",
]


def call(*command, cwd, **environment):
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the tree with ignored files strewn in."""
    pytest.importorskip("hatchling")
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    for folder in ("scratchvgg", "kernels", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for decoy in DECOYS:
        path = tree / decoy
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(tree), cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel in an empty folder."""
    target = tmp_path_factory.mktemp("installed")
    options = "--no-deps", "--no-index", "--disable-pip-version-check", "--target"
    call(sys.executable, "-m", "pip", "install", *options, str(target), str(wheel), cwd=target)
    return target


def sources(folder):
    return {str(p.relative_to(ROOT / folder)) for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def test_holds_the_package_and_the_kernels_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    wanted = {f"scratchvgg/{n}" for n in sources("scratchvgg")} | {f"scratchvgg/_kernels/{n}" for n in sources("kernels")}
    assert names == {n for n in wanted if not n.endswith((".o", ".so", ".env"))}
    assert {"scratchvgg/py.typed", "scratchvgg/_kernels/im2col.cu", "scratchvgg/train/recipes/small.toml"} <= names


def test_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (folder,) = {n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n}
    metadata = archive.read(f"{folder}/METADATA").decode()
    assert "Requires-Python: >=3.11" in metadata and "License-Expression: MIT" in metadata
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert any("numpy>=2.0" in line for line in needed) and not any(word in " ".join(needed) for word in ("torch", "cupy", "matplotlib", "pillow"))
    assert "scratchvgg = scratchvgg.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()
    assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())


FORWARD = """
import scratchvgg as sv
from scratchvgg.cuda import kernel_sources
from pathlib import Path
here = Path(sv.__file__).parent
net = sv.models.cifar_vgg("A", batch_norm=True)
out = net(sv.randn(2, 3, 32, 32))
out.sum().backward()
assert out.shape == (2, 10) and all(p.grad is not None for p in net.parameters())
assert all(path.parent == here / "_kernels" for path in kernel_sources().values()) and "im2col" in kernel_sources()
print(here)
"""


def test_works_from_another_folder(installed, tmp_path):
    run = {"cwd": tmp_path, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    assert call(sys.executable, "-c", FORWARD, **run).strip() == str(installed / "scratchvgg")
    text = call(sys.executable, "-m", "scratchvgg", "--help", **run)
    assert "train" in text and "summary" in text
    assert "138,357,544" in call(sys.executable, "-m", "scratchvgg", "summary", "vgg16", **run)
    assert (installed / "bin" / "scratchvgg").exists() or (installed / "Scripts").exists()
    assert list(tmp_path.iterdir()) == []
