"""Each verdict on numbers on both sides of its threshold."""

import math

import pytest

from scratchvgg.study import verdicts
from scratchvgg.study.verdicts import of_layers, of_record


def layer(name, kind="Conv2d", std=1.0, norm=1.0, dead=0.0, ratio=1e-3, **activation):
    numbers = {"std": std, "finite": 1.0, "dead_channels": dead, "zeros": dead, "count": 6400, "channels": 10, "saturated": None, "image_std": None}
    return {"name": name, "type": kind, "activation": numbers | activation, "gradient": {"norm": norm, "finite": 1.0},
            "weight": {"norm": 1.0}, "weight_gradient": None, "update": ratio, "update_ratio": ratio}


def healthy():
    return [layer("a", std=0.5), layer("b", "ReLU"), layer("c"), layer("d", "ReLU"), layer("e", "Linear", std=0.3, image_std=0.2, norm=0.3)]


def found(layers, kind):
    return [v for v in of_layers(layers) if v.kind == kind]


def one(layers, kind):
    (verdict,) = found(layers, kind)
    return verdict


def test_a_healthy_net_has_only_good_verdicts():
    assert {(v.kind, v.severity) for v in of_layers(healthy())} == {("signal", "good"), ("gradient", "good"), ("dead", "good"), ("update", "good")}


@pytest.mark.parametrize("norm, severity, word", [(2e-3, "good", "reaches"), (0.9e-3, "warn", "vanishes"), (0.9e-6, "bad", "nothing arrives"),
                                                  (900, "good", "reaches"), (1100, "bad", "explodes")])
def test_gradient(norm, severity, word):
    layers = healthy()
    layers[0]["gradient"]["norm"] = norm * layers[-1]["gradient"]["norm"]
    verdict = one(layers, "gradient")
    assert verdict.severity == severity and word in verdict.text and verdict.evidence["ratio"] == pytest.approx(norm)


@pytest.mark.parametrize("std, severity", [(0.6e-3, "good"), (0.4e-3, "bad"), (400, "good"), (600, "bad")])
def test_signal_is_judged_where_it_is_least_or_most(std, severity):
    layers = healthy()
    layers[2]["activation"]["std"] = std
    verdict = one(layers, "signal")
    assert verdict.severity == severity and (severity == "good" or verdict.layer == "c")


def test_dead_layers_are_told_together():
    layers = healthy()
    layers[1]["activation"]["dead_channels"] = 0.39
    assert one(layers, "dead").severity == "good" and "39%" in one(layers, "dead").text
    layers[1]["activation"]["dead_channels"], layers[3]["activation"]["dead_channels"] = 0.41, 0.95
    bad, warn = found(layers, "dead")
    assert (bad.severity, bad.layer, bad.threshold) == ("bad", "d", verdicts.DEAD_BAD) and (warn.severity, warn.layer) == ("warn", "b")
    layers[3]["activation"]["count"] = 310  # 31 values a channel: not enough to call it dead
    assert [v.layer for v in found(layers, "dead")] == ["b"]
    assert not found([layer("a"), layer("b", "Linear")], "dead"), "no rectifiers, no verdict"


@pytest.mark.parametrize("ratio, severity, word", [(0.9e-4, "warn", "too little"), (1.1e-4, "good", ""), (2.9e-2, "good", ""),
                                                   (3.1e-2, "warn", "a lot"), (0.2, "bad", "far too much")])
def test_updates(ratio, severity, word):
    layers = healthy()
    layers[2]["update_ratio"] = ratio
    verdict = one(layers, "update")
    assert verdict.severity == severity and word in verdict.text and (severity == "good" or verdict.layer == "c")


def test_many_layers_are_named_by_the_ends():
    layers = [layer(f"l{i}", ratio=0.5 + i / 10) for i in range(5)]
    verdict = one(layers, "update")
    assert verdict.text.startswith("5 layers from l0 to l4: a step changes the weights by 0.5 to 0.9") and verdict.layer == "l4"


def test_saturated_and_same_output():
    layers = healthy()
    assert not found(layers, "saturated") and not found(layers, "same_output")
    layers.insert(4, layer("s", "Sigmoid", saturated=0.6))
    layers[-1]["activation"]["image_std"] = 0.9e-3
    assert one(layers, "saturated").layer == "s" and one(layers, "same_output").severity == "bad"


