"""Who computes the passes of conv2d and conv_transpose2d, and filters that are kept between calls: never a stale one."""

import copy

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import conv, nn, optim
from scratchvgg.autograd import Tensor, gradcheck, no_grad
from scratchvgg.conv import cache
from tests.conv.fakes import Fake, registered


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def x():
    return sv.randn(2, 4, 8, 8)


@pytest.fixture
def layer():
    return nn.Conv2d(4, 4, 3, padding=1)


@pytest.fixture
def asked():
    """Fills with (pass, algorithm) of every pass that runs."""
    seen = []

    def look(problem, dtype, which, chosen):
        seen.append((which, chosen.name))
        return chosen

    with conv.intercept_choices(look):
        yield seen


# ---- who computes ------------------------------------------------------------------------------------------------------


def test_an_explicit_algorithm_does_all_three_passes(x, asked):
    weight = sv.randn(4, 4, 3, 3).requires_grad_()
    sv.conv2d(x.requires_grad_(), weight, algorithm="winograd2x2").sum().backward()
    assert asked == [("forward", "winograd2x2"), ("grad_input", "winograd2x2"), ("grad_weight", "winograd2x2")]


def test_each_pass_is_chosen_when_it_runs(x, layer, asked, monkeypatch):
    monkeypatch.delenv("SCRATCHVGG_CONV")
    x.requires_grad_()
    dear = {"grad_input": 9e99, "grad_weight": 9e99}
    with registered(Fake("f", dear | {"forward": 0}), Fake("g", dear | {"forward": 1, "grad_input": 0})):
        y = layer(x)
        with conv.using("direct"):
            y.sum().backward()
        layer(x).sum().backward()
    assert asked[:3] == [("forward", "f"), ("grad_input", "direct"), ("grad_weight", "direct")]
    assert asked[3:5] == [("forward", "f"), ("grad_input", "g")]


def test_transposed_convolution_asks_for_the_pass_it_really_does(x, asked):
    layer = nn.ConvTranspose2d(4, 3, 3, padding=1, algorithm="winograd2x2")
    layer(x.requires_grad_()).sum().backward()
    assert asked == [("grad_input", "winograd2x2"), ("forward", "winograd2x2"), ("grad_weight", "winograd2x2")]


def test_layers_say_what_they_were_told():
    assert "algorithm" not in repr(nn.Conv2d(3, 4, 3)) + repr(nn.ConvTranspose2d(3, 4, 3))
    assert repr(nn.Conv2d(3, 4, 3, algorithm="im2col")) == "Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), algorithm=im2col)"
    assert nn.ConvTranspose2d(3, 4, 3, algorithm="im2col").algorithm == "im2col"


@pytest.mark.parametrize("call", [sv.conv2d, sv.conv_transpose2d])
def test_what_cannot_be_asked_for(call, x):
    weight = sv.randn(4, 4, 3, 3)
    with pytest.raises(ValueError, match="no algorithm 'fast'; there are"):
        call(x, weight, algorithm="fast")
    with pytest.raises(ValueError, match="'winograd4x4' does not support"):
        call(x, weight, stride=2, algorithm="winograd4x4")


# ---- filters that are kept ---------------------------------------------------------------------------------------------


def spy(cost=0.0):
    return registered(Fake("spy", cost, prepare_cost=0.0))


def test_kept_only_while_nothing_is_recorded(x, layer):
    with spy() as fake, conv.using("spy"):
        layer(x)
        assert fake.prepared == 0 and fake.calls == ["forward"]
        with no_grad():
            layer(x)
            layer(x)
        with sv.inference_mode():
            layer(x)
        assert fake.prepared == 1 and fake.calls[1:] == ["forward, prepared"] * 3 and len(cache) == 1
        layer(x)
        assert len(cache) == 0, "a weight that is trained keeps no old filter"
        layer.weight.requires_grad_(False)
        layer(x.clone().requires_grad_())  # recorded, but the filter is frozen
        assert fake.calls[-1] == "forward, prepared"


def test_the_cache_can_be_off(x, layer, monkeypatch):
    with spy() as fake, conv.using("spy"), no_grad():
        with conv.cache_filters(False):
            layer(x)
        monkeypatch.setenv("SCRATCHVGG_CONV_CACHE", "0")
        layer(x)
        assert fake.prepared == 0 and fake.calls == ["forward"] * 2


def test_dropped_with_the_weight(x):
    with spy(), conv.using("spy"), no_grad():
        weight = sv.randn(4, 4, 3, 3)
        sv.conv2d(x, weight)
        part = weight[:2]
        del weight
        assert len(cache) == 1, "a view keeps the memory and its counter"
        del part
        assert len(cache) == 0 and cache.nbytes == 0


def new_weight(layer):
    return sv.randn(*layer.weight.shape)


def step(layer):
    layer.weight.grad = new_weight(layer)
    optim.SGD([layer.weight], lr=0.1).step()


def adam(layer):
    layer.weight.grad = new_weight(layer)
    optim.Adam([layer.weight], lr=0.1).step()


def write_elsewhere(layer):
    """Writes through another tensor that shares the memory but not the counter."""
    Tensor.wrap(layer.weight.backend, layer.weight.array).mul_(2)


def write_in_the_donor(layer):
    donor = new_weight(layer)
    layer.weight.data = donor
    layer(sv.randn(1, 4, 8, 8))
    donor.mul_(2)


def quantize(layer):
    layer.to(sv.float16)
    layer.to(sv.float32)


def vector(layer):
    parameters = [layer.weight]
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(parameters) * 2, parameters)


