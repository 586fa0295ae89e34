"""Floor 6: the nets. ``list_models()`` names them, ``get_model(name, **config)`` builds one, ``load_net(name, weights)`` brings its weights."""

from .categories import imagenet_categories, imagenet_wnids
from .fast_vgg import FastVGG, fast_vgg
from .loading import LoadedNet, load_net
from .matching import Match, best_match, rank
from .pretrained import (
    VGG11_BN_Weights,
    VGG11_Weights,
    VGG13_BN_Weights,
    VGG13_Weights,
    VGG16_BN_Weights,
    VGG16_Weights,
    VGG19_BN_Weights,
    VGG19_Weights,
    Weights,
    WeightsEnum,
    get_model_weights,
    get_weight,
)
from .recomputing import recompute_stages
from .registry import get_model, get_model_builder, list_models, register_model, usual_side
from .small import NarrowVGG, SmallVGG, cifar_vgg, paper_vgg, small_vgg
from .vgg import (
    VGG,
    cfgs,
    make_layers,
    parse_config,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
    vgg_a_lrn,
    vgg_a_lrn_bn,
    vgg_c,
    vgg_c_bn,
)

__all__ = [
    "FastVGG", "LoadedNet", "Match", "NarrowVGG", "SmallVGG", "VGG", "VGG11_BN_Weights", "VGG11_Weights", "VGG13_BN_Weights", "VGG13_Weights",
    "VGG16_BN_Weights", "VGG16_Weights", "VGG19_BN_Weights", "VGG19_Weights", "Weights", "WeightsEnum", "best_match", "cfgs", "cifar_vgg",
    "fast_vgg", "get_model", "get_model_builder", "get_model_weights", "get_weight", "imagenet_categories", "imagenet_wnids", "list_models",
    "load_net", "make_layers", "paper_vgg", "parse_config", "rank", "recompute_stages", "register_model", "small_vgg", "usual_side", "vgg11",
    "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vgg_a_lrn", "vgg_a_lrn_bn", "vgg_c", "vgg_c_bn",
]
