"""Floor 6: the nets. ``list_models()`` names them, ``get_model(name, **config)`` builds one."""

from .fast_vgg import FastVGG, fast_vgg
from .matching import Match, best_match, rank
from .registry import get_model, get_model_builder, list_models, register_model
from .small import SmallVGG, cifar_vgg, small_vgg
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
    "FastVGG", "Match", "SmallVGG", "VGG", "best_match", "cfgs", "cifar_vgg", "fast_vgg", "get_model", "get_model_builder", "list_models",
    "make_layers", "parse_config", "rank", "register_model", "small_vgg", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
    "vgg19_bn", "vgg_a_lrn", "vgg_a_lrn_bn", "vgg_c", "vgg_c_bn",
]
