"""Reading, scaling and cropping pictures: torchvision's bits, and every mode that Pillow has."""

import os
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

from scratchvgg.data import DataError, read_image, read_picture
from scratchvgg.data import images as reader
from scratchvgg.data.images import center_crop, five_crop, list_pictures, resize_shorter, resized_size, ten_crop, to_array, to_picture, to_rgb
from tests.torchvision_reference import torchvision

Image = pytest.importorskip("PIL.Image")
from PIL import ImageOps, features  # noqa: E402

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (37, 53, 3), np.uint8)  # H, W, C


def picture(width, height):
    return Image.fromarray(np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), np.uint8))


def same(a, b):
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


# ---- scaling and cropping --------------------------------------------------------------------------------------------

SIDES = (1, 2, 3, 7, 31, 32, 33, 100, 223, 224, 225, 255, 256, 257, 333, 375, 499, 500, 1024)
RECORDED = {  # ((W, H), size): (W, H), from torchvision 0.28
    ((500, 375), 256): (341, 256), ((375, 500), 256): (256, 341), ((500, 333), 256): (384, 256), ((499, 333), 256): (383, 256),
    ((333, 333), 256): (256, 256),
    ((1600, 1200), 224): (298, 224), ((7, 1000), 31): (31, 4428), ((3, 1), 384): (1152, 384), ((3, 2), 5): (7, 5), ((29, 41), 29): (29, 41),
    ((4032, 3024), 512): (682, 512), ((61, 67), 33): (33, 36),
}


def test_sizes_are_torchvisions(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    functional = torchvision().transforms.functional
    for width in SIDES:
        for height in SIDES:
            for size in (1, 5, 32, 224, 256, 257, 384, 512):
                expected = functional._compute_resized_output_size((height, width), [size])
                assert list(resized_size(width, height, size)[::-1]) == expected, (width, height, size)
    for (sides, size), expected in RECORDED.items():
        assert functional._compute_resized_output_size(sides[::-1], [size]) == list(expected[::-1])


@pytest.mark.parametrize(("sides", "size"), RECORDED, ids=str)
def test_recorded_sizes(sides, size):
    assert resized_size(*sides, size) == resize_shorter(picture(*sides), size).size == RECORDED[sides, size]
    assert resized_size(*sides[::-1], size) == RECORDED[sides, size][::-1]


@pytest.mark.parametrize("sides", [(500, 375), (375, 500), (63, 211), (211, 64), (33, 33), (1, 9), (257, 300), (2, 3)], ids=str)
@pytest.mark.parametrize("size", [32, 33, 224, 256])
def test_resized_pixels_are_torchvisions(sides, size):
    functional, image = torchvision().transforms.functional, picture(*sides)
    assert same(resize_shorter(image, size), functional.resize(image, size, antialias=True))


def test_pixels_of_a_ramp():
    """Bilinear with antialias: each of two output pixels is the mean of its side, with a triangle's weights over the whole support."""
    ramp = Image.fromarray(np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 3, 2).repeat(8, 0))
    weights = np.maximum(0, 1 - np.abs(np.arange(8) + 0.5 - 2) / 4)
    left = weights @ np.arange(0, 80, 10) / weights.sum()
    assert np.abs(np.asarray(resize_shorter(ramp, 2))[..., 0] - [left, 70 - left]).max() <= 0.5


@pytest.mark.parametrize("crop", [1, 2, 5, 32, 33, (4, 7), (31, 2), (40, 9), (9, 40), (33, 34)], ids=str)
def test_crops_are_torchvisions(crop):
    functional = torchvision().transforms.functional
    pair = [crop, crop] if isinstance(crop, int) else list(crop)
    for sides in [(w, h) for w in (1, 5, 6, 31, 32, 33, 36, 37) for h in (2, 4, 30, 31, 32, 35)]:
        image = picture(*sides)
        assert same(center_crop(image, crop), functional.center_crop(image, pair)), sides
        if pair[0] <= sides[1] and pair[1] <= sides[0]:
            for ours, theirs in ((five_crop, functional.five_crop), (ten_crop, functional.ten_crop)):
                assert all(same(a, b) for a, b in zip(ours(image, crop), theirs(image, pair), strict=True)), sides
        else:
            with pytest.raises(ValueError, match="larger than the picture"):
                ten_crop(image, crop)


def test_crops_without_torchvision():
    image = picture(11, 8)
    pixels = np.asarray(image)
    assert np.array_equal(center_crop(image, 5), pixels[2:7, 3:8])  # (8 − 5) / 2 = 1.5 becomes 2
    assert np.array_equal(center_crop(image, (3, 8)), pixels[2:5, 2:10])  # 2.5 becomes 2: to even
    padded = np.asarray(center_crop(image, (11, 14)))
    assert np.array_equal(padded[1:9, 1:12], pixels) and padded.sum(dtype=int) == pixels.sum(dtype=int)  # less of an odd padding at top and left
    tl, tr, bl, br, middle = (np.asarray(crop) for crop in five_crop(image, 4))
    assert np.array_equal(tl, pixels[:4, :4]) and np.array_equal(tr, pixels[:4, 7:]) and np.array_equal(bl, pixels[4:, :4])
    assert np.array_equal(br, pixels[4:, 7:]) and np.array_equal(middle, pixels[2:6, 4:8])
    assert np.array_equal(np.asarray(ten_crop(image, 4)[5]), pixels[:4, ::-1][:, :4]) and len(ten_crop(image, 4)) == 10


