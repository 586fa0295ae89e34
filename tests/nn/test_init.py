"""Initialisers: torch's formulas for gain and spread, exact ones equal, random ones by their moments."""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.nn import init

EXACT = {
    "zeros": lambda i, t: i.zeros_(t(3, 4)),
    "ones": lambda i, t: i.ones_(t(3, 4)),
    "constant": lambda i, t: i.constant_(t(3, 4), 0.3),
    "eye": lambda i, t: i.eye_(t(3, 5)),
    "dirac": lambda i, t: i.dirac_(t(4, 3, 3, 3)),
    "dirac wide": lambda i, t: i.dirac_(t(2, 5, 4, 3)),
    "dirac groups": lambda i, t: i.dirac_(t(6, 2, 3, 5), groups=3),
    "dirac 1d": lambda i, t: i.dirac_(t(4, 3, 3)),
}

SPREAD = {
    "uniform": lambda i, t: i.uniform_(t(100, 90), -2, 1),
    "normal": lambda i, t: i.normal_(t(100, 90), 1.5, 0.1),
    "xavier uniform": lambda i, t: i.xavier_uniform_(t(60, 20, 3, 3), gain=2.0),
    "xavier normal": lambda i, t: i.xavier_normal_(t(60, 20, 3, 3)),
    "kaiming uniform": lambda i, t: i.kaiming_uniform_(t(60, 20, 3, 3), a=5**0.5),
    "kaiming normal": lambda i, t: i.kaiming_normal_(t(60, 20, 3, 3), mode="fan_out", nonlinearity="relu"),
    "kaiming normal leaky": lambda i, t: i.kaiming_normal_(t(60, 180), a=0.2),
    "trunc normal": lambda i, t: i.trunc_normal_(t(100, 90), std=0.02),
    "trunc normal, narrow": lambda i, t: i.trunc_normal_(t(100, 90), 0.5, 2.0, -1.0, 0.7),
}

WRONG = {
    "gain": lambda i, t: i.calculate_gain("swish"),
    "slope": lambda i, t: i.calculate_gain("leaky_relu", "x"),
    "mode": lambda i, t: i.kaiming_normal_(t(3, 3), mode="fan"),
    "nonlinearity": lambda i, t: i.kaiming_uniform_(t(3, 3), nonlinearity="swish"),
    "vector": lambda i, t: i.xavier_normal_(t(3)),
    "vector, kaiming": lambda i, t: i.kaiming_normal_(t(3)),
    "vector, orthogonal": lambda i, t: i.orthogonal_(t(3)),
    "eye": lambda i, t: i.eye_(t(3, 3, 3)),
    "dirac": lambda i, t: i.dirac_(t(3, 3)),
    "dirac groups": lambda i, t: i.dirac_(t(3, 3, 3), groups=2),
}


def ours(*shape):
    return sv.full(shape, 7.0)


@pytest.mark.parametrize("program", EXACT.values(), ids=EXACT.keys())
def test_exact(program, torch):
    assert np.array_equal(program(init, ours).numpy(), program(torch.nn.init, torch.empty).numpy())


@pytest.mark.parametrize("program", SPREAD.values(), ids=SPREAD.keys())
def test_spread(program, torch):
    a, b = program(init, ours).numpy(), program(torch.nn.init, torch.empty).numpy()
    assert a.dtype == np.float32
    scale = b.std()
    assert abs(a.mean() - b.mean()) < 0.06 * scale and abs(a.std() - scale) < 0.05 * scale
    assert abs(np.abs(a).max() - np.abs(b).max()) < (1.5 if "normal" in str(program.__code__.co_names) else 0.05) * scale
    assert abs((a < b.mean()).mean() - (b < b.mean()).mean()) < 0.03


def test_trunc_normal_stays_inside_and_has_the_right_shape():
    x = init.trunc_normal_(sv.empty(50_000), mean=1.0, std=2.0, a=0.0, b=4.0).numpy()
    assert x.min() >= 0 and x.max() <= 4
    edges = np.linspace(0, 4, 9)
    density = np.exp(-0.5 * ((edges[:-1] + 0.25 - 1) / 2) ** 2)
    assert np.allclose(np.histogram(x, edges)[0] / 50_000, density / density.sum(), atol=0.01)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3, 3), (4, 4)])
def test_orthogonal(shape):
    q = init.orthogonal_(sv.empty(*shape, dtype=sv.float64), gain=2.0).numpy().reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert np.allclose(product, 4 * np.eye(min(q.shape)), atol=1e-12)


def test_orthogonal_matrices_are_uniform():
    """Without the signs Q would be biased: in a uniform rotation or reflection the determinant has either sign equally often."""
    signs = [np.sign(np.linalg.det(init.orthogonal_(sv.empty(3, 3, dtype=sv.float64)).numpy())) for _ in range(200)]
    assert 60 < signs.count(1) < 140


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
@pytest.mark.parametrize("param", [None, 0.3])
def test_gains(name, param, torch):
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize("program", WRONG.values(), ids=WRONG.keys())
def test_same_errors(program, torch):
    with pytest.raises(Exception) as expected:
        program(torch.nn.init, torch.empty)
    with pytest.raises(expected.type):
        program(init, ours)


def test_off_the_tape_and_seeded():
    p = sv.nn.Parameter(sv.empty(4, 4))
    assert init.kaiming_normal_(p, generator=sv.Generator(3)) is p and p.is_leaf and p.requires_grad
    q = init.kaiming_normal_(sv.empty(4, 4), generator=sv.Generator(3))
    assert np.array_equal(p.detach().numpy(), q.numpy())


def test_memory_order_does_not_change_the_values():
    a = init.normal_(sv.empty(5, 4, 3, 3), generator=sv.Generator(1))
    b = init.normal_(sv.empty(5, 4, 3, 3).contiguous(memory_format=sv.channels_last), generator=sv.Generator(1))
    assert np.array_equal(a.numpy(), b.numpy())


def test_empty_tensors_warn(torch):
    for i, tensor in ((torch.nn.init, torch.empty), (init, sv.empty)):
        with pytest.warns(UserWarning, match="zero-element"):
            i.kaiming_normal_(tensor(0, 3))


def test_skip_leaves_tensors_alone():
    x = sv.full((2,), 7.0)
    with init.skip():
        init.zeros_(x)
        init.normal_(x)
    assert x.tolist() == [7, 7]
    assert init.zeros_(x).tolist() == [0, 0]
