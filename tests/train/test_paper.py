"""The paper's recipe: what net A gives to a deeper net, random weights, scales, and a whole run killed at any moment."""

import shutil

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, train
from scratchvgg.array import Device, get_backend
from scratchvgg.cli import main
from scratchvgg.data import DataLoader, DeviceLoader, transforms
from scratchvgg.data.scale_jitter import CenterCrops, ScaleJitter
from scratchvgg.train import RecipeError, build, from_net_a, recipe
from scratchvgg.train.loop import Trainer

from .common import assert_same_run, run

Image = pytest.importorskip("PIL.Image")
OPTIONS = {"config": "B", "width": 0.0625, "hidden": 8}
FEW = {"epochs": 2, "batch_size": 8, "eval_batch_size": 12, "threads": 1, "plot": False, "log_every": 2, "model_options": OPTIONS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes of pictures of several sizes; 8 to train and 4 to test of each."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(8)
    for name, colour in {"blue": (30, 40, 200), "green": (20, 180, 60), "red": (210, 40, 20)}.items():
        for split, count in (("train", 8), ("test", 4)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(30, 60, 2)
                noise = rng.normal(0, 30, (height, width, 3)) + colour
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{number}.png")
    return root


def small(pictures, **changes):
    return recipe.load("paper_small").replace(**{**FEW, "root": str(pictures), **changes})


# ---- the recipes -----------------------------------------------------------------------------------------------------


def test_the_papers_figures():
    paper = recipe.load("paper")
    assert (paper.batch_size, paper.momentum, paper.nesterov, paper.weight_decay, paper.lr, paper.gamma, paper.drops, paper.epochs) == (
        256, 0.9, False, 5e-4, 0.01, 0.1, 3, 74)
    assert (paper.crop, paper.scale_min, paper.scale_max, paper.init_from, paper.schedule) == (224, 256, 512, "A", "plateau")
    assert paper.augmentation == ["flip", "rgb_shift:0.1"] and paper.decay_all
    net_a = from_net_a.recipe_of(paper)
    assert net_a.model == "vgg11" and net_a.init_from is None and net_a.replace(name="paper", model="vgg16", init_from="A") == paper


def test_data_of_the_recipe(pictures):
    made = small(pictures)
    training, test = build.datasets(made)
    assert type(training) is ScaleJitter and (training.crop, training.smallest, training.largest) == (32, 36, 72) and len(training) == 24
    assert type(test) is CenterCrops and test.scale == 54 and build.image_shape(test) == (3, 32, 32) and test.classes == ["blue", "green", "red"]
    assert build.scales(made.replace(scale_min=None, scale_max=None)) == (36, 36) and build.scales(made.replace(scale_max=None)) == (36, 36)
    flip, normalize, shift = build.augmentation(made, training).transforms
    assert [type(step) for step in (flip, normalize, shift)] == [transforms.RandomHorizontalFlip, transforms.Normalize, transforms.RGBShift]
    crops = np.stack([training[i][0] for i in range(24)])
    values, vectors = transforms.rgb_components([crops])
    assert np.allclose(shift.eigenvalues, values) and np.allclose(shift.eigenvectors, vectors) and shift.amount == 0.1 and shift.std == training.std


def test_batches_are_drawn_anew_in_every_epoch(pictures):
    loader = Trainer(small(pictures, init_from=None), plain=True).loader
    first, second = ([images.numpy() for images, _ in loader] for _ in range(2))
    loader.set_epoch(0)
    assert all(np.array_equal(a, b.numpy()) for a, (b, _) in zip(first, loader, strict=True))
    assert not any(np.array_equal(a, b) for a in first for b in second)


@pytest.mark.parametrize("changes, message", [
    ({"scale_min": 30}, "crop ≤ scale_min ≤ scale_max, got crop 32, scales 30 to 72"),
    ({"scale_max": 35}, "scales 36 to 35"),
    ({"crop": None}, "need crop"),
    ({"augmentation": ["rgb_shft"]}, "did you mean 'rgb_shift'"),
    ({"augmentation": ["rgb_shift:-1"]}, "amount must be 0 or more"),
    ({"model": "small_vgg", "model_options": {}}, "small_vgg has no net A"),
    ({"model": "fast_vgg", "model_options": {}}, "fast_vgg has no net A"),
])
def test_recipes_that_cannot_be(pictures, changes, message):
    with pytest.raises(RecipeError, match=message):
        Trainer(small(pictures, **changes), plain=True)


def test_random_weights_of_a_given_spread(pictures):
    made = small(pictures, init_from=None, init_std=0.02, model_options={"config": "D", "width": 0.25})
    trainer = Trainer(made, plain=True)
    layers = [m for m in trainer.model.modules() if isinstance(m, (sv.nn.Conv2d, sv.nn.Linear))]
    assert len(layers) == 16
    for layer in layers:
        values = layer.weight.detach().numpy()
        assert abs(values.std() / 0.02 - 1) < 5 / np.sqrt(2 * values.size) and abs(values.mean()) < 5 * 0.02 / np.sqrt(values.size)
        assert not layer.bias.detach().numpy().any()


# ---- layers of net A -------------------------------------------------------------------------------------------------


def filled(net):
    """Names of the layers with weights of which copy_layers changed something, after all weights were set to 7."""
    layers = [(name, module) for name, module in net.named_modules() if isinstance(module, (sv.nn.Conv2d, sv.nn.Linear))]
    return [name for name, layer in layers if (layer.weight.detach().numpy() != 7).any()]


PLACES = {  # conv1_1, conv2_1, conv3_1, conv3_2 of net A (features 0, 3, 6, 8), then the linear layers
    "A-LRN": ["features.0", "features.4", "features.7", "features.9"],
    "B": ["features.0", "features.5", "features.10", "features.12"],
    "C": ["features.0", "features.5", "features.10", "features.12"],
    "D": ["features.0", "features.5", "features.10", "features.12"],
    "E": ["features.0", "features.5", "features.10", "features.12"],
}
LINEAR = ["classifier.0", "classifier.3", "classifier.6"]


@pytest.mark.parametrize("config", PLACES)
def test_four_convolutions_and_three_linear_layers(config):
    sv.manual_seed(1)
    source, net = (models.paper_vgg(name, width=0.0625, hidden=8) for name in ("A", config))
    for parameter in net.parameters():
        parameter.data.fill_(7.0)
    copied = from_net_a.copy_layers(source, net)
    assert copied == PLACES[config] + LINEAR == filled(net)
    for ours, theirs in zip(copied, ["features.0", "features.3", "features.6", "features.8", *LINEAR], strict=True):
        for part in ("weight", "bias"):
            a, b = net.state_dict()[f"{ours}.{part}"], source.state_dict()[f"{theirs}.{part}"]
            assert np.array_equal(a.numpy(), b.numpy()) and a.numpy().ctypes.data != b.numpy().ctypes.data


def test_batch_norm_goes_with_its_convolution_and_other_shapes_stay():
    source, net = (models.paper_vgg(name, width=0.0625, hidden=8, batch_norm=True, num_classes=n) for name, n in (("A", 4), ("D", 3)))
    source.features[1].running_mean.fill_(3.0)
    copied = from_net_a.copy_layers(source, net)
    assert copied[:2] == ["features.0", "features.1"] and len(copied) == 8 + 2 and "classifier.6" not in copied
    assert (net.features[1].running_mean.numpy() == 3).all()
    without = models.paper_vgg("D", width=0.0625, hidden=8)
    assert from_net_a.copy_layers(source, without) == PLACES["D"] + LINEAR[:2]
    assert from_net_a.copy_layers(models.paper_vgg("A", width=0.125, hidden=9), models.paper_vgg("D", width=0.0625, hidden=8)) == []


@pytest.mark.parametrize("name, options, expected", [
    ("vgg19_bn", {}, ("vgg11_bn", {})), ("vgg_c", {}, ("vgg11", {})), ("vgg11", {}, None),
    ("paper_vgg", {"config": "E", "width": 0.5}, ("paper_vgg", {"config": "A", "width": 0.5})), ("paper_vgg", {"config": "A"}, None),
    ("cifar_vgg", {}, ("cifar_vgg", {"config": "A"})),
])
def test_which_net_is_net_a(name, options, expected):
    found = from_net_a.recipe_of(train.Recipe(model=name, model_options=options))
    assert found is None if expected is None else (found.model, found.model_options) == expected


# ---- whole runs ------------------------------------------------------------------------------------------------------


def test_net_a_first(pictures, tmp_path, capsys):
    folder = run(small(pictures), tmp_path / "run")
    out = capsys.readouterr().out
    assert "features.0, features.5, features.10, features.12, classifier.0, classifier.3, classifier.6; the other layers begin at random" in out
    net_a, state = train.load_model(tmp_path / "run" / "net-a" / "last.ckpt")
    assert state["recipe"]["model_options"]["config"] == "A" and state["recipe"]["init_from"] is None
    first = Trainer(small(pictures), plain=True)
    first.folder = folder
    folder.last.unlink()
    first._begin_from_another()
    assert np.array_equal(first.model.features[5].weight.detach().numpy(), net_a.features[3].weight.detach().numpy())
    untouched = Trainer(small(pictures, init_from=None), plain=True).model
    assert np.array_equal(first.model.features[2].weight.detach().numpy(), untouched.features[2].weight.detach().numpy())


def test_net_a_itself_begins_at_random(pictures, tmp_path):
    folder = run(small(pictures, epochs=1, model_options={**OPTIONS, "config": "A"}), tmp_path / "run")
    assert not (folder.path / "net-a").exists()


def test_a_device_that_runs_kernels_is_sent_random_windows(pictures):
    """Not the centre windows, which could lie on the device for good."""
    training, test = build.datasets(small(pictures))
    backend, normalize = get_backend(Device("emulator")), transforms.Normalize(training.mean, training.std)
    assert type(build.loader(backend, training, 8, seed=0, transform=normalize)) is DataLoader
    assert type(build.loader(backend, test, 8, seed=0, transform=normalize)) is DeviceLoader


@pytest.mark.parametrize("source", ["run/net-a", "run/net-a/last.ckpt"])
def test_layers_of_another_run(pictures, tmp_path, source, capsys):
    run(small(pictures, epochs=1), tmp_path / "run")
    capsys.readouterr()
    folder = run(small(pictures, epochs=1, init_from=str(tmp_path / source)), tmp_path / "second")
    assert f"from {tmp_path / source}: features.0" in capsys.readouterr().out
    assert not (folder.path / "net-a").exists()


def test_averages_begin_with_the_copied_layers(pictures, tmp_path):
    made = small(pictures, epochs=1, lr=0.0, ema=0.5)
    folder = run(made, tmp_path / "run")
    net_a = train.checkpoint.load(folder.path / "net-a" / "last.ckpt")["model"]
    averages = train.checkpoint.load(folder.last)["average"]["averages"]
    assert np.allclose(averages["features.5.weight"], net_a["features.3.weight"])


def test_layers_that_do_not_fit(pictures, tmp_path):
    run(small(pictures, epochs=1), tmp_path / "run")
    other = small(pictures, init_from=str(tmp_path / "run"), model_options={"config": "D", "width": 0.125, "hidden": 9})
    with pytest.raises(RecipeError, match="none of the layers of .*run fits paper_vgg"):
        run(other, tmp_path / "second")


def test_a_run_killed_at_any_moment_ends_with_the_same_bits(pictures, tmp_path, monkeypatch):
    """Checkpoints of both nets are kept as they are written; a run goes on from any of them, net A's included, to the same end."""
    made, kept, save = small(pictures, checkpoint_steps=1, patience=0, drops=1, epochs=3), [], Trainer.save

    def save_and_keep(self, path=None):
        save(self, path)
        kept.append(tmp_path / f"copy{len(kept)}")
        shutil.copytree(tmp_path / "whole", kept[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", save_and_keep)
        whole = run(made, tmp_path / "whole")
    in_net_a = sum(not (copy / "last.ckpt").exists() for copy in kept)
    assert 10 <= in_net_a <= len(kept) - 10
    for copy in [kept[0], kept[4], kept[in_net_a - 1], kept[in_net_a], *kept[in_net_a + 2 :: 4]]:
        folder = train.open_existing(copy)
        assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
        assert_same_run(whole, folder)
        assert_same_run(train.open_existing(whole.path / "net-a"), train.open_existing(copy / "net-a"))


def test_ctrl_c_in_net_a(pictures, tmp_path, monkeypatch, capsys):
    import os
    import signal

    made, step = small(pictures), Trainer.step

    def interrupted(self, images, labels):
        step(self, images, labels)
        if self.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        (tmp_path / "r.toml").write_text(made.to_toml())
        assert main(["train", "--recipe", str(tmp_path / "r.toml"), "--out", str(tmp_path / "run"), "--plain"]) == 130
    assert "stopped in the training of net A" in capsys.readouterr().out and not (tmp_path / "run" / "last.ckpt").exists()
    assert main(["train", "--resume", str(tmp_path / "run"), "--plain"]) == 0
    assert_same_run(run(made, tmp_path / "whole"), train.open_existing(tmp_path / "run"))


def test_the_command_line(pictures, tmp_path, capsys):
    flags = ["train", "--recipe", "paper_small", "--root", str(pictures), "--epochs", "1", "--batch-size", "8", "--no-plot", "--threads", "1",
             "--model-options", "config=B", "width=0.0625", "hidden=8", "--plain"]
    assert main([*flags, "--no-init-from-a", "--scale-max", "none", "--out", str(tmp_path / "run")]) == 0
    made = train.open_existing(tmp_path / "run").read_recipe()
    assert made.init_from is None and build.scales(made) == (36, 36) and not (tmp_path / "run" / "net-a").exists()
    assert main(["eval", str(tmp_path / "run"), "--json"]) == 0
    assert '"images": 12' in capsys.readouterr().out
    assert main([*flags, "--init-from", str(tmp_path / "absent.pth"), "--out", str(tmp_path / "other")]) == 2
    assert "there is no run, checkpoint or weights file" in capsys.readouterr().err and not (tmp_path / "other").exists()
    (tmp_path / "text.pth").write_text("no weights")
    assert main([*flags, "--init-from", str(tmp_path / "text.pth"), "--out", str(tmp_path / "other")]) == 2
    assert "text.pth" in capsys.readouterr().err and not (tmp_path / "other").exists()


@pytest.mark.slow
def test_layers_of_a_weights_file(tmp_path):
    """A full-width vgg11 for three classes gives all but its last layer to a vgg13 for five."""
    source, net = models.vgg11(num_classes=3), models.vgg13(num_classes=5)
    sv.save(source.state_dict(), tmp_path / "vgg11.safetensors")
    loaded = from_net_a.load_source(tmp_path / "vgg11.safetensors")
    assert from_net_a.copy_layers(loaded, net) == PLACES["B"] + LINEAR[:2]
    assert np.array_equal(net.features[5].weight.detach().numpy(), source.features[3].weight.detach().numpy())
