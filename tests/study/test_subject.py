"""A net in front of its pictures."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.data import DataError
from scratchvgg.study import subject
from scratchvgg.study.errors import StudyError

Image = pytest.importorskip("PIL.Image")
SMALL = {"widths": [4, "M", 6], "num_classes": 3}


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_a_picture_is_prepared_as_the_preset_says(picture):
    seen = subject.load("small_vgg", images=[picture], batch=3, options=SMALL)
    assert seen.x.shape == (3, 3, 32, 32) and seen.pictures.dtype == np.uint8 and seen.titles == [picture] * 3
    assert np.array_equal(seen.x.numpy(), seen.preset.normalize(seen.pictures)) and np.array_equal(seen.pictures[0], seen.preset.crop(picture))
    assert not seen.model.training and subject.load("small_vgg", options=SMALL, training=True).model.training
    assert seen.weights is None and "random" in seen.notes[0] and len(seen.notes) == 1
    assert subject.load("small_vgg", images=[picture], size=(24, 48), options=SMALL).x.shape == (1, 3, 24, 48)
    assert subject.load("small_vgg", images=[picture], size=64, options=SMALL).x.shape == (1, 3, 64, 64)


def test_without_a_picture_one_is_drawn():
    seen = subject.load("small_vgg", size=(40, 64), options=SMALL)
    drawn = sv.data.SampleShapes(train=False, size=1)[0][0]
    assert seen.x.shape == (1, 3, 40, 64) and np.array_equal(seen.pictures[0][:, :, ::2], drawn[:, 6:26].repeat(2, 1)) and len(seen.notes) == 2


def test_the_same_seed_gives_the_same_weights():
    a, b, c = (subject.load("small_vgg", options=SMALL, seed=seed).model.features[0].weight.detach().numpy() for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_weights_bring_their_net(tmp_path):
    sv.manual_seed(1)
    net = sv.models.vgg11(num_classes=7)
    sv.save(net.state_dict(), tmp_path / "net.safetensors")
    for given in ({"name": str(tmp_path / "net.safetensors")}, {"name": "vgg11", "weights": tmp_path / "net.safetensors"}):
        seen = subject.load(**given, size=32)
        assert seen.name == "vgg11" and seen.notes[:-1] == [] and str(tmp_path) in seen.weights
        assert np.array_equal(seen.model.features[0].weight.detach().numpy(), net.features[0].weight.detach().numpy())
        assert seen.class_name(3) == "class 3"
    with pytest.raises(StudyError, match="options"):
        subject.load("vgg11", weights=tmp_path / "net.safetensors", num_classes=7)
    with pytest.raises(StudyError, match="brings its own"):
        subject.load(str(tmp_path / "net.safetensors"), weights="DEFAULT")


def test_what_does_not_fit_is_said_in_one_line(picture, tmp_path):
    for given, said in (({"name": "vgg17"}, "Unknown model"), ({"name": "runs/none"}, "no such run folder"), ({"name": "net.pth"}, "no such run"),
                        ({"name": "small_vgg", "options": {"width": 3}}, "width"),
                        ({"name": "small_vgg", "batch": 0}, "batch"), ({"name": "small_vgg", "size": 10**6}, "size"),
                        ({"name": "small_vgg", "device": "tpu"}, "tpu"), ({"name": "small_vgg", "device": "cuda:77"}, "not available")):
        with pytest.raises(StudyError, match=said) as error:
            subject.load(**given)
        assert "\n" not in str(error.value)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"broken\.png"):
        subject.load("small_vgg", images=[str(tmp_path / "broken.png")], options=SMALL)
    with pytest.raises(FileNotFoundError, match=r"no\.pth"):
        subject.load("vgg11", weights="no.pth")