def test_gradient_norm():
    assert verdicts.gradient_norm(999).severity == "good" and verdicts.gradient_norm(1001).severity == "bad"


def losses(*values):
    return [{"loss": value} for value in values]


@pytest.mark.parametrize("end, kind, severity", [(4.7, "diverged", "bad"), (2.34, "at_chance", "bad"), (2.27, "at_chance", "bad"),
                                                 (2.2, "learning", "warn"), (2.0, "learning", "good"), (2.6, "learning", "warn")])
def test_losses(end, kind, severity):
    (verdict,) = verdicts.on_loss(losses(2.4, *[end] * 10), 10)
    assert (verdict.kind, verdict.severity) == (kind, severity) and verdict.evidence["ln_classes"] == math.log(10)


def test_ln_of_the_classes_counts():
    assert verdicts.on_loss(losses(*[math.log(100)] * 5), 100)[0].kind == "at_chance"
    assert verdicts.on_loss(losses(*[math.log(100)] * 5), 10)[0].kind == "diverged"
    assert verdicts.on_loss(losses(None), 10) == []


def test_the_first_layer_that_is_not_finite():
    layers = healthy()
    layers[2]["activation"]["finite"], layers[4]["activation"]["finite"] = 0.5, 0.0
    (verdict,) = verdicts.non_finite(layers, "the loss is nan", 7)
    assert verdict.layer == "c" and "50.0% of the values" in verdict.text and "step 7" in verdict.text
    layers = healthy()
    layers[0]["gradient"]["finite"] = layers[2]["gradient"]["finite"] = 0.9
    assert verdicts.non_finite(layers)[0].layer == "c", "backward comes from the end"
    assert verdicts.non_finite(healthy()) == [] and verdicts.non_finite(healthy(), "why", 3)[0].text == "Training ended at step 3: why."


def record(step, loss=1.0, end=None, layers=None):
    return {"step": step, "loss": loss, "end": end, "grad_norm": 1.0, "layers": layers or healthy()}


def test_a_record_is_judged_by_its_end_and_the_worst_comes_first():
    bad = healthy()
    bad[2]["activation"]["std"] = 1e-9
    early = of_record({"classes": 10}, [*[record(i, layers=bad) for i in range(8)], *[record(i) for i in range(8, 18)]])
    assert {v.severity for v in early} == {"good"}
    late = of_record({"classes": 10}, [*[record(i) for i in range(8)], *[record(i, layers=bad) for i in range(8, 18)]])
    assert [v.severity for v in late][:2] == ["bad", "good"] and late[0].kind == "signal"
    slow = [record(i) for i in range(17)]
    for line in slow[-5:]:
        line["layers"][0]["update_ratio"] = 1e-7
    assert all(v.severity == "good" for v in of_record({"classes": 10}, slow)), "a learning rate that goes to 0 is no fault"
    assert of_record({"classes": 10}, []) == []


def test_a_broken_end_does_not_hide_what_came_before():
    broken = healthy()
    broken[2]["activation"] |= {"finite": 0.0, "std": None}
    found = of_record({"classes": 10}, [record(1, 2.3), record(2, 50.0), record(3, None, "the loss is nan", broken)])
    assert [v.kind for v in found if v.severity == "bad"] == ["non_finite", "diverged"]


def test_medians_leave_out_what_is_missing():
    lines = [record(i) for i in range(3)]
    for line, std in zip(lines, (1.0, None, 3.0), strict=True):
        line["layers"][0]["activation"]["std"] = std
    lines[0]["layers"][1]["gradient"] = None
    first, second, *_ = verdicts.median_layers(lines)
    assert first["activation"]["std"] == 2.0 and second["gradient"]["norm"] == 1.0 and first["type"] == "Conv2d"


def test_text_is_folded():
    text = verdicts.text_of([verdicts.Verdict("x", "", "bad", "word " * 60)], 80)
    assert max(map(len, text.splitlines())) <= 80 and text.startswith("bad   word") and verdicts.Verdict("x", "", "bad", "t").to_dict()["kind"] == "x"