CHANGES = {
    "in place": lambda layer: layer.weight.mul_(2),
    "data": lambda layer: layer.weight.data.add_(1),
    "assigned data": lambda layer: setattr(layer.weight, "data", new_weight(layer)),
    "an element": lambda layer: layer.weight.__setitem__((0, 1, 2, 1), 7.0),
    "a view": lambda layer: layer.weight[1].zero_(),
    "detached": lambda layer: layer.weight.detach().normal_(),
    "copy_": lambda layer: layer.weight.copy_(new_weight(layer)),
    "initialiser": lambda layer: nn.init.orthogonal_(layer.weight),
    "dirac": lambda layer: nn.init.dirac_(layer.weight),
    "load_state_dict": lambda layer: layer.load_state_dict({"weight": new_weight(layer), "bias": sv.zeros(4)}),
    "load_state_dict, assigned": lambda layer: layer.load_state_dict({"weight": new_weight(layer), "bias": sv.zeros(4)}, assign=True),
    "another parameter": lambda layer: setattr(layer, "weight", nn.Parameter(new_weight(layer))),
    "SGD": step,
    "Adam": adam,
    "cast and back": quantize,
    "from a vector": vector,
    "the array itself": lambda layer: layer.weight.array.__setitem__(..., 1.0),
    "one number of the array": lambda layer: layer.weight.array.__setitem__((3, 3, 2, 2), 1.0),
    "NumPy": lambda layer: np.multiply(layer.weight.detach().numpy(), 3, out=layer.weight.detach().numpy()),
    "another tensor on the same memory": write_elsewhere,
    "the tensor that data came from": write_in_the_donor,
}


@pytest.mark.parametrize("name", CHANGES)
def test_never_a_stale_filter(name, x, layer):
    with no_grad(), conv.using("winograd2x2"):
        for _ in range(2):
            before = layer(x).numpy()
        CHANGES[name](layer)
        after = layer(x).numpy()
        with conv.cache_filters(False):
            np.testing.assert_array_equal(after, layer(x).numpy())
        assert not np.array_equal(before, after) or name == "cast and back"


def test_a_large_filter_written_past_its_counter(x):
    layer = nn.Conv2d(64, 64, 3, padding=1)
    x = sv.randn(1, 64, 4, 4)
    with no_grad(), conv.using("winograd2x2"):
        layer(x)
        layer.weight.array[...] *= 1.01
        after = layer(x).numpy()
        with conv.cache_filters(False):
            np.testing.assert_array_equal(after, layer(x).numpy())


def test_average_of_the_weights(x):
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    ema = optim.EMA(model, decay=0.5)
    with no_grad(), conv.using("winograd2x2"):
        for _ in range(3):
            model[0].weight.normal_()
            ema.update()
            own = model(x).numpy()
            with ema.averaged():
                averaged = model(x).numpy()
                with conv.cache_filters(False):
                    np.testing.assert_array_equal(averaged, model(x).numpy())
            assert not np.array_equal(own, averaged)
            np.testing.assert_array_equal(own, model(x).numpy())
        ema.copy_to_model()
        np.testing.assert_array_equal(averaged, model(x).numpy())


def test_copies_and_shared_weights(x, layer):
    with no_grad(), conv.using("winograd2x2"):
        twin, copied = nn.Conv2d(4, 4, 3, padding=1), copy.deepcopy(layer)
        twin.weight, twin.bias = layer.weight, layer.bias
        first = layer(x).numpy()
        np.testing.assert_array_equal(twin(x).numpy(), first)
        assert len(cache) == 1, "one weight, one filter"
        np.testing.assert_array_equal(copied(x).numpy(), first)
        assert len(cache) == 2
        layer.weight.mul_(2)
        assert not np.array_equal(twin(x).numpy(), first)
        np.testing.assert_array_equal(copied(x).numpy(), first)


def test_two_filters_in_one_memory(x):
    both = sv.randn(8, 4, 3, 3)
    parts = [both[:4], both[4:]]  # one counter
    with no_grad():
        wanted = [sv.conv2d(x, p.clone(), algorithm="winograd2x2").numpy() for p in parts]
        for _ in range(2):
            for p, w in zip(parts, wanted, strict=True):
                np.testing.assert_array_equal(sv.conv2d(x, p, algorithm="winograd2x2").numpy(), w)


def test_image_sizes_and_batches_share_a_filter(layer):
    with no_grad(), conv.using("winograd4x4"):
        for shape in ((1, 4, 8, 8), (3, 4, 8, 8), (2, 4, 13, 9)):
            x = sv.randn(*shape)
            y = layer(x).numpy()
            with conv.cache_filters(False):
                np.testing.assert_array_equal(y, layer(x).numpy())
        assert len(cache) == 1


@pytest.mark.parametrize("algorithm", ["winograd2x2", "winograd4x4"])
def test_differences_of_a_filter_that_is_kept(algorithm):
    """gradcheck writes single numbers into the weight's array between calls without recording."""
    x, w = sv.randn(1, 2, 6, 5, dtype=sv.float64).requires_grad_(), sv.randn(3, 2, 3, 3, dtype=sv.float64).requires_grad_()
    with no_grad():
        sv.conv2d(x, w, algorithm=algorithm)
    assert gradcheck(lambda x, w: sv.conv2d(x, w, padding=1, algorithm=algorithm), (x, w))


def test_a_whole_net_uses_what_it_keeps():
    net, x = sv.models.vgg11(num_classes=10), sv.randn(1, 3, 32, 32)
    with no_grad(), conv.using("winograd2x2"):
        net.eval()
        first = net(x).numpy()
        assert len(cache) == 8 and cache.nbytes > sum(m.weight.nbytes for m in net.modules() if isinstance(m, nn.Conv2d))
        np.testing.assert_array_equal(net(x).numpy(), first)
        assert len(cache) == 8
    del net
    assert len(cache) == 0
