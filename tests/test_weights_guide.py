"""docs/weights.md keeps its word: its code runs and prints what it says, its commands are ones, its figures are the library's."""

import re
import shlex
from pathlib import Path

from scratchvgg import models
from scratchvgg.cli.parser import Parser
from scratchvgg.cli.registry import load_command

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "weights.md").read_text(encoding="utf-8")


def test_its_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/weights.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^print\(.*?\)\)? +# (.*)$", "".join(blocks), re.MULTILINE)
    assert len(promised) == 8 and said[:6] == promised[:6] and said[6].startswith("ImageClassification(crop_size=224") and said[7] == "None None"
    assert said[8].startswith("checkpoint.pth fits cifar_vgg, not vgg16_bn: ")


def test_its_commands_are_commands():
    commands = re.findall(r"^(?:\$ )?(?:SCRATCHVGG_MIRROR=\S+ )?scratchvgg (\w+ .*?)(?:  +#.*)?$", GUIDE, re.MULTILINE)
    assert len(commands) == 6
    for line in commands:
        name, *words = shlex.split(line)
        command = load_command(name)
        parser = Parser(f"scratchvgg {name}", command.DESCRIPTION, command.EXAMPLES)
        command.configure(parser)
        parser.parse_args(words)


def test_its_table_is_the_librarys():
    rows = re.findall(r"^\| `(vgg\w+)` \| (.*?) \| ([\d.]+) / ([\d.]+)", GUIDE, re.MULTILINE)
    assert len(rows) == 8
    for net, entries, acc1, acc5 in rows:
        cls = models.get_model_weights(net)
        assert re.findall(r"`(\w+)`", entries) == [entry.name for entry in cls]
        assert cls.DEFAULT.meta["_metrics"]["ImageNet-1K"] == {"acc@1": float(acc1), "acc@5": float(acc5)}
