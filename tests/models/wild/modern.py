"""A VGG in the style of today's model zoos: typed, a dict of configurations, init loop in the constructor."""

from functools import partial
from typing import Any, cast

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

__all__ = ["VGG", "small_vgg", "small_vgg_bn", "fit"]

cfgs: dict[str, list[str | int]] = {
    "S": [8, "M", 16, "M", 16, 16, "M", 24, 24, "M"],
    "T": [8, 8, "M", 16, 16, 16, "M"],
}


def make_layers(cfg: list[str | int], batch_norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    in_channels = 3
    for v in cfg:
        if v == "M":
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            continue
        width = cast(int, v)
        conv2d = nn.Conv2d(in_channels, width, kernel_size=3, padding=1)
        layers += [conv2d, nn.BatchNorm2d(width), nn.ReLU(inplace=True)] if batch_norm else [conv2d, nn.ReLU(inplace=True)]
        in_channels = width
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, features: nn.Module, channels: int, num_classes: int = 10, init_weights: bool = True, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, 64),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(64, num_classes),
        )
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1), persistent=False)
        if init_weights:
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                    if m.bias is not None:
                        nn.init.constant_(m.bias, 0)
                elif isinstance(m, nn.BatchNorm2d):
                    nn.init.constant_(m.weight, 1)
                    nn.init.constant_(m.bias, 0)
                elif isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, 0, 0.01)
                    nn.init.constant_(m.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x - self.mean)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


def _vgg(cfg: str, batch_norm: bool, **kwargs: Any) -> VGG:
    channels = [v for v in cfgs[cfg] if isinstance(v, int)][-1]
    return VGG(make_layers(cfgs[cfg], batch_norm=batch_norm), channels, **kwargs)


small_vgg = partial(_vgg, "T", False)
small_vgg_bn = partial(_vgg, "S", True)


def fit(model: nn.Module, images: Tensor, labels: Tensor, steps: int = 5) -> list[float]:
    decay, no_decay = [], []
    for _name, param in model.named_parameters():
        (no_decay if param.ndim <= 1 else decay).append(param)
    groups = [{"params": decay, "weight_decay": 5e-4}, {"params": no_decay, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps + 1)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = []
    model.train()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        probabilities = F.softmax(model(images), dim=1)
        top = probabilities.argmax(dim=1)
        losses.append((top == labels).float().mean().item())
        losses.append(probabilities.max().item())
    return losses
