"""Convolutions written by hand, and those of a net."""

import pytest

from scratchvgg.bench.problems import build_net, default_size, layers_of, parse_problem, problem_text
from scratchvgg.conv import Problem


def test_all_fields():
    assert parse_problem("2,6,9,14,4,3,5,2,1,3,2") == Problem(2, 6, 9, 14, 4, 3, 5, (2, 2), ((1, 1), (1, 1)), (3, 3), 2)
    assert parse_problem("1, 3, 8, 8, 4, 3, 3") == Problem(1, 3, 8, 8, 4, 3, 3)
    assert parse_problem("1,3,8,8,4,3,3,2").stride == (2, 2) and parse_problem("1,3,8,8,4,3,3,1,1").padding == ((1, 1), (1, 1))


@pytest.mark.parametrize(("text", "message"), [
    ("1,2,3", "7 to 11 whole numbers"), ("1,2,3,4,5,6,x", "whole numbers"), ("1,2,8,8,4,3,3,0", "stride must be 1 or more"),
    ("0,2,8,8,4,3,3", "N must be 1"), ("1,3,8,8,4,3,3,1,1,1,2", "cut into 2 groups"), ("1,3,2,2,4,3,3", "smaller than the filter's reach"),
])
def test_bad_problems(text, message):
    with pytest.raises(ValueError, match=message):
        parse_problem(text)


@pytest.mark.parametrize(("text", "words"), [
    ("1,64,56,56,128,3,3,1,1", "1×64×56×56 → 128, 3×3"), ("1,4,8,8,4,5,5,2,0,1,2", "1×4×8×8 → 4, 5×5, stride 2, 2 groups, padding 0"),
    ("1,4,8,8,4,3,3,1,2,2", "1×4×8×8 → 4, 3×3, dilation 2"),
])
def test_a_problem_in_words(text, words):
    assert problem_text(parse_problem(text)) == words


def test_layers_of_vgg16():
    layers = layers_of("vgg16", 2, 64)
    titles = "conv1_1, conv1_2, conv2_1, conv2_2, conv3_1, conv3_2 ×2, conv4_1, conv4_2 ×2, conv5_1 ×3"
    assert ", ".join(layer.title for layer in layers) == titles
    assert sum(layer.count * layer.problem.macs for layer in layers) == 2 * 15_346_630_656 * 64**2 // 224**2
    assert layers[0].passes == ("forward", "grad_weight") and len(layers[1].passes) == 3  # the image's gradient is not computed
    assert layers[5].problem == Problem(2, 256, 16, 16, 256, 3, 3, padding=((1, 1), (1, 1)))


def test_layers_of_small_nets_with_options():
    layers = layers_of("cifar_vgg:config=A", 128, 32)
    assert [layer.problem.K for layer in layers] == [64, 128, 256, 256, 512, 512, 512] and layers[-1].count == 2
    assert default_size("cifar_vgg:config=A") == 32 and default_size("vgg11_bn") == 224


def test_even_filters_and_bare_edges():
    layers = layers_of("fast_vgg", 1, 32)
    assert layers[0].problem == Problem(1, 3, 32, 32, 24, 2, 2)


@pytest.mark.parametrize(("net", "size", "message"), [
    ("vgg17", 224, "vgg16"), ("vgg16:depth=3", 224, "depth"), ("vgg16:oops", 224, "key=value"), ("vgg16", 16, "16×16"),
])
def test_bad_nets(net, size, message):
    with pytest.raises(ValueError, match=message):
        layers_of(net, 1, size)


def test_options_reach_the_net():
    assert build_net("cifar_vgg:config=A,batch_norm=false,num_classes=3").classifier[1].out_features == 3
    layers = layers_of("small_vgg:widths=[4, 'M', 8],batch_norm=false,pool='max'", 1, 8)
    assert [(layer.name, layer.problem.K, layer.problem.H) for layer in layers] == [("conv1_1", 4, 8), ("conv2_1", 8, 4)]
