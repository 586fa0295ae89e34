"""The weight-randomisation check: its measures of likeness, the cascade, and what it says of a net that has learnt something."""

import itertools

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models
from scratchvgg.study import StudyError
from scratchvgg.study.attribution import METHODS, sanity
from scratchvgg.study.attribution.similarity import edges, rank_correlation, ssim


def test_rank_correlation():
    random = np.random.default_rng(0)
    a = random.normal(size=(6, 7))
    assert rank_correlation(a, np.exp(3 * a)) == pytest.approx(1) and rank_correlation(a, -(a**3)) == pytest.approx(-1)
    b = random.integers(0, 4, size=(6, 7)).astype(float)  # ties
    ranks = [np.array([(v.ravel() < x).sum() + ((v.ravel() == x).sum() + 1) / 2 for x in v.ravel()]) for v in (a, b)]
    assert rank_correlation(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert np.isnan(rank_correlation(a, np.ones((6, 7))))
    with pytest.raises(ValueError, match="equal shapes"):
        rank_correlation(a, b[1:])


def test_ssim_equals_a_plain_loop():
    random = np.random.default_rng(0)
    a, b = random.uniform(size=(2, 12, 10))
    values = []
    for i, j in itertools.product(range(12 - 6), range(10 - 6)):
        p, q = a[i : i + 7, j : j + 7].ravel(), b[i : i + 7, j : j + 7].ravel()
        covariance = np.mean((p - p.mean()) * (q - q.mean()))
        values.append((2 * p.mean() * q.mean() + 1e-4) * (2 * covariance + 9e-4)
                      / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var() + q.var() + 9e-4)))
    assert ssim(a, b) == pytest.approx(np.mean(values)) and ssim(a, a) == pytest.approx(1) and ssim(a[:4], a[:4]) == pytest.approx(1)
    with pytest.raises(ValueError, match="one shape"):
        ssim(a, b[1:])


def test_edges():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 100
    found = edges(picture)
    assert found.shape == (8, 8) and found[:, 3:5].min() == 400 and found[:, :3].max() == found[:, 5:].max() == 0


@pytest.fixture(scope="module")
def net():
    sv.manual_seed(1)
    return models.small_vgg(widths=(6, "M", 8, "M"), num_classes=4).train()


def test_the_cascade_goes_down_layer_by_layer_and_leaves_the_net_alone(net):
    before = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    x = sv.randn(1, 3, 16, 16)
    result = sanity.check(net, x, 2, methods=("gradient", "guided", "occlusion"), patch=8)
    assert [s.layer for s in result.stages] == ["", "classifier.1", "features.5", "features.4", "features.1", "features.0"]
    assert [s.random for s in result.stages] == list(range(6)) and result.layers == 5 and result.target.index == 2
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in net.state_dict().items()) and net.training
    for method in result.methods:
        assert result.stages[0].ranks[method] == pytest.approx(1) and result.stages[0].structure[method] == pytest.approx(1)
        found = METHODS[method](net, x, 2, **({"patch": 8} if method == "occlusion" else {}))
        assert np.array_equal(result.stages[0].maps[method], found.normalised().astype(np.float32))
        assert abs(result.stages[-1].ranks[method]) < 0.9
    assert result.upper_half("gradient") == pytest.approx(np.mean([s.ranks["gradient"] for s in result.stages[1:3]]))
    data = result.to_dict()
    assert len(data["stages"]) == 6 and set(data["verdicts"]) == {"gradient", "guided", "occlusion"}
    assert "classifier.1" in str(result) and "of 5" in str(result)


def test_random_weights_keep_the_size_of_the_learnt_ones(net, monkeypatch):
    spread = {}

    def look(module, generator, plain=sanity._forget):
        before = {name: p.detach().numpy().copy() for name, p in module.named_parameters(recurse=False)}
        plain(module, generator)
        for name, p in module.named_parameters(recurse=False):
            now = p.detach().numpy()
            if now.ndim > 1:
                spread[type(module).__name__] = now.std() / before[name].std()
                assert abs(np.corrcoef(now.ravel(), before[name].ravel())[0, 1]) < 0.4
            else:
                assert np.array_equal(np.sort(now), np.sort(before[name]))

    monkeypatch.setattr(sanity, "_forget", look)
    sanity.check(net, sv.randn(1, 3, 16, 16), methods="gradient")
    assert set(spread) == {"Conv2d", "Linear"} and all(0.7 < ratio < 1.4 for ratio in spread.values())


def test_stages_and_seeds(net):
    x, said = sv.randn(1, 3, 16, 16), []
    result = sanity.check(net, x, methods="gradient", stages=2, progress=said.append)
    assert [s.random for s in result.stages] == [0, 2, 5] and said == ["sanity: 2 of 5 layers random (from features.5 up)",
                                                                       "sanity: 5 of 5 layers random (from features.0 up)"]
    again, other = (sanity.check(net, x, methods="gradient", stages=2, seed=seed) for seed in (0, 1))
    assert again.to_dict() == result.to_dict() != other.to_dict()
    with pytest.raises(StudyError, match="stages"):
        sanity.check(net, x, stages=0)
    with pytest.raises(StudyError, match="no method 'guide'; near: guided"):
        sanity.check(net, x, methods="guide")


def test_a_map_without_differences_is_not_alike(net):
    stage = sanity.Stage("l", 1, {"m": float("nan")}, {"m": 1.0})
    result = sanity.Sanity(sanity.ClassScore(0, None, 0.5, 1.0), ["m"], 2, [sanity.Stage("", 0, {"m": 1.0}, {"m": 1.0}), stage], {"m": float("nan")})
    assert result.upper_half("m") == 0 and result.verdict("m")[0] == "good" and "0.00" in str(result)
