"""What each layer of a net makes, keeps and costs."""

from __future__ import annotations

from collections.abc import Callable

from .. import conv, nn
from ..autograd import inference_mode, ops


def summarize(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> dict:
    """Layers of a net in the order of execution, with shapes, parameters and multiply–accumulates.

    The net is built without drawing its weights, and run once, on zeros and one image: shapes do not depend on the batch.

    Args:
        build: makes the net.
        input_shape: (N, C, H, W).

    Returns:
        ``{"input_shape", "layers", "totals"}`` of plain values. A layer has ``name type output_shape parameters macs bias_adds``; totals
        have ``parameters trainable parameter_bytes macs bias_adds``. MACs are those of convolutions and linear layers, for the whole batch:
        one for each weight and each output it takes part in (zeros of the padding count, as is usual).

    Raises:
        RuntimeError: if the images are too small for the net.
    """
    with nn.init.skip():
        model = build().eval()
    batch, layers, seen = input_shape[0], [], set()
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(_note(name, batch, layers, seen))
    with inference_mode(), conv.cache_filters(False):  # used once
        model(ops.zeros(1, *input_shape[1:]))
    parameters = list(model.parameters())
    return {
        "input_shape": list(input_shape),
        "layers": layers,
        "totals": {
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "parameter_bytes": sum(p.nbytes for p in parameters),
            "macs": sum(layer["macs"] for layer in layers),
            "bias_adds": sum(layer["bias_adds"] for layer in layers),
        },
    }


def _note(name: str, batch: int, layers: list[dict], seen: set[int]):
    def hook(module, inputs, output):
        shape = [batch, *output.shape[1:]]
        own = [p for p in module.parameters() if id(p) not in seen]
        seen.update(map(id, own))
        layers.append({
            "name": name or type(module).__name__, "type": type(module).__name__, "output_shape": shape,
            "parameters": sum(p.numel() for p in own), "macs": batch * _macs(module, inputs[0], output),
            "bias_adds": batch * output[0].numel() if _computes(module) and module.bias is not None else 0,
        })

    return hook


def _computes(module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))


def _macs(module, input, output) -> int:
    """Multiply–accumulates of one image: weights of one output channel × outputs (a transposed convolution: × inputs)."""
    if not _computes(module):
        return 0
    per_channel = module.weight[0].numel()
    return per_channel * (input if isinstance(module, nn.ConvTranspose2d) else output)[0].numel()
