"""Where the CUDA C++ files are: inside the installed package, or in the repository beside it (editable install)."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def kernel_folder() -> Path:
    """The folder of ``.cu`` files.

    Raises:
        FileNotFoundError: if the installation has neither ``scratchvgg/_kernels`` nor a ``kernels`` folder beside the package.
    """
    candidates = _PACKAGE / "_kernels", _PACKAGE.parent / "kernels"
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no CUDA sources found; looked in {candidates[0]} and {candidates[1]}: this installation of scratchvgg is incomplete")


def kernel_sources() -> dict[str, Path]:
    """Every kernel file by its name without suffix, sorted."""
    return {path.stem: path for path in sorted(kernel_folder().glob("*.cu"))}


def kernel_source(name: str) -> str:
    """The text of ``kernels/<name>.cu``.

    Raises:
        KeyError: for an unknown name; the message lists those there are.
    """
    sources = kernel_sources()
    if name not in sources:
        raise KeyError(f"no kernel file {name!r}; there are {', '.join(sources)}")
    return sources[name].read_text(encoding="utf-8")
