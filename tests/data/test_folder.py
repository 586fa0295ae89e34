"""Pictures of all kinds become uint8 RGB; broken ones are named."""

import sys

import numpy as np
import pytest

from scratchvgg.data import DataError, DataLoader, ImageFolder, read_image

Image = pytest.importorskip("PIL.Image")
PIXELS = np.random.default_rng(2).integers(0, 256, (6, 8, 3), np.uint8)  # H, W, C


@pytest.fixture
def root(tmp_path):
    for name, files in {"dog": ["b.png", "a.png"], "cat": ["sub/c.png", "z.PNG"], ".hidden": ["x.png"]}.items():
        for place, file in enumerate(files):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS + np.uint8(place)).save(path, format="PNG")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "cat" / ".thumb.png").write_bytes(b"")
    (tmp_path / "readme.png").write_bytes(b"not in a class")
    return tmp_path


def saved(tmp_path, picture, name="x.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_classes_and_samples_are_sorted(root):
    dataset = ImageFolder(root)
    assert dataset.classes == ["cat", "dog"] and dataset.class_to_idx == {"cat": 0, "dog": 1}
    shown = [(path.removeprefix(f"{root}/").replace("\\", "/"), label) for path, label in dataset.samples]
    assert shown == [("cat/z.PNG", 0), ("cat/sub/c.png", 0), ("dog/a.png", 1), ("dog/b.png", 1)]
    assert dataset.labels.tolist() == [0, 0, 1, 1] and dataset.labels.dtype == np.int64
    image, label = dataset[3]
    assert image.dtype == np.uint8 and np.array_equal(image, PIXELS.transpose(2, 0, 1)) and label == 1


def test_batches_through_the_loader(root):
    images, labels = next(iter(DataLoader(ImageFolder(root, size=4), 4)))
    assert images.numpy().shape == (4, 3, 4, 4) and labels.numpy().tolist() == [0, 0, 1, 1]


def test_transform_of_single_images(root):
    assert ImageFolder(root, transform=lambda image: image.mean())[3][0] == PIXELS.mean()


def test_grey_palette_alpha_and_sixteen_bits_become_rgb(tmp_path):
    grey = PIXELS[..., 0]
    repeated = np.repeat(grey[None], 3, 0)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(grey))), repeated)
    with_alpha = np.concatenate([PIXELS, np.full((6, 8, 1), 9, np.uint8)], 2)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(with_alpha))), PIXELS.transpose(2, 0, 1))
    palette = Image.fromarray(PIXELS).quantize(16)
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_image(saved(tmp_path, palette)), expected)
    assert np.array_equal(read_image(saved(tmp_path, palette, transparency=b"\0" * 16)), expected)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(grey.astype(np.uint16) * 256 + 77))), repeated)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(grey > 99))), np.where(repeated > 99, 255, 0))


@pytest.mark.parametrize(("orientation", "turn"), [
    (1, np.array), (2, np.fliplr), (3, lambda x: np.rot90(x, 2)), (4, np.flipud), (6, lambda x: np.rot90(x, -1)), (8, np.rot90),
])
def test_exif_turns_the_picture_upright(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=exif)
    assert np.array_equal(read_image(path), turn(PIXELS).transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "shape"), [(4, (4, 4)), (20, (20, 20)), ((4, 7), (4, 7)), ((9, 2), (9, 2)), (None, (6, 8))])
def test_size(tmp_path, size, shape):
    assert read_image(saved(tmp_path, Image.fromarray(PIXELS)), size).shape == (3, *shape)


def test_size_takes_the_centre(tmp_path):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 200
    assert (read_image(saved(tmp_path, Image.fromarray(picture)), 10) == 200).all()


@pytest.mark.parametrize("size", [0, -1, (3,), (3, 0), (1, 2, 3), 2.5, (2.5, 3), True])
def test_unusable_sizes_are_rejected(root, size):
    with pytest.raises((ValueError, TypeError)):
        ImageFolder(root, size=size)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF"])
def test_broken_pictures_are_named(root, content):
    (root / "cat" / "z.PNG").write_bytes(content)
    dataset = ImageFolder(root)
    with pytest.raises(DataError, match=r"z\.PNG: it cannot be read as a picture"):
        dataset[0]
    with pytest.raises(DataError, match=r"z\.PNG"):
        list(DataLoader(dataset, 2))


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.bmp", "x.webp", "x.tif"])
def test_every_truncation_is_a_data_error_or_a_picture(tmp_path, name):
    whole = saved(tmp_path, Image.fromarray(np.tile(PIXELS, (8, 8, 1))), name).read_bytes()
    refused = 0
    for length in np.linspace(0, len(whole) - 1, 25).astype(int):
        (tmp_path / name).write_bytes(whole[:length])
        try:
            assert read_image(tmp_path / name).shape == (3, 48, 64)
        except DataError as error:
            assert name in str(error)
            refused += 1
    assert refused > 15


def test_an_absurdly_large_picture_is_refused(tmp_path):
    header = bytearray(saved(tmp_path, Image.fromarray(PIXELS), "x.bmp").read_bytes())
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "x.bmp").write_bytes(header)
    with pytest.raises(DataError, match=r"x\.bmp"):
        read_image(tmp_path / "x.bmp")


def test_missing_or_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected a subfolder for each class"):
        ImageFolder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="cat: no pictures"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match=r"x\.png: there is no such file"):
        read_image(tmp_path / "x.png")


def test_without_pillow_the_extra_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    dataset = ImageFolder(root)
    with pytest.raises(ImportError, match=r"pip install 'scratchvgg\[images\]'"):
        dataset[0]
