"""Every command: help, output, JSON, and one clear line for bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest

from scratchvgg import cli
from scratchvgg.cli.registry import command_names, load_command
from scratchvgg.train.recipe import FIELDS


def call(capsys, *args):
    """(status, stdout, stderr) of a command in this process."""
    status = 0
    try:
        status = cli.main([str(a) for a in args])
    except SystemExit as leave:  # argparse leaves after --help
        status = leave.code or 0
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(path), "--epochs", "1", "--train-size", "96", "--test-size", "40",
                     "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    return path


def test_overview_names_every_command(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0 and all(f"  {name} " in out and load_command(name).SUMMARY in out for name in command_names())
    assert {"train", "eval", "summary", "predict", "info"} <= set(command_names())
    assert call(capsys)[0] == 2


@pytest.mark.parametrize("name", command_names())
def test_help_teaches_by_example(capsys, name):
    status, out, _ = call(capsys, name, "--help")
    assert status == 0 and out.startswith(f"usage: scratchvgg {name}")
    examples = out.partition("examples:\n")[2].splitlines()
    assert len(examples) >= 2 and all(line.startswith(f"  scratchvgg {name}") for line in examples)
    assert max(map(len, out.splitlines())) <= 130


def test_every_recipe_field_is_a_flag(capsys):
    out = call(capsys, "train", "--help")[1]
    assert all(f"--{field.replace('_', '-')}" in out for field in FIELDS)


def test_version_and_help_are_light():
    code = ("import sys; from scratchvgg.cli import main; main(['--version']); main(['--help']); "
            "heavy = {'torch', 'matplotlib', 'PIL', 'rich', 'scratchvgg.train', 'scratchvgg.nn', 'scratchvgg.data'} & set(sys.modules); "
            "sys.exit(f'imported {heavy}' if heavy else 0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scratchvgg 0.")


def test_python_m():
    done = subprocess.run([sys.executable, "-m", "scratchvgg", "summary", "vgg17"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1 and "vgg16" in done.stderr
    piped = subprocess.run(f"{sys.executable} -m scratchvgg summary vgg11 | head -1", shell=True, capture_output=True, text=True)
    assert piped.stdout.startswith("vgg11, input") and piped.stderr == ""


BAD = [
    (["trian"], "there is no command 'trian'; did you mean 'train'"),
    (["--verzion"], "there is no option '--verzion'"),
    (["train", "--epoch", "3"], "unknown option '--epoch'; did you mean --epochs"),
    (["train", "--epochs", "many"], "argument --epochs: expected an integer, got 'many'"),
    (["train", "--epochs", "0"], "argument --epochs: expected 1 or more, got 0"),
    (["train", "--epochs"], "argument --epochs: expected one argument"),
    (["train", "--schedule", "stepp"], "did you mean 'step'"),
    (["train", "--recipe", "smal"], "unknown recipe 'smal'; did you mean 'small'"),
    (["train", "--recipe", "absent.toml"], "cannot read recipe absent.toml: No such file"),
    (["train", "--data", "cifar"], "unknown data set 'cifar'; did you mean 'cifar10'"),
    (["train", "--data", "cifar10", "--root", "/nonexistent"], "cifar"),
    (["train", "--data", "folder", "--root", "/nonexistent"], "/nonexistent"),
    (["train", "--recipe", "tiny", "--model", "vgg99"], "unknown net 'vgg99'"),
    (["train", "--recipe", "tiny", "--model-options", "depth=3"], "depth"),
    (["train", "--recipe", "tiny", "--model-options", "depth"], "expected key=value, got 'depth'"),
    (["train", "--recipe", "tiny", "--augmentation", "spin"], "unknown change 'spin'"),
    (["train", "--recipe", "tiny", "--conv", "fast"], "conv: no convolution algorithm 'fast'; there are auto, tuned, reproducible, direct"),
    (["train", "--resume", "nowhere"], "nowhere does not exist"),
    (["train", "--resume", "x", "--lr", "1", "--out", "y"], "leave out --lr, --out"),
    (["eval"], "the following arguments are required: RUN_DIR"),
    (["eval", "nowhere"], "nowhere: there is no such file or folder"),
    (["summary", "vgg99"], "Unknown model 'vgg99'"),
    (["summary", "vgg16", "--input-size", "8"], "leaves no room"),
    (["summary", "vgg16", "--input-size", "big"], "expected a number or HEIGHTxWIDTH, got 'big'"),
    (["summary", "vgg16", "--batch", "0"], "--batch: expected 1 or more, got 0"),
    (["summary", "vgg16", "--options", "deep=1"], "deep"),
    (["predict", "a.png"], "no weights: give --weights"),
    (["predict", "a.png", "--checkpoint", "nowhere"], "nowhere: there is no such file"),
]


@pytest.mark.parametrize("args, message", BAD, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "")
def test_bad_input_is_one_line_and_status_2(capsys, args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = call(capsys, *args)
    assert status == 2 and err.count("\n") == 1 and err.startswith("scratchvgg") and ": error: " in err
    assert message in err
    assert not list(tmp_path.iterdir()), "bad input leaves nothing behind"


def test_our_own_mistakes_keep_their_traceback(capsys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("scratchvgg.train.machine.describe", broken)
    with pytest.raises(ZeroDivisionError):
        call(capsys, "info")


# ---- train -----------------------------------------------------------------------------------------------------------


def test_train(run_dir, capsys):
    assert {"recipe.toml", "metrics.jsonl", "last.ckpt", "best.ckpt"} <= {p.name for p in run_dir.iterdir()}
    status, _, err = call(capsys, "train", "--recipe", "tiny", "--out", run_dir)
    assert status == 2 and "exists already; go on with it (--resume" in err
    status, out, _ = call(capsys, "train", "--resume", run_dir, "--plain")
    assert status == 0 and "going on after step 3 of 3" in out and "test accuracy 0." in out


def test_flags_override_the_recipe(tmp_path, capsys):
    from scratchvgg.train import open_existing

    status, out, err = call(
        capsys, "train", "--recipe", "tiny", "--out", tmp_path / "r", "--train-size", 64, "--test-size", 20, "--epochs", 1, "--plain", "--csv",
        "--lr", "0.3", "--no-nesterov", "--augmentation", "translate:1", "flip", "--clip-norm", "1",
        "--model-options", "batch_norm=false", "pool=max")
    assert status == 0, err
    recipe = open_existing(tmp_path / "r").read_recipe()
    assert (recipe.lr, recipe.nesterov, recipe.clip_norm, recipe.csv, recipe.augmentation) == (0.3, False, 1.0, True, ["translate:1", "flip"])
    assert recipe.model_options == {"widths": [8, "M", 16, "M"], "batch_norm": False, "pool": "max"}
    assert (tmp_path / "r" / "metrics.csv").exists() and "test accuracy" in out and f"eval {tmp_path / 'r'}" in out


def test_another_model_drops_the_recipes_options(tmp_path, capsys):
    from scratchvgg.train import open_existing

    status, _, err = call(capsys, "train", "--recipe", "tiny", "--out", tmp_path / "r", "--train-size", 32, "--test-size", 10, "--epochs", 1,
                          "--model", "fast_vgg", "--model-options", "widths=[4, 4, 4]", "--augmentation", "--plain")
    assert status == 0, err
    recipe = open_existing(tmp_path / "r").read_recipe()
    assert recipe.model_options == {"widths": [4, 4, 4]} and recipe.augmentation == []


def test_a_diverging_run_has_status_1(tmp_path, capsys):
    status, _, err = call(capsys, "train", "--recipe", "tiny", "--out", tmp_path / "r", "--lr", "1e30", "--warmup", 0, "--train-size", 96, "--plain")
    assert status == 1 and err.count("\n") == 1 and "step" in err


def test_list_recipes(capsys):
    status, out, _ = call(capsys, "train", "--list-recipes")
    assert status == 0 and {"sample", "small", "long", "tiny", "vgg16_bn"} <= {line.split()[0] for line in out.splitlines()}


def test_train_on_a_folder_of_pictures(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("test", 4)):
        for label, level in (("bright", 200), ("dark", 50)):
            (tmp_path / "p" / split / label).mkdir(parents=True)
            for i in range(n):
                image.fromarray((level + rng.integers(0, 40, (40, 36, 3))).astype(np.uint8)).save(tmp_path / "p" / split / label / f"{i}.png")
    status, out, err = call(capsys, "train", "--recipe", "tiny", "--data", "folder", "--root", tmp_path / "p", "--image-size", 16, "--batch-size", 8,
                            "--epochs", 6, "--train-size", 20, "--out", tmp_path / "r", "--plain")
    assert status == 0, err
    picture = next((tmp_path / "p" / "test" / "dark").iterdir())
    status, out, _ = call(capsys, "predict", picture, "--checkpoint", tmp_path / "r", "--json")
    assert status == 0 and {c["name"] for c in json.loads(out)["predictions"][0]["classes"]} == {"bright", "dark"}


# ---- eval, predict, summary, info ------------------------------------------------------------------------------------


def test_eval(run_dir, capsys):
    status, out, _ = call(capsys, "eval", run_dir)
    assert status == 0 and "test accuracy 0." in out and "disc" in out and "commonest confusions" in out
    status, out, _ = call(capsys, "eval", run_dir / "last.ckpt", "--json", "--tta", "flip", "--pairs", 2)
    result = json.loads(out)
    assert status == 0 and result["images"] == 40 and result["tta"] == "flip" and len(result["classes"]) == 10 and len(result["confused"]) <= 2
    assert result["accuracy"] == pytest.approx(np.trace(result["confusion"]) / 40)
    assert json.loads(call(capsys, "eval", run_dir, "--json", "--test-size", 10, "--batch-size", 3)[1])["images"] == 10


def test_eval_agrees_with_training(run_dir, capsys):
    from scratchvgg.train import metrics

    result = json.loads(call(capsys, "eval", run_dir, "--json")[1])
    (epoch,) = metrics.read(run_dir / "metrics.jsonl", "epoch")
    assert (result["accuracy"], result["loss"]) == (epoch["test_accuracy"], epoch["test_loss"])


def test_the_convolution_algorithm_is_an_option(run_dir, tmp_path, capsys):
    from scratchvgg import conv

    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((50, 70, 3), 128, np.uint8)).save(tmp_path / "a.png")
    for command in (["eval", run_dir], ["predict", tmp_path / "a.png", "--checkpoint", run_dir]):
        seen = []
        with conv.intercept_choices(lambda problem, dtype, which, chosen: seen.append(chosen.name) or chosen):  # noqa: B023 - called here
            assert call(capsys, *command, "--conv", "winograd4x4")[0] == 0
        assert set(seen) == {"winograd4x4"} and conv.current() == "reproducible"
        status, _, err = call(capsys, *command, "--conv", "fast")
        assert status == 2 and "conv: no convolution algorithm 'fast'" in err and err.count("\n") == 1


def test_eval_of_a_damaged_checkpoint(run_dir, tmp_path, capsys):
    (tmp_path / "cut.ckpt").write_bytes((run_dir / "last.ckpt").read_bytes()[:-100])
    status, _, err = call(capsys, "eval", tmp_path / "cut.ckpt")
    assert status == 2 and "cut.ckpt" in err and "truncated" in err and err.count("\n") == 1


def test_predict(run_dir, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((50, 70, 3), 128, np.uint8)).save(tmp_path / "a.png")
    status, out, _ = call(capsys, "predict", tmp_path / "a.png", tmp_path / "a.png", "--checkpoint", run_dir, "--top", 3)
    assert status == 0 and out.count("a.png") == 2 and out.count(" %") == 6
    status, out, _ = call(capsys, "predict", tmp_path / "a.png", "--checkpoint", run_dir, "--json", "--top", 10)
    classes = json.loads(out)["predictions"][0]["classes"]
    assert len(classes) == 10 and sum(c["probability"] for c in classes) == pytest.approx(1, abs=1e-5)
    assert [c["probability"] for c in classes] == sorted((c["probability"] for c in classes), reverse=True)
    (tmp_path / "b.png").write_text("no picture")
    status, _, err = call(capsys, "predict", tmp_path / "b.png", "--checkpoint", run_dir)
    assert status == 1 and "b.png" in err and err.count("\n") == 1


def test_summary(run_dir, capsys):
    status, out, _ = call(capsys, "summary", "vgg11")
    assert status == 0 and "132,863,336 parameters" in out and "7,609,090,048 MACs" in out and "features.0" in out
    status, out, _ = call(capsys, "summary", "cifar_vgg", "--options", "config=A", "--batch", 4, "--json", "--num-classes", 7)
    result = json.loads(out)
    assert set(result["layers"][0]) >= {"name", "type", "output_shape", "parameters", "macs", "bias_adds", "kept_bytes", "receptive_field"}
    assert result["layers"][-1]["output_shape"] == [4, 7] and result["input_shape"] == [4, 3, 32, 32]
    status, out, _ = call(capsys, "summary", run_dir, "--json")
    assert status == 0 and json.loads(out)["layers"][0]["output_shape"] == [1, 4, 32, 32]
    assert "vgg16_bn" in call(capsys, "summary", "list")[1].split()


def test_info(capsys):
    status, out, _ = call(capsys, "info")
    assert status == 0 and "GFLOP/s" in out and "numpy" in out and "Pillow" in out
    result = json.loads(call(capsys, "info", "--json")[1])
    assert result["numpy"] == np.__version__ and result["gemm_gflops"] > 0 and result["libraries"]["matplotlib"]["extra"] == "plots"


def test_a_missing_extra_is_one_line(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    status, _, err = call(capsys, "predict", tmp_path / "a.png", "--checkpoint", run_dir)
    assert status == 2 and "pip install 'scratchvgg[images]'" in err and err.count("\n") == 1
