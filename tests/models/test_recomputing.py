"""A VGG whose stages are computed again: the same numbers, as a copy too, and switched off again."""

import copy

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.models.recomputing import recompute_stages, stages_of


def build():
    sv.manual_seed(0)
    return sv.models.small_vgg(widths=(4, 4, "M", 6, "M", 8, "M"), num_classes=3, dropout=0.5).train()


def step(net):
    sv.manual_seed(1)
    loss = nn.functional.cross_entropy(net(sv.randn(4, 3, 16, 16)), sv.tensor([0, 1, 2, 0]))
    loss.backward()
    return [loss.item(), *(p.grad.numpy() for p in net.parameters()), *(b.numpy() for b in net.buffers())]


def test_the_same_numbers():
    plain, again, off = build(), recompute_stages(build()), recompute_stages(recompute_stages(build()), on=False)
    other = copy.deepcopy(again)
    again.features[0].weight.data.fill_(0)  # a copy runs its own layers
    again = recompute_stages(build())
    expected = step(plain)
    for net in (again, other, off):
        assert all(np.array_equal(a, b) for a, b in zip(step(net), expected, strict=True))
    assert "forward" not in vars(off.features) and again.state_dict().keys() == plain.state_dict().keys()


def test_the_stages():
    net = build()
    assert [len(stage) for stage in stages_of(net.features)] == [7, 4, 4]
    assert [m for stage in stages_of(net.features) for m in stage] == list(net.features)
    out = recompute_stages(net)(sv.randn(2, 3, 16, 16))
    away, nodes = 0, [out.grad_fn]
    while nodes:
        node = nodes.pop()
        away += getattr(node, "away", None) is not None
        nodes += [edge[0] for edge in node.edges if edge]
    assert away > 0


@pytest.mark.parametrize("net", [nn.Linear(2, 2), nn.Sequential(nn.Conv2d(3, 2, 3))])
def test_other_nets_are_refused(net):
    with pytest.raises(ValueError, match="expected a net with `features`"):
        recompute_stages(net)


def test_it_can_be_traced():
    """The study's recorder stands beside a checkpoint: nothing of a stage is kept, and all layers are named."""
    from scratchvgg.study.trace import trace

    x, target = sv.randn(4, 3, 16, 16), sv.tensor([0, 1, 2, 0])
    plain, again = (trace(net, x, target, backward=True) for net in (build(), recompute_stages(build())))
    assert [c.layer for c in plain.calls] == [c.layer for c in again.calls] and plain.leaf_gradients == again.leaf_gradients
    kept = {c.layer: c.kept_bytes for c in again.calls}
    assert kept["features.0"] == kept["features.2"] == 0 < sum(kept.values()) < sum(c.kept_bytes for c in plain.calls)
