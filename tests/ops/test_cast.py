"""Moving between devices, with a second device that is the CPU under another name."""

import pytest

import scratchvgg as sv


@pytest.fixture
def elsewhere():
    """Another device than the CPU, on every machine."""
    return sv.device("emulator:0")


def test_what_is_moved_stays_there(elsewhere):
    x = sv.ones(2, 3).to(elsewhere)
    assert x.device == elsewhere and (x * 2).sum().device == elsewhere and x.cpu().device == sv.device("cpu")
    assert x.to(elsewhere) is x and sv.zeros(2, device=elsewhere).device == elsewhere and "device='emulator:0'" in repr(x)
    with pytest.raises(RuntimeError, match=r"expected all tensors on one device, found (emulator:0 and cpu|cpu and emulator:0)"):
        x + sv.ones(2, 3)


def test_the_gradient_comes_back(elsewhere):
    x = sv.tensor([1.0, 2.0], requires_grad=True)
    y = x.to(elsewhere)
    y.retain_grad()
    (y * y).sum().cpu().backward()
    assert y.grad.device == elsewhere and x.grad.device == sv.device("cpu") and x.grad.tolist() == [2.0, 4.0]


def test_a_net_is_trained_there(elsewhere):
    model = sv.models.small_vgg(widths=(4, "M", 8), dropout=0.2).to(elsewhere)
    optimizer = sv.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = sv.nn.functional.cross_entropy(model(sv.randn(2, 3, 8, 8, device=elsewhere)), sv.tensor([1, 2], device=elsewhere))
    loss.backward()
    optimizer.step()
    assert loss.device == elsewhere
    assert all(p.device == p.grad.device == elsewhere for p in model.parameters())
    assert all(b.device == elsewhere for b in model.buffers())
    model.cpu()
    assert all(p.device == p.grad.device == sv.device("cpu") for p in model.parameters())
