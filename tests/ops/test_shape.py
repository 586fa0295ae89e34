"""Shapes: what is a view, what is refused, and when view copies."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import scratchvgg as sv

from .twins import same, same_error


def channels_last(*shape):
    n, c, h, w = shape
    return sv.from_numpy(np.arange(n * c * h * w, dtype=np.float32).reshape(n, h, w, c)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.reshape(6, 4),
        lambda x: x.view(-1),
        lambda x: x.flatten(1),
        lambda x: x.permute(2, 0, 1),
        lambda x: x.transpose(0, 1),
        lambda x: x.T,
        lambda x: x.unsqueeze(1),
        lambda x: x[:1].squeeze(0),
        lambda x: x[1],
        lambda x: x[:, ::2],
        lambda x: x[..., None, 1],
        lambda x: x.narrow(1, 1, 2),
        lambda x: x.chunk(2, 2)[1],
        lambda x: x.split(2, 1)[0],
        lambda x: x.unbind(1)[2],
        lambda x: x.expand(2, 3, 4),
        lambda x: x.movedim(0, 2),
        lambda x: x.swapaxes(0, 2),
        lambda x: x.unflatten(2, (2, 2)),
        lambda x: x.mT,
        lambda x: x.detach(),
        lambda x: x.view_as(x),
    ],
)
def test_views_share_memory_and_writes(view):
    x = sv.arange(1.0, 25.0).reshape(2, 3, 4)
    v = view(x)
    assert np.shares_memory(v.array, x.array)
    before = x.version.value
    v.zero_()
    assert x.version.value == v.version.value > before and (x == 0).sum() == v.numel()


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x.clone(),
        lambda x: x.repeat(1, 1),
        lambda x: x.flip(0),
        lambda x: x.roll(1, 0),
        lambda x: x.T.contiguous(),
        lambda x: x[sv.tensor([0, 1])],
        lambda x: x[x > -1],
        lambda x: x.T.reshape(-1),
        lambda x: x.tile(1),
    ],
)
def test_copies_do_not(copy):
    x = sv.arange(6.0).reshape(2, 3)
    assert not np.shares_memory(copy(x).array, x.array)


def test_view_copies_where_only_our_layout_stands_in_its_way(torch):
    x = channels_last(2, 3, 4, 5)
    plain = torch.from_numpy(np.ascontiguousarray(x.numpy()))
    for view in (
        lambda t: t.view(2, -1),
        lambda t: t.view(-1),
        lambda t: t.view(6, 20),
        lambda t: t[:, 1:].view(2, -1),
        lambda t: t[:, :, 1:3].view(2, 3, 10),
        lambda t: t[1:].view(3, 20),
        lambda t: t[:, :, :, 1:].view(6, 4, 4),
        lambda t: t[:, 1].view(2, 20),
        lambda t: t[..., 0].view(2, -1),
        lambda t: t[..., 2:3].view(-1),
    ):
        np.testing.assert_array_equal(view(x), view(plain))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, :2].view(-1),
        lambda x: x[:, :, :3].view(2, -1),
        lambda x: x[..., :2].view(-1, 4),
        lambda x: x[:, 1:, 1:].view(-1),
        lambda x: x[:, :1].expand(2, 3, 4, 5).view(-1),
    ],
)
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_view_refuses_the_gaps_of_a_slice(torch, view, layout):
    x = channels_last(2, 3, 4, 5) if layout == "channels last" else sv.arange(120.0).view(2, 3, 4, 5)
    with pytest.raises(RuntimeError, match=r"view: .*reshape"):
        view(x)
    with pytest.raises(RuntimeError):
        view(torch.arange(120.0).view(2, 3, 4, 5))


@given(st.data())
def test_view_agrees_with_torch_about_any_slice(data):
    torch = pytest.importorskip("torch")
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    index = tuple(
        slice(data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n)), data.draw(st.integers(1, 2))) for n in shape
    )
    theirs = torch.arange(int(np.prod(shape))).reshape(shape)[index]
    assume(theirs.numel())
    order = data.draw(st.permutations(range(len(shape))))
    memory = np.empty([shape[d] for d in order], np.int64).transpose(np.argsort(order))
    memory[...] = np.arange(memory.size).reshape(shape)
    ours = sv.from_numpy(memory)[index]
    sizes = list(data.draw(st.permutations(_factors(theirs.numel()))))
    cut = data.draw(st.integers(0, len(sizes)))
    sizes = [*sizes[:cut], int(np.prod(sizes[cut:], dtype=int))]
    try:
        expected = theirs.view(sizes)
    except RuntimeError:
        if list(order) == list(range(len(shape))):  # in other memory orders more is possible
            with pytest.raises(RuntimeError, match="view"):
                ours.view(sizes)
    else:
        np.testing.assert_array_equal(ours.view(sizes), expected)


def _factors(n):
    found, p = [], 2
    while n > 1:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found


def test_view_as_another_type(torch):
    same(torch, lambda t, x: x.view(t.int32), np.array([1.0, -2.0], np.float32))
    with pytest.raises(RuntimeError, match="dtype"):
        sv.ones(2, requires_grad=True).view(sv.int32)


def test_memory_formats(torch):
    for library in (sv, torch):
        x = library.zeros(2, 3, 4, 5)
        y = x.contiguous(memory_format=library.channels_last)
        assert y.stride() == (60, 1, 15, 3) and y.is_contiguous(memory_format=library.channels_last) and not y.is_contiguous()
        assert x.contiguous() is x and y.contiguous(memory_format=library.channels_last) is y
        assert y.clone().stride() == y.stride() and y.clone(memory_format=library.contiguous_format).is_contiguous()
        assert (
            library.zeros_like(y).stride() == y.stride()
            and library.ones_like(y, memory_format=library.contiguous_format).is_contiguous()
        )
        assert x.to(memory_format=library.channels_last).stride() == y.stride()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.view(5),
        lambda x: x.reshape(-1, -1),
        lambda x: x[:0].reshape(-1, 0),
        lambda x: x.reshape(4, -1),
        lambda x: x.reshape(-2, 3),
        lambda x: x.permute(0, 0),
        lambda x: x.permute(0),
        lambda x: x.expand(3, 3),
        lambda x: x.expand(3),
        lambda x: x.expand(-1, 2, 3),
        lambda x: x.repeat(2),
        lambda x: x.unsqueeze(4),
        lambda x: x.unsqueeze(0).t(),
        lambda x: x.flatten(1, 0),
        lambda x: x.flatten(0, 2),
        lambda x: x.unflatten(1, (2, 2)),
        lambda x: x.chunk(0),
        lambda x: x.split(0),
        lambda x: x.split([1, 2]),
        lambda x: x.narrow(0, 1, 2),
        lambda x: x.sum().split(1),
        lambda x: x.narrow(0, 5, 1),
        lambda x: x.roll((1, 1), (0,)),
        lambda x: x.flip(0, 0),
        lambda x: x.squeeze(5),
        lambda x: x.transpose(0, 3),
        lambda x: x.unbind(3),
        lambda x: x.movedim((0, 1), (0,)),
        lambda x: x.movedim(0, 3),
        lambda x: x.view("a"),
        lambda x: x.reshape(2.0, 3),
        lambda x: x[0].contiguous(memory_format=1),
        lambda x: x.repeat(-1, 1),
        lambda x: x[0].tril(),
    ],
)
def test_what_torch_refuses(torch, wrong):
    same_error(torch, lambda t: wrong(t.arange(6.0).reshape(2, 3)))


def test_channels_last_needs_four_dimensions(torch):
    same_error(torch, lambda t: t.zeros(2, 3).contiguous(memory_format=t.channels_last))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: t.cat([]),
        lambda t: t.cat([t.ones(2), t.ones(2, 2)]),
        lambda t: t.cat([t.ones(2, 3), t.ones(2, 2)]),
        lambda t: t.cat([t.tensor(1.0)]),
        lambda t: t.cat([t.ones(2)], 3),
        lambda t: t.stack([t.ones(2), t.ones(3)]),
        lambda t: t.stack([]),
        lambda t: t.cat(t.ones(2)[0]),
        lambda t: t.cat([1, 2]),
    ],
)
def test_what_cat_refuses(torch, wrong):
    same_error(torch, wrong)


def test_zero_dimensional_and_empty(torch):
    same(
        torch,
        lambda t, x: [
            x.reshape(1),
            x.flatten(),
            x.squeeze(),
            x.unsqueeze(0),
            x.expand(2, 2),
            x.repeat(3),
            x.t(),
            x.permute(()),
            x.squeeze(-1),
        ],
        3.0,
    )
    same(
        torch,
        lambda t, x: [
            x.reshape(0, 5),
            x.flatten(),
            x.transpose(0, 1),
            x.chunk(2),
            x.repeat(2, 1, 1),
            x.flip(0),
            x.unbind(1),
            x.roll(1),
        ],
        np.zeros((0, 2, 3)),
    )


def test_cat_keeps_channels_last():
    x = channels_last(2, 3, 4, 5)
    assert sv.cat([x, x], 1).is_contiguous(memory_format=sv.channels_last)