@pytest.mark.parametrize("size", [0, -1, 2.5, True, (3,), (3, 0), (1, 2, 3), "5"], ids=str)
def test_unusable_sizes_are_named(size):
    for crop in (center_crop, five_crop, ten_crop):
        with pytest.raises(ValueError, match="size"):
            crop(picture(9, 9), size)
    with pytest.raises(ValueError, match="size"):
        resize_shorter(picture(9, 9), size)


def test_a_thin_picture_does_not_become_a_bomb(tmp_path):
    thin = picture(1, 400_000)
    with pytest.raises(DataError, match=r"from 1 × 400000 to 256 × 102,400,000"):
        resize_shorter(thin, 256)
    path = saved(tmp_path, thin)
    with pytest.raises(DataError, match=r"x\.png: scaled from 1 × 400000"):
        read_image(path, 256)
    assert resize_shorter(thin, 1).size == (1, 400_000)


def test_arrays_and_back():
    array = to_array(Image.fromarray(PIXELS))
    assert array.dtype == np.uint8 and array.shape == (3, 37, 53) and array.flags.c_contiguous and array.flags.writeable
    assert np.array_equal(array, PIXELS.transpose(2, 0, 1)) and np.array_equal(np.asarray(to_picture(array)), PIXELS)
    for wrong in (array[0], array[:2], array.astype(np.float32), PIXELS, [1]):
        with pytest.raises(ValueError, match=r"expected uint8 \(3, H, W\)"):
            to_picture(wrong)


# ---- modes -----------------------------------------------------------------------------------------------------------


def read(path):
    result = read_picture(path)
    assert result.mode == "RGB"
    return np.asarray(result)


@pytest.mark.parametrize("extension", ["png", "bmp", "ppm", "tif", "webp", "gif", "jpg"])
def test_formats(tmp_path, extension):
    options = {"lossless": True} if extension == "webp" else {}
    path = saved(tmp_path, Image.fromarray(PIXELS), f"x.{extension}", **options)
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(read(path), expected)
    if extension not in ("gif", "jpg"):
        assert np.array_equal(expected, PIXELS)
    os.rename(path, tmp_path / "x.dat")
    assert np.array_equal(read(tmp_path / "x.dat"), expected)  # the content says what it is
    assert np.array_equal(read(os.fsencode(tmp_path / "x.dat")), expected)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (40, 30), (200, 100, 50)), "x.avif")
    assert np.abs(read(path).astype(int) - (200, 100, 50)).max() < 8


GREY = PIXELS[..., 0]


@pytest.mark.parametrize(("mode", "name"), [
    ("1", "x.png"), ("1", "x.tif"), ("L", "x.png"), ("L", "x.jpg"), ("LA", "x.png"), ("RGBA", "x.png"), ("RGBA", "x.tif"), ("RGBA", "x.webp"),
    ("CMYK", "x.tif"), ("CMYK", "x.jpg"), ("YCbCr", "x.tif"), ("YCbCr", "x.jpg"), ("RGBX", "x.tif"), ("PA", "x.tif"), ("P", "x.gif"), ("P", "x.bmp"),
])
def test_modes_that_pillow_converts(tmp_path, mode, name):
    image = Image.fromarray(PIXELS)
    if "A" in mode:
        image.putalpha(Image.fromarray(PIXELS[..., 1]))
    options = {"compression": "tiff_lzw"} if (mode, name) == ("YCbCr", "x.tif") else {}  # uncompressed ones Pillow 12 writes, but cannot read
    path = saved(tmp_path, image.convert(mode), name, **options)
    opened = Image.open(path)
    expected = opened.convert("RGBA").convert("RGB") if opened.mode in ("P", "PA") else opened.convert("RGB")
    assert np.array_equal(read(path), np.asarray(expected))


def test_alpha_is_dropped_and_not_blended(tmp_path):
    grey = Image.fromarray(GREY).convert("LA")
    grey.putalpha(Image.fromarray(GREY // 2))
    assert np.array_equal(read(saved(tmp_path, grey, "a.png")), np.dstack([GREY] * 3))
    assert np.array_equal(read(saved(tmp_path, Image.fromarray(np.dstack([PIXELS, GREY])), "b.png")), PIXELS)
    assert np.array_equal(read(saved(tmp_path, Image.fromarray(PIXELS), "c.png", transparency=(1, 2, 3))), PIXELS)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(16))], ids=["opaque", "one colour", "each colour"])
