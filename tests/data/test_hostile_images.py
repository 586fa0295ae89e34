"""Files that are no pictures, broken ones and bombs: each is refused by name, at once, in little memory, and nothing of Pillow's is left changed."""

import io
import os
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest

from scratchvgg.data import DataError, ImageFolder, read_picture

Image = pytest.importorskip("PIL.Image")
from PIL import ImageFile, PngImagePlugin  # noqa: E402

from . import picture_files  # noqa: E402

PIXELS = np.random.default_rng(7).integers(0, 256, (37, 53, 3), np.uint8)  # H, W, C


def written(tmp_path, content, name="x.png"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def refused(path, reason):
    """The reason, which names the file, comes at once."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError) as caught:
            read_picture(path)
    assert time.perf_counter() - started < 1
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and reason in message and "\n" not in message
    return message


def test_what_is_no_picture(tmp_path):
    refused(tmp_path / "none.jpg", "there is no such file")
    refused(tmp_path, "it is a folder")
    refused(written(tmp_path, b"", "empty.jpg"), "it is empty")
    refused(written(tmp_path, b"hello" * 99, "text.jpg"), "none of AVIF, BMP")
    refused(written(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "program.jpg"), "none of")
    refused(tmp_path / "a\0b.jpg", "null")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "cannot be read")
    with pytest.raises(TypeError):
        read_picture(3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "no regular file")
    refused("/dev/zero", "no regular file")


def test_no_permission(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(PIXELS))

    def denied(*args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", denied)
    refused(path, "Permission denied")


def test_a_huge_file_is_not_taken_in(tmp_path):
    with open(tmp_path / "x.webp", "wb") as file:
        file.write(picture_files.webp(9, 9))
        file.truncate(1 << 40)  # a hole
    refused(tmp_path / "x.webp", "1,099,511,627,776 bytes, the limit is 536,870,912")


@pytest.mark.parametrize("extension", picture_files.HEADERS)
@pytest.mark.parametrize("sides", [(10_000, 10_000), (16_000, 16_000)], ids=["above the limit", "above twice the limit"])
def test_bombs_are_refused_by_their_header(tmp_path, extension, sides):
    refused(written(tmp_path, picture_files.HEADERS[extension](*sides), f"x.{extension}"), "pixels")


def test_a_whole_picture_above_the_limit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(PIXELS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 37 * 53 - 1)
    assert "53 × 37 pixels are more than the 1,960" in refused(path, "MAX_IMAGE_PIXELS")
    with warnings.catch_warnings(), pytest.raises(DataError, match="exceeds limit"):
        warnings.simplefilter("error")
        read_picture(path)
    for limit in (37 * 53, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_picture(path).size == (53, 37)


def test_text_that_unpacks_to_more_than_it_should(tmp_path):
    zeros = zlib.compress(bytes(50 << 20), 9)
    for name, chunk in {"zTXt": b"key\0\0" + zeros, "iTXt": b"key\0\1\0\0\0" + zeros}.items():
        refused(written(tmp_path, picture_files.png(1, 1, (name.encode(), chunk), rows=b"\0\0")), "too large")
    several = [(b"zTXt", b"key%d\0\0" % i + zlib.compress(bytes(1_000_000), 9)) for i in range(80)]
    refused(written(tmp_path, picture_files.png(1, 1, *several, rows=b"\0\0")), "Too much memory")
    assert np.asarray(read_picture(written(tmp_path, picture_files.png(1, 1, (b"tEXt", b"key\0value"), rows=b"\0\7")))).tolist() == [[[7, 7, 7]]]


def test_a_jpeg_of_very_many_scans(tmp_path):
    refused(written(tmp_path, picture_files.progressive_jpeg(8000, 8000, 50_000), "x.jpg"), "50,000 scans, the limit is 500")
    assert np.asarray(read_picture(written(tmp_path, picture_files.progressive_jpeg(80, 60, 400), "x.jpg"))).shape == (60, 80, 3)


MEASURED = """
import sys, resource, warnings
import PIL.Image
from scratchvgg.data import DataError, read_picture
warnings.simplefilter("ignore")
PIL.Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_picture(path)
        sys.exit(f"{path} was read")
    except DataError:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB is Linux's")
def test_bombs_take_little_memory(tmp_path):
    makers = picture_files.HEADERS.items()
    paths = [written(tmp_path, make(16_000, side), f"{side}.{extension}") for extension, make in makers for side in (6000, 16_000)]
    zeros = zlib.compress(bytes(200 << 20), 9)
    paths += [written(tmp_path, picture_files.png(1, 1, (b"zTXt", b"key\0\0" + zeros), rows=b"\0\0"), "text.png")]
    done = subprocess.run([sys.executable, "-c", MEASURED, *map(str, paths)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 50, "MiB"


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "progressive.jpg", "x.gif", "x.bmp", "x.webp", "x.tif", "x.ppm"])
def test_what_is_cut_short_is_named(tmp_path, name):
    whole = saved(tmp_path, Image.fromarray(PIXELS), name, **({"progressive": True} if name.startswith("p") else {})).read_bytes()
    for part in (0.1, 0.5, 0.9):
        refused(written(tmp_path, whole[:int(part * len(whole))], name), "it cannot be read as a picture")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.bmp", "x.webp", "x.tif", "x.ppm"])
def test_changed_bytes_end_in_a_picture_or_a_named_error(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved(tmp_path, Image.fromarray(PIXELS[:16, :16]), name, **({} if name[2:] in ("gif", "bmp", "ppm") else {"exif": exif})).read_bytes()
    rng, wrong = np.random.default_rng(len(whole)), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            data = bytearray(whole)
            for place in rng.integers(0, min(len(data), 200), 3):
                data[place] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
            try:
                assert read_picture(written(tmp_path, data, name)).mode == "RGB"
            except DataError as error:
                wrong += 1
                assert name in str(error)
    assert wrong > 10


# ---- Pillow's globals, threads, folders ------------------------------------------------------------------------------


def pillow_flags():
    return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK, PngImagePlugin.MAX_TEXT_CHUNK,
            PngImagePlugin.MAX_TEXT_MEMORY, Image.WARN_POSSIBLE_FORMATS, list(warnings.filters))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_globals_stay_and_threads_agree(tmp_path):
    files = [saved(tmp_path, Image.fromarray(PIXELS[:, i:]), f"{i}.png") for i in range(6)]
    files += [written(tmp_path, files[0].read_bytes()[:100 + i], f"cut{i}.png") for i in range(3)]
    files += [written(tmp_path, picture_files.png(10_000, 10_000), "bomb.png")]
    before, found = pillow_flags(), []

    def many():
        for _ in range(5):
            for path in files:
                try:
                    found.append((path, read_picture(path).tobytes()))
                except DataError as error:
                    found.append((path, str(error)))

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200 and len(set(found)) == len(files) and pillow_flags() == before
    assert sum(isinstance(result, str) for _, result in set(found)) == 4


def test_the_picture_outlives_its_file(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS))
    result = read_picture(path)
    path.unlink()
    assert np.array_equal(np.asarray(result), PIXELS)


def test_a_folder_run_names_the_broken_one(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        saved(tmp_path, Image.fromarray(PIXELS), name)
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    written(tmp_path, stream.getvalue()[:200], "a/2.png")
    dataset = ImageFolder(tmp_path, size=8)
    assert dataset[0][0].shape == dataset[2][0].shape == (3, 8, 8)
    with pytest.raises(DataError, match=r"2\.png"):
        dataset[1]
