"""The tape as a graph: nodes, edges and steps are those of the engine; the drawing and the DOT text are well formed."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.autograd import intercept_backward
from scratchvgg.study import tape
from scratchvgg.study.tape_layout import arrange
from scratchvgg.study.trace import trace


class Residual(nn.Module):
    """Two paths that meet, a weight that is used twice, and a shortcut over several ranks."""

    def __init__(self):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        y = self.stem(x)
        z = self.body(self.body(y).relu()) + y
        return self.head((z + y * 0.5).mean((2, 3)))


@pytest.fixture
def small():
    net = sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3, dropout=0.25).train()
    return trace(net, sv.randn(2, 3, 8, 8), sv.tensor([0, 2]), backward=True)


@pytest.fixture
def residual():
    return trace(Residual(), sv.randn(1, 3, 6, 6), sv.tensor([1]), backward=True)


def test_nodes_and_edges_are_those_of_the_run(small):
    graph = tape.of_trace(small)
    assert [(node.name, node.layer) for node in graph.operations] == [(call.op, call.layer) for call in small.calls]
    assert [node.name for node in graph.sources("n0")] == ["input", "features.0.weight", "features.0.bias"]
    assert next(node.id for node in graph.sources("n1")) == "n0" and graph.nodes["n1"].kept_bytes == small.calls[1].kept_bytes
    leaves = {node.name: node for node in graph.nodes.values() if node.kind == "parameter"}
    assert leaves.keys() == {name for name, _ in small.model.named_parameters()}
    assert all(leaves[name].gradient_norm == norm for name, norm in small.leaf_gradients.items())
    assert {node.name for node in graph.nodes.values() if node.kind == "input"} == {"input", "target"}


@pytest.mark.parametrize("which", ["small", "residual"])
def test_the_steps_are_the_engines_walk(which, request):
    model, seen = request.getfixturevalue(which).model, []

    def watch(node, grads, proceed):
        seen.append((node.name, sum(float(np.square(g.astype(np.float64)).sum()) for g in grads if g is not None) ** 0.5))
        return proceed(grads)

    with intercept_backward(watch):
        graph = tape.of_trace(trace(model, sv.randn(2, 3, 8, 8), sv.tensor([1, 0]), backward=True))
    walked = [item for item in seen if item[0] != "AccumulateGrad"]
    assert [graph.nodes[step.node].name for step in graph.steps] == [name for name, _ in walked]
    assert [step.gradient_norm for step in graph.steps] == pytest.approx([norm for _, norm in walked])


def test_memory_falls_to_nothing(small):
    graph = tape.of_trace(small)
    assert graph.kept_bytes == sum(call.kept_bytes for call in small.calls) > 0
    held = [graph.kept_bytes, *(step.held for step in graph.steps)]
    assert held[-1] == 0 and all(a - b == step.freed for a, b, step in zip(held, held[1:], graph.steps, strict=False))
    named = [name for step in graph.steps for name, _ in step.leaves]
    assert sorted(named) == sorted(small.leaf_gradients) and graph.steps[-1].leaves[0][0] == "features.0.weight"


def test_a_weight_used_twice_is_done_at_its_last_use(residual):
    graph = tape.of_trace(residual)
    body = [step for step in graph.steps if graph.nodes[step.node].layer == "body"]
    assert [[name for name, _ in step.leaves] for step in body] == [[], ["body.weight", "body.bias"]]
    assert sum(source == next(n.id for n in graph.nodes.values() if n.name == "body.weight") for source, _ in graph.edges) == 2


def test_without_backward_there_are_no_steps():
    net = sv.models.small_vgg(widths=(4, "M"), num_classes=3).eval()
    graph = tape.of_trace(trace(net, sv.randn(1, 3, 8, 8)))
    assert graph.steps == [] and graph.kept_bytes == 0 and not any(node.recorded for node in graph.operations)
    assert "step by step" not in str(graph)
    assert tape.of_trace(trace(net, sv.randn(1, 3, 8, 8), record=True)).kept_bytes > 0


# ---- layout ----------------------------------------------------------------------------------------------------------


def boxes_of(svg):
    root = ET.fromstring(str(svg))
    groups = [g for g in root.iter("g") if g.get("class") == "tape-node"]
    return {g.get("data-node"): tuple(float(g.find("rect").get(name)) for name in ("x", "y", "width", "height")) for g in groups}, root


def test_a_chain_is_a_straight_line(small):
    pytest.importorskip("jinja2")
    boxes, root = boxes_of(tape.of_trace(small).svg())
    assert len(boxes) == len(small.calls) + 1 and len({x for x, *_ in boxes.values()}) == 1
    assert not [path for path in root.iter("path") if "C" in path.get("d")]


@pytest.mark.parametrize("which", ["small", "residual"])
def test_boxes_do_not_overlap_and_flow_down(which, request):
    pytest.importorskip("jinja2")
    graph = tape.of_trace(request.getfixturevalue(which))
    boxes, root = boxes_of(graph.svg())
    width, height = float(root.get("width")), float(root.get("height"))
    items = list(boxes.values())
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in items)
    assert not any(x < u + s and u < x + w and y < v + t and v < y + h for i, (x, y, w, h) in enumerate(items) for u, v, s, t in items[i + 1:])
    for source, target in graph.edges:
        if source in boxes:
            assert boxes[source][1] + boxes[source][3] < boxes[target][1]


def test_crossings_are_undone_and_long_edges_run_around():
    nodes = list("abcdef")
    layout = arrange(nodes, [("a", "d"), ("b", "c"), ("c", "e"), ("d", "e"), ("a", "f"), ("e", "f")], dict.fromkeys(nodes, (10.0, 10.0)))
    places = layout.places
    assert (places["a"][0] < places["b"][0]) == (places["d"][0] < places["c"][0])
    assert [places[name][1] for name in "abcdef"] == [0, 0, 1, 1, 2, 3]
    around = layout.bends["a", "f"]
    assert len(around) == 2 and all(abs(around[1] - places["e"][0]) >= 10 + 6 for _ in [0])
    assert arrange([], [], {}).ranks == 0


def test_input_that_is_read_late_stands_near_its_reader():
    layout = arrange(["a", "late", "b", "c"], [("a", "b"), ("b", "c"), ("late", "c")], dict.fromkeys(["a", "late", "b", "c"], (5.0, 5.0)))
    assert layout.places["late"][1] == 1


# ---- what is written -------------------------------------------------------------------------------------------------


def parse_dot(text):
    """(label of each node, edges) of the subset that is written, strings unescaped; fails for anything else."""
    string = r'"((?:[^"\\]|\\.)*)"'
    lines = text.splitlines()
    assert lines[0] == "digraph tape {" and lines[-1] == "}"
    labels, edges = {}, []
    for line in lines[3:-1]:
        if found := re.fullmatch(rf"  (\w+) \[label={string}(?:, shape=ellipse)?(?:, style=dashed)?\];", line):
            labels[found[1]] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], found[2])
        else:
            found = re.fullmatch(r"  (\w+) -> (\w+);", line)
            assert found, line
            edges.append((found[1], found[2]))
    return labels, edges


def test_dot(residual):
    graph = tape.of_trace(residual)
    labels, edges = parse_dot(graph.to_dot())
    assert labels.keys() == graph.nodes.keys() and edges == graph.edges
    assert labels["n0"].splitlines()[:3] == ["conv2d", "stem", "1×4×6×6"]
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tplain"], input=graph.to_dot(), capture_output=True, text=True, check=True)
        assert done.stdout.count("\nnode ") == len(graph.nodes) and done.stdout.count("\nedge ") == len(graph.edges)


def test_names_are_escaped():
    net = nn.Sequential()
    net.add_module('a"b\\', nn.Conv2d(3, 2, 3))
    net.add_module("<b>&", nn.ReLU())
    graph = tape.of_trace(trace(net, sv.randn(1, 3, 5, 5)))
    labels, _ = parse_dot(graph.to_dot())
    assert labels["n0"].splitlines()[1] == 'a"b\\'
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tplain"], input=graph.to_dot(), capture_output=True, text=True, check=True)
    pytest.importorskip("jinja2")
    html = str(graph.to_html())
    assert "<b>" not in html and "&lt;b&gt;&amp;" in html
    ET.fromstring(str(graph.svg()))


def test_text_page_and_json(small, tmp_path):
    graph = tape.of_trace(small)
    text = str(graph)
    assert max(map(len, text.splitlines())) <= 150 and "Backward, step by step" in text and "features.0.weight" in text
    graph.save_json(tmp_path / "tape.json")
    read = json.loads((tmp_path / "tape.json").read_text("utf-8"))
    assert [node["name"] for node in read["nodes"] if node["kind"] == "operation"] == [call.op for call in small.calls]
    assert read["steps"][-1]["held"] == 0 and read["edges"] == [list(edge) for edge in graph.edges]
    pytest.importorskip("jinja2")
    html = str(graph.to_html())
    assert "style=" not in html and "onclick" not in html and html.count("<tr data-node") == len(graph.steps)
    for step in graph.steps:
        assert f'<g class="tape-node" data-node="{step.node}">' in html


def test_the_drawing_of_a_deep_net_is_small():
    pytest.importorskip("jinja2")
    net = sv.models.paper_vgg(config="E", width=0.05, hidden=16, batch_norm=True, num_classes=10).train()
    graph = tape.of_trace(trace(net, sv.randn(2, 3, 32, 32), sv.tensor([1, 2]), backward=True))
    svg = str(graph.svg())
    assert len(svg.encode()) < 150_000 and len(str(graph.to_html()).encode()) < 250_000
    assert float(ET.fromstring(svg).get("width")) < 480