def test_palettes(tmp_path, transparency):
    palette = Image.fromarray(PIXELS).quantize(16)
    path = saved(tmp_path, palette, **({} if transparency is None else {"transparency": transparency}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read(path), np.asarray(palette.convert("RGB")))


def test_cmyk_as_adobe_inverts_it(tmp_path):
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    plain = saved(tmp_path, cmyk, "plain.jpg", quality=100, subsampling=0).read_bytes()
    adobe = plain.find(b"Adobe")
    assert adobe > 0, "Pillow writes CMYK with Adobe's marker, and inverted"
    assert np.abs(read(tmp_path / "plain.jpg").astype(int) - np.asarray(cmyk.convert("RGB"))).max() < 16
    start = adobe - 4  # marker and length of the segment
    without = plain[:start] + plain[start + 2 + struct.unpack(">H", plain[start + 2:start + 4])[0]:]
    (tmp_path / "without.jpg").write_bytes(without)
    assert np.array_equal(read(tmp_path / "without.jpg"), read(tmp_path / "plain.jpg")), "inverted is what Pillow takes for granted"


@pytest.mark.parametrize("name", ["x.png", "x.tif", "big-endian.tif", "x.pgm"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path, name):
    deep = RNG.integers(0, 65536, (9, 11)).astype(np.uint16)
    image = Image.fromarray(deep)
    if name.startswith("big"):
        image = Image.frombytes("I;16B", (11, 9), deep.astype(">u2").tobytes())
    assert np.array_equal(read(saved(tmp_path, image, name)), np.dstack([deep >> 8] * 3))


def test_integers_and_floats(tmp_path):
    wide = np.array([[-5, 0, 255, 256, 65535, 70000, 2**31 - 1, -(2**31)]], np.int32)
    assert read(saved(tmp_path, Image.fromarray(wide), "i.tif"))[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255, 0]
    floats = np.array([[-1e30, -0.5, 0.9, 1, 254.9, 255, 300, 1e30, np.inf, -np.inf, np.nan]], np.float32)
    assert read(saved(tmp_path, Image.fromarray(floats), "f.tif"))[0, :, 1].tolist() == [0, 0, 0, 1, 254, 255, 255, 255, 255, 0, 0]


def test_colours_multiplied_by_alpha():
    opaque = Image.fromarray(PIXELS).convert("RGBA")
    assert np.array_equal(np.asarray(to_rgb(opaque.convert("RGBa"))), PIXELS)
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(GREY).convert("LA").convert("La"))), np.dstack([GREY] * 3))


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png", "x.tif"])
def test_animations_show_their_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if name == "x.webp" else {}
    assert np.array_equal(read(saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)), np.asarray(frames[0]))


# ---- EXIF ------------------------------------------------------------------------------------------------------------

TURNS = {1: np.array, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1),
         7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: np.rot90, 0: np.array, 9: np.array}


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp", "x.jpg"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_the_picture_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "x.webp" else {}
    path = saved(tmp_path, Image.fromarray(PIXELS), name, exif=exif, **options)
    with Image.open(path) as opened:
        assert np.array_equal(read(path), np.asarray(ImageOps.exif_transpose(opened).convert("RGB")))
    if name != "x.jpg":
        assert np.array_equal(read(path), TURNS[orientation](PIXELS))


def test_grey_and_palette_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in (Image.fromarray(GREY), Image.fromarray(PIXELS).quantize(8), Image.fromarray(GREY.astype(np.uint16) << 8)):
        expected = np.rot90(np.asarray(to_rgb(image)), -1)
        assert np.array_equal(read(saved(tmp_path, image, exif=exif)), expected)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03" * 40])
def test_broken_exif_says_nothing(tmp_path, exif):
    path = saved(tmp_path, Image.fromarray(PIXELS), "x.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read(path).shape == PIXELS.shape


# ---- folders, Pillow ---------------------------------------------------------------------------------------------------


def test_folders_are_listed_in_natural_order(tmp_path):
    for name in ("10.png", "9.png", "a2.JPEG", "a10.jpeg", "b/1.webp", "b/.hidden.png", ".c/2.png", "notes.txt", "01.png", "1.png", "٣.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = [os.path.relpath(path, tmp_path) for path in list_pictures(tmp_path)]
    assert listed == ["01.png", "1.png", "٣.png", "9.png", "10.png", "a2.JPEG", "a10.jpeg", "b/1.webp"]
    with pytest.raises(DataError, match="nowhere: No such file"):
        list_pictures(tmp_path / "nowhere")
    os.chdir(tmp_path / ".c")
    assert list_pictures(".") == ["./2.png"]


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    for call in (lambda: read_picture(tmp_path), lambda: resized_size(3, 4, 5), lambda: to_picture(np.zeros((3, 2, 2), np.uint8))):
        with pytest.raises(ImportError, match=r"pip install 'scratchvgg\[images\]'"):
            call()


def test_pillow_is_not_imported_before_it_is_needed():
    code = "import sys, scratchvgg.data.images, scratchvgg.data.presets, scratchvgg.data.labelled; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert reader.EXTENSIONS[0] == ".jpg"
