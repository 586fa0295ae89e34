"""The paper's figures: those that other places of the project state, and no figure for what the paper did not measure."""

import pytest

from scratchvgg.evaluate import paper_row, test_scales, torchvision_row
from scratchvgg.evaluate.paper import CONFIGS, JITTER, TABLES, TORCHVISION, find_row
from scratchvgg.models import get_model_builder

MULTI = (256, 384, 512)


@pytest.mark.parametrize(("net", "protocol", "scales", "train_scale", "table", "top1", "top5"), [
    ("vgg11", "dense", 256, 256, 3, 29.6, 10.4), ("vgg_a_lrn", "dense", 256, 256, 3, 29.7, 10.5), ("vgg13", "dense", 256, 256, 3, 28.7, 9.9),
    ("vgg_c", "dense", 384, JITTER, 3, 27.3, 8.8), ("vgg16", "dense", 384, JITTER, 3, 25.6, 8.1), ("vgg19", "dense", 384, JITTER, 3, 25.5, 8.0),
    ("vgg16", "dense", MULTI, JITTER, 4, 24.8, 7.5), ("vgg19", "dense", MULTI, JITTER, 4, 24.8, 7.5),
    ("vgg16", "multicrop", MULTI, JITTER, 5, 24.6, 7.5), ("vgg19", "multicrop", MULTI, JITTER, 5, 24.6, 7.4),
    ("vgg16", "both", MULTI, JITTER, 5, 24.4, 7.2), ("vgg19", "both", MULTI, JITTER, 5, 24.4, 7.1),
    (("vgg16", "vgg19"), "both", MULTI, JITTER, 6, 23.7, 6.8),
])  # fmt: skip
def test_known_rows(net, protocol, scales, train_scale, table, top1, top5):
    row = paper_row(net, protocol, scales, train_scale)
    assert (row.table, row.top1, row.top5) == (table, top1, top5)


def test_ways_to_ask():
    row = paper_row("vgg16", "dense", MULTI, JITTER)
    assert row is paper_row("D", "dense", [512, 256, 384], [256, 512]) is paper_row(["vgg16"], "dense", iter(MULTI), JITTER)
    assert paper_row(["E", "D"], "dense", MULTI, JITTER).top1 == 24.0
    assert paper_row("vgg16", "dense", (256,), 256) is paper_row("vgg16", "dense", 256, 256)


@pytest.mark.parametrize(("net", "protocol", "scales", "train_scale"), [
    ("vgg16_bn", "dense", MULTI, JITTER), ("vgg16", "center", 256, 256), ("vgg16", "dense", MULTI, None), ("vgg16", "dense", (256, 384), JITTER),
    ("vgg16", "dense", 256, JITTER), ("vgg16", "dense", 384, 256), ("vgg16", "multicrop", 256, 256), ("vgg16", "dense", MULTI, (256, 480)),
    ("vgg11", "dense", (224, 256, 288), 256), (("vgg16", "vgg16"), "dense", MULTI, JITTER), (("vgg16", "vgg_c"), "dense", MULTI, JITTER),
    ("fast_vgg", "dense", 256, 256), ((), "dense", 256, 256),
])  # fmt: skip
def test_nothing_for_what_the_paper_did_not_measure(net, protocol, scales, train_scale):
    assert paper_row(net, protocol, scales, train_scale) is None


def test_every_row_is_found_by_itself_alone():
    for row in TABLES:
        assert find_row(row.members, row.protocol) is row and find_row(reversed(row.members), row.protocol) is row
        assert row.top5 < row.top1 < 30 and row.protocol in ("dense", "multicrop", "both")
        assert {config for config, *_ in row.members} <= set(CONFIGS.values())
    assert [sum(row.table == number for row in TABLES) for number in (3, 4, 5, 6)] == [12, 10, 4, 4]


def test_more_scales_and_more_nets_are_better():
    """As the paper concludes, row by row: what a slip of a figure would break."""
    single = {row.members[0][:2]: row for row in TABLES if row.table == 3}
    for row in TABLES:
        if row.table == 4:
            other = single[row.members[0][:2]]
            assert row.top1 < other.top1 and row.top5 < other.top5
        if row.table == 6 and row.members[0][1] == JITTER:
            assert all(row.top1 < find_row([member], row.protocol).top1 for member in row.members)


def test_test_scales():
    assert test_scales(256) == (224, 256, 288) and test_scales(384) == (352, 384, 416) and test_scales(JITTER) == MULTI
    with pytest.raises(ValueError, match="least, most"):
        test_scales((512, 256))


def test_torchvisions_figures():
    assert torchvision_row("vgg16", "center", 256) == (71.592, 90.382) == torchvision_row("vgg16", "center", [256])
    for net, protocol, scales, crop in (("vgg16", "center", 224, 224), ("vgg16", "center", (256, 384), 224), ("vgg16", "dense", 256, 224),
                                        ("vgg16", "center", 256, 192), ("vgg_c", "center", 256, 224)):  # fmt: skip
        assert torchvision_row(net, protocol, scales, crop) is None
    for name in (*CONFIGS, *TORCHVISION):
        assert get_model_builder(name)
