"""docs/devices.md keeps its word."""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "devices.md"


def test_its_code_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/devices.md", "exec"), names)
    said = capsys.readouterr().out
    assert "['direct', 'im2col', 'implicit_gemm', 'tensor_core', 'tensor_core_tf32']" in said
    if not names["sv"].cuda.is_available():
        assert said.startswith("device 'cuda:0' is not available: ") and 'device="emulator"' in said
