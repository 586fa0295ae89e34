"""PyTorch as a side: each layer alone, of the same class and options, with the same weights."""

from __future__ import annotations

import copy

import numpy as np

from ... import nn
from ...bench import torch_side
from ..errors import StudyError
from .sides import GRAD_INPUT, OUTPUT, STATISTICS, Runner


class TorchRunner(Runner):
    """PyTorch, its threads set to ours, in its usual memory format (NCHW).

    Raises:
        ImportError: naming the extra, without PyTorch. StudyError: if it has no such device.
    """

    def __init__(self, side, training):
        super().__init__(side, training)
        self.torch = torch_side.require()
        if side.device.partition(":")[0] not in ("cpu", "cuda") or (side.device.startswith("cuda") and not self.torch.cuda.is_available()):
            raise StudyError(f"device: PyTorch has no {side.device!r} here")
        self._layers: dict[int, object] = {}

    def about(self):
        """As above."""
        about = torch_side.describe()
        precise = f"oneDNN {'on' if about['onednn'] else 'off'}, {about['threads']} threads" if self.side.device == "cpu" else "cuDNN"
        if self.side.device != "cpu":
            precise += f", TF32 {'on' if self.torch.backends.cudnn.allow_tf32 else 'off'} in convolutions"
        return (f"PyTorch {about['version']}, {self.side.device}, {self.dtype}, {precise}, float32 matmul precision "
                f"{about['float32_matmul_precision']}")

    def forward(self, step, x, target):
        """As above."""
        layer = self._layer(step)
        with self.torch.no_grad():
            y = self._call(layer, self._tensor(x), target)
        moved = {name: getattr(layer, name) for name in STATISTICS if self.training and getattr(layer, name, None) is not None}
        return {OUTPUT: self._host(y), **{name: self._host(buffer) for name, buffer in moved.items()}}

    def backward(self, step, x, g, target):
        """As above."""
        layer, given = self._layer(step), self._tensor(x).requires_grad_(True)
        parameters = dict(layer.named_parameters()) if layer is not None else {}
        with self.torch.enable_grad():
            y = self._call(layer, given, target)
            results = self.torch.autograd.grad([y], [given, *parameters.values()], [self._tensor(g)])
        return {name: self._host(result) for name, result in zip([GRAD_INPUT, *parameters], results, strict=True)}

    def _call(self, layer, x, target):
        if layer is None:
            return self.torch.nn.functional.cross_entropy(x, self.torch.from_numpy(target).to(x.device))
        return layer(x)

    def _layer(self, step):
        module = step.module
        if module is None:
            return None
        if id(module) not in self._layers:
            self._layers[id(module)] = self._build(step)
        layer = self._layers[id(module)]
        return copy.deepcopy(layer) if module._buffers else layer  # training moves statistics

    def _build(self, step):
        try:
            layer = torch_side.twin(nn.Sequential(step.module), self.dtype).get_submodule("0")
        except TypeError as error:
            raise StudyError(f"diverge: {step.name}: {error}") from None
        layer.train(self.training and isinstance(step.module, (nn.BatchNorm1d, nn.BatchNorm2d)))
        if getattr(layer, "inplace", False):
            layer.inplace = False
        for parameter in layer.parameters():
            parameter.requires_grad_(True)
        return layer.to(self.side.device)

    def _tensor(self, array):
        array = np.asarray(array)
        array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)  # exact
        return self.torch.from_numpy(np.array(array, order="C")).to(self.side.device, getattr(self.torch, self.dtype))

    def _host(self, tensor):
        tensor = tensor.detach()
        return (tensor if tensor.dtype in (self.torch.float32, self.torch.float64) else tensor.float()).cpu().numpy()
