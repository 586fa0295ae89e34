"""``torch.hub``'s download of weight files, with a mirror where the network has none.

``SCRATCHVGG_MIRROR`` takes the place of ``https://download.pytorch.org/models``: an ``http``, ``https`` or ``file`` URL, or a folder, that holds
files of the same names.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .serialization import load
from .weights.download import DownloadError, fetch
from .weights.folders import cache_folder

ORIGIN = "https://download.pytorch.org/models"
MIRROR = "SCRATCHVGG_MIRROR"
_HASH = re.compile(r"-([a-f0-9]{8,})\.")


def get_dir() -> Path:
    """Where downloaded files are kept: ``$SCRATCHVGG_HOME``, else ``scratchvgg`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return cache_folder()


def mirrored(url: str) -> str:
    """``url``, or its place on the mirror if ``$SCRATCHVGG_MIRROR`` names one and ``url`` lies under :data:`ORIGIN`."""
    mirror = os.environ.get(MIRROR, "").strip()
    if not mirror or not url.startswith(ORIGIN + "/"):
        return url
    base = mirror if urlsplit(mirror).scheme in ("http", "https", "file") else Path(mirror).expanduser().absolute().as_uri()
    return base.rstrip("/") + url[len(ORIGIN):]


def download(url: str, model_dir=None, progress: bool = True, check_hash: bool = False, file_name: str | None = None) -> Path:
    """The path of a file of the cache, which is fetched if it is not there; arguments and errors as :func:`load_state_dict_from_url`.

    With ``check_hash`` the digits are compared with the whole file, whether it comes now, came before or was put there by hand.
    """
    name = file_name or Path(unquote(urlsplit(url).path)).name
    digits = _HASH.search(name)
    if check_hash and not digits:
        raise ValueError(f"load_state_dict_from_url: check_hash=True, but {name!r} carries no hash")
    folder, source = Path(model_dir) if model_dir else get_dir() / "checkpoints", mirrored(url)
    try:
        return fetch(source, folder / name, sha256_prefix=digits[1] if check_hash else None, progress=progress)
    except DownloadError as error:
        if source == url:
            raise
        raise DownloadError(f"{error} ({MIRROR} is set; the file's own place is {url}.)") from error


def load_state_dict_from_url(
    url: str, model_dir=None, map_location=None, progress: bool = True, check_hash: bool = False, file_name: str | None = None,
    weights_only: bool = True,
):
    """Download a file of weights, unless it is in the cache, and load it.

    Args:
        url: ``http://``, ``https://`` or ``file://``, of a file in any format that :func:`scratchvgg.load` reads.
        model_dir: folder of the cache; ``get_dir() / "checkpoints"`` by default.
        map_location: device of the Tensors.
        progress: show it on stderr.
        check_hash: the file's name ends in ``-XXXXXXXX.suffix`` with the first digits of its SHA-256: check them.
        file_name: name in the cache; the URL's by default.
        weights_only: as in torch; no format that is read here can hold more.

    Raises:
        DownloadError: if it cannot be had; the message says what to put where.
        WeightsError: if it cannot be read.
        ValueError: if ``check_hash`` finds no digits in the name.
    """
    return load(download(url, model_dir, progress, check_hash, file_name), map_location)
