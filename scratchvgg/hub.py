"""``torch.hub``'s download of weight files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .serialization import load
from .weights.download import fetch
from .weights.folders import cache_folder

_HASH = re.compile(r"-([a-f0-9]{8,})\.")


def get_dir() -> Path:
    """Where downloaded files are kept: ``$SCRATCHVGG_HOME``, else ``scratchvgg`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return cache_folder()


def load_state_dict_from_url(
    url: str, model_dir=None, map_location=None, progress: bool = True, check_hash: bool = False, file_name: str | None = None
):
    """Download a file that :func:`scratchvgg.save` wrote, unless it is in the cache, and load it.

    Args:
        url: ``http://``, ``https://`` or ``file://``.
        model_dir: folder of the cache; ``get_dir() / "checkpoints"`` by default.
        map_location: device of the Tensors.
        progress: show it on stderr.
        check_hash: the file's name ends in ``-XXXXXXXX.suffix`` with the first digits of its SHA-256: check them.
        file_name: name in the cache; the URL's by default.

    Raises:
        DownloadError: if it cannot be had; the message says what to put where.
        WeightsError: if it is not an archive of ours.
        ValueError: if ``check_hash`` finds no digits in the name.
    """
    name = file_name or Path(unquote(urlsplit(url).path)).name
    digits = _HASH.search(name)
    if check_hash and not digits:
        raise ValueError(f"load_state_dict_from_url: check_hash=True, but {name!r} carries no hash")
    folder = Path(model_dir) if model_dir else get_dir() / "checkpoints"
    path = fetch(url, folder / name, sha256_prefix=digits[1] if check_hash else None, progress=progress)
    return load(path, map_location)
