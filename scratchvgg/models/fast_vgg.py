"""A VGG that learns CIFAR-10 fast: the net of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498.

A frozen 2×2 convolution whitens the image; three groups [conv3×3 – max-pool 2 – BN – GELU – conv3×3 – BN – GELU] follow, then a
max-pool over the rest, a linear layer without bias and a fixed factor. No residuals, so a VGG in structure.
"""

from __future__ import annotations

from .. import nn
from ..autograd import Tensor, as_tensor, no_grad
from .registry import register_model


class Group(nn.Sequential):
    """conv – pool – BN – GELU – conv – BN – GELU: (N, C, H, W) → (N, K, ⌊H/2⌋, ⌊W/2⌋)."""

    def __init__(self, in_channels: int, out_channels: int, momentum: float):
        super().__init__(
            _dirac_conv(in_channels, out_channels), nn.MaxPool2d(2), _bias_norm(out_channels, momentum), nn.GELU(),
            _dirac_conv(out_channels, out_channels), _bias_norm(out_channels, momentum), nn.GELU(),
        )


def _dirac_conv(in_channels, out_channels):
    """A 3×3 convolution whose first filters pass the input channels through; the others start as torch's default."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:in_channels])
    return conv


def _bias_norm(channels, momentum):
    """Batch norm whose scale stays 1: only the bias learns."""
    norm = nn.BatchNorm2d(channels, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm


class FastVGG(nn.Module):
    """(N, 3, H, W) → (N, num_classes) logits; H = W = 32 leaves 3×3 before the last pooling.

    Args:
        widths: channels of the groups.
        num_classes: size of the output.
        scale: fixed factor on the logits.
        momentum: of the batch norms, in torch's meaning (weight of the new batch).
    """

    def __init__(self, widths=(64, 256, 256), num_classes: int = 10, scale: float = 1 / 9, momentum: float = 0.4):
        super().__init__()
        self.scale = scale
        self.whitening = nn.Conv2d(3, 24, 2)  # 24 = twice the 3·2·2 directions of a patch: each and its negative
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)
        channels = (24, *widths)
        self.features = nn.Sequential(nn.GELU(), *(Group(a, b, momentum) for a, b in zip(channels, widths, strict=False)))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.classifier = nn.Linear(channels[-1], num_classes, bias=False)

    def forward(self, x):
        """Logits of a batch of images."""
        x = self.pool(self.features(self.whitening(x)))
        return self.classifier(x.flatten(1)) * self.scale

    @no_grad()
    def init_whitening(self, images, eps: float = 5e-4) -> None:
        """Set the first convolution to the PCA whitening of 2×2 patches: eigenvectors / √(eigenvalue + eps), and their negatives.

        Args:
            images: (N, 3, H, W) normalised training images, Tensor or array; a few thousand are enough.
            eps: keeps directions that hardly vary from blowing up.

        Raises:
            ValueError: for another shape.
        """
        weight = self.whitening.weight
        images = as_tensor(images).to(weight.device)
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 2:
            raise ValueError(f"init_whitening: images must have shape (N, 3, H, W) with H, W ≥ 2, got {tuple(images.shape)}")
        xp = weight.backend.xp
        with weight.backend.quiet():
            x = images.array.astype("float64")
            h, w = x.shape[2] - 1, x.shape[3] - 1
            shifts = [x[:, :, r : r + h, s : s + w] for r in (0, 1) for s in (0, 1)]
            patches = xp.stack(shifts, 2).transpose(0, 3, 4, 1, 2).reshape(-1, 12)  # (N·h·w, C·R·S)
            values, vectors = xp.linalg.eigh(patches.T @ patches / len(patches))  # second moments: the images are centred
            filters = (vectors / xp.sqrt(values + eps)).T[::-1].reshape(12, 3, 2, 2)
            weight.copy_(Tensor.wrap(weight.backend, xp.concatenate((filters, -filters))))

    def parameter_groups(self, lr: float, weight_decay: float, bias_scale: float = 64.0) -> list[dict]:
        """Groups for an optimiser: the batch norms' biases learn ``bias_scale`` times as fast, with equal lr · weight_decay."""
        norms = [m.bias for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        fast = {id(p) for p in norms}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in fast]
        return [
            {"params": norms, "lr": lr * bias_scale, "weight_decay": weight_decay / bias_scale},
            {"params": others, "lr": lr, "weight_decay": weight_decay},
        ]


@register_model(side=32)
def fast_vgg(widths=(64, 256, 256), num_classes: int = 10, scale: float = 1 / 9, momentum: float = 0.4) -> FastVGG:
    """:class:`FastVGG`; call ``init_whitening(images)`` before training. ``widths=(32, 64, 128)`` is a sixth of the work."""
    return FastVGG(widths, num_classes, scale, momentum)
