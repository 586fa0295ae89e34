"""Parameters and multiply–accumulates against the published counts and against counting by hand."""

import pytest

from scratchvgg import models, nn
from scratchvgg.study.summary import summarize

TRUTH = {  # torchvision's nets at 224×224, 1000 classes: parameters, MACs
    "vgg11": (132_863_336, 7_609_090_048), "vgg13": (133_047_848, 11_308_466_176),
    "vgg16": (138_357_544, 15_470_264_320), "vgg19": (143_667_240, 19_632_062_464),
    "vgg16_bn": (138_365_992, 15_470_264_320),
}


@pytest.mark.parametrize("name", TRUTH)
def test_published_counts(name):
    result = summarize(lambda: models.get_model(name), (1, 3, 224, 224))
    totals = result["totals"]
    assert (totals["parameters"], totals["macs"]) == TRUTH[name]
    assert totals["parameters"] == sum(layer["parameters"] for layer in result["layers"])
    assert result["layers"][0]["name"] == "features.0" and result["layers"][0]["output_shape"] == [1, 64, 224, 224]
    assert result["layers"][-1]["output_shape"] == [1, 1000]


def test_by_hand():
    def build():
        shared = nn.Linear(8, 8, bias=False)
        return nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.ConvTranspose2d(6, 2, 2, stride=2), nn.Flatten(0, 1), shared,
                             nn.ReLU(), shared)

    layers = summarize(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (7, 3, 2, 2))["layers"]
    assert layers[1] == {"name": "1", "type": "Linear", "output_shape": [7, 5], "parameters": 65, "macs": 7 * 60, "bias_adds": 35}
    first, second, _, linear, _, again = summarize(build, (2, 4, 8, 8))["layers"]
    assert (first["macs"], first["bias_adds"], first["parameters"]) == (2 * 6 * 16 * 2 * 9, 2 * 6 * 16, 6 * 2 * 9 + 6)
    assert second["macs"] == 2 * 6 * 16 * 2 * 4 and second["output_shape"] == [2, 2, 8, 8]
    assert linear["parameters"] == 64 and again["parameters"] == 0, "a shared layer counts once"
