# %% [markdown]
# # Initialisation and vanishing gradients
#
# In 2014 it was usual to draw all weights from N(0, 0.01), a normal distribution of standard deviation 0.01, and deep nets did not learn.
# VGG's authors trained a net of 11 layers first and started the deeper ones from its weights. (Their text says *variance* $10^{-2}$, which
# is σ = 0.1. The formula below tells what that would do.) A year later two lines of algebra made the detour unnecessary. Here are the
# lines, a measurement beside each, and three nets that try to learn.

# %%
import math

import matplotlib.pyplot as plt  # pip install 'scratchvgg[plots]'
import numpy as np

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.models.vgg import make_layers
from scratchvgg.nn import functional as F
from scratchvgg.study.trace import trace


def rms(a):  # root of the mean square: the size of a typical number
    return math.sqrt(np.mean(np.square(a)))


# %% [markdown]
# ## One layer
#
# An output of a convolution is a sum of $n=9\,C$ products (3×3 taps, $C$ channels in), $y=\sum_i w_i x_i$. The weights are independent of
# each other and of $x$, with mean 0 and variance $\sigma^2$. So all mixed terms of $y^2$ have mean 0, and
#
# $$\mathrm{E}[y^2]=n\,\sigma^2\,\mathrm{E}[x^2].$$
#
# $y$ is as often positive as negative, so a ReLU throws half of the squares away:
# $\mathrm{E}[\mathrm{relu}(y)^2]=\tfrac12\,\mathrm{E}[y^2]$. One layer multiplies the mean square by
#
# $$\boxed{\,n\,\sigma^2/2\,}$$
#
# One correction for small pictures: taps on the padding add nothing. On average the share $\left(1-\frac{2}{3\cdot\text{side}}\right)^2$ of
# them lies inside.

# %%
sv.manual_seed(0)
side, channels = 16, 64
n = 9 * channels * (1 - 2 / (3 * side)) ** 2
noise = np.random.default_rng(0).standard_normal
x = sv.tensor(noise((2, channels, side, side)))
for sigma in (0.01, 0.1, math.sqrt(2 / (9 * channels))):
    weight = nn.init.normal_(sv.empty(channels, channels, 3, 3, dtype=sv.float64), 0, sigma)
    y = F.conv2d(x, weight, padding=1)
    wide, narrow = rms(y.numpy()) / rms(x.numpy()), rms(F.relu(y).numpy()) / rms(x.numpy())
    formula = sigma * math.sqrt(n), sigma * math.sqrt(n / 2)
    print(f"σ = {sigma:.4f}: size × {wide:.2f}, after ReLU × {narrow:.2f}; formula {formula[0]:.2f}, {formula[1]:.2f}")
    assert abs(wide / formula[0] - 1) < 0.05 and abs(narrow / formula[1] - 1) < 0.05

# %% [markdown]
# ## Sixteen layers
#
# Factors multiply. With σ = 0.01 the widest layers of VGG (C = 512) shrink the signal by $\sqrt{4608\cdot10^{-4}/2}=0.48$, those with 64
# channels by 0.17:

# %%
paper = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 7]  # channels into the 16 convolutions of net E
factors = [math.sqrt(9 * c * 0.01**2 / 2) for c in paper]
print("by channels:", {c: round(f, 2) for c, f in zip(paper, factors, strict=True)})
print(f"all 16 convolutions of net E: × {math.prod(factors):.0e}")
assert math.prod(factors) < 1e-8

# %% [markdown]
# (Max-pooling works against it, but not enough: the largest of four numbers is at most twice their root mean square, and five pools make at
# most × 32.)
#
# Backward is the same sum with the roles exchanged: each number of $dx$ is a sum over 9·K products of weights and $dy$, and the ReLU's mask
# lets half pass. The factor is $9K\sigma^2/2$ again. **If the signal dies on its way up, so does the gradient on its way down.**
#
# Kaiming's two lines (He et al., 2015): to keep the size, the factor must be 1,
#
# $$\frac{n\,\sigma^2}{2}=1\quad\Longrightarrow\quad\sigma=\sqrt{2/n},$$
#
# with $n=9C$ to keep it on the way up (`fan_in`) or $n=9K$ on the way down (`fan_out`). They differ by a constant at each change of width
# only, not by a power of the depth: either will do. `nn.init.kaiming_normal_(weight, nonlinearity="relu")` does it.
#
# **Batch norm** sets every channel to mean 0 and variance 1 after each convolution, so σ drops out: $\mathrm{BN}(a\,y)=\mathrm{BN}(y)$ for
# any $a>0$ (as long as the variance is far above the $\varepsilon=10^{-5}$ that it adds, lest it divides by 0).
#
# Sixteen layers of 64 channels, measured (dots) beside the formula (lines). Noise goes in at the bottom, and noise comes back from the top
# as the gradient.

# %%
def tower(kind, widths, first=64):
    """Convolutions, ReLUs, perhaps batch norms: every weight from N(0, 0.01) or Kaiming's distribution, biases 0."""
    sv.manual_seed(1)
    net = make_layers(widths, batch_norm="BN" in kind, in_channels=first).to(sv.float64)
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.bias)
            if kind == "Kaiming":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, 0, 0.01)
    return net


kinds = {"N(0, 0.01)": 0.01, "Kaiming": math.sqrt(2 / (9 * channels)), "N(0, 0.01) and BN": None}
depth, top = np.arange(1, 17), sv.tensor(noise((2, channels, side, side)))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for colour, (kind, sigma) in enumerate(kinds.items()):
    net = tower(kind, [channels] * 16)
    run = trace(net, x, top, backward=True, arrays=True, loss=lambda y, direction: (y * direction).sum())
    relus = [call for call in run.calls if call.op == "relu"]
    sizes = [rms(call.sources[0].array) for call in relus]  # what goes in: from the convolution or the batch norm
    slopes = [rms(call.gradients[0]) for call in relus]  # the gradient that arrives
    print(f"{kind:18} layer 1 to 16: signal {sizes[0]:.1f} to {sizes[-1]:.0e}; back to 1: gradient {slopes[-1]:.1f} to {slopes[0]:.0e}")
    left.semilogy(depth, sizes, f"C{colour}o", ms=4, label=kind)
    right.semilogy(depth, slopes, f"C{colour}o", ms=4)
    if sigma is not None:
        factor = sigma * math.sqrt(n / 2)
        expected_sizes, expected_slopes = sigma * math.sqrt(n) * factor ** (depth - 1), factor ** (16 - depth)
        left.semilogy(depth, expected_sizes, f"C{colour}-", lw=1)
        right.semilogy(depth, expected_slopes, f"C{colour}-", lw=1)
        ratios = [*(sizes / expected_sizes), *(slopes / expected_slopes)]
        assert min(ratios) > 1 / 3 and max(ratios) < 3
    else:
        assert all(0.98 < size < 1.02 for size in sizes)
left.set(title="size of the signal", xlabel="layer", ylim=(1e-14, 30))
right.set(title="size of its gradient", xlabel="layer", ylim=(1e-14, 30))
left.legend(loc="lower left", fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## Who learns?
#
# Ten colours, two small noisy pictures of each, and nets of 16 convolutions with 16 channels, which shall learn the pictures by heart.
# Before anything is learnt the loss is about $\ln 10 = 2.303$: every class has the same chance. The optimiser, the pictures and the 40
# steps are the same for all.

# %%
random = np.random.default_rng(1)
labels = np.arange(20) % 10
colours = random.standard_normal((10, 3, 1, 1))
pictures, target = sv.tensor(colours[labels] + 0.3 * random.standard_normal((20, 3, 8, 8))), sv.tensor(labels)
losses = {}
for kind in kinds:
    features = tower(kind, [16] * 8 + ["M"] + [16] * 8, first=3)
    net = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10).to(sv.float64))
    nn.init.zeros_(net[-1].bias)
    optimizer = sv.optim.SGD(net.parameters(), lr=0.006, momentum=0.9)
    before = features[0].weight.detach().numpy().copy()
    losses[kind] = []
    for _ in range(41):
        loss = F.cross_entropy(net(pictures), target)
        losses[kind].append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = rms(features[0].weight.detach().numpy() - before) / rms(before)
    some = "  ".join(f"{loss:.2f}" for loss in losses[kind][::10])
    print(f"{kind:18} {some}  the first layer's weights moved by {100 * moved:.0f} % of their size")
    assert (moved < 1e-9) == (kind == "N(0, 0.01)")
assert max(abs(loss - math.log(10)) for loss in losses["N(0, 0.01)"]) < 1e-3
assert losses["Kaiming"][-1] < 2.0 and losses["N(0, 0.01) and BN"][-1] < 2.0
figure, axes = plt.subplots(figsize=(5, 2.6))
for kind, curve in losses.items():
    axes.plot(curve, label=kind)
axes.axhline(math.log(10), color="gray", lw=0.8, ls=":")
axes.set(xlabel="step", ylabel="loss")
axes.legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# The first net does not learn slowly: it does not learn. Its pictures arrive at the classifier as zeros, the same for each, so all that can
# be learnt there is how frequent the classes are; and what comes back to the first layer is too small to move it. A loss that stays at
# $\ln(\text{classes})$ is the commonest complaint about VGG, and this is its commonest reason.
#
# With batch norm the first layer's weights may grow to many times their size and nothing breaks: only their direction counts, as
# $\mathrm{BN}(a\,y)=\mathrm{BN}(y)$. The smaller they are, the larger is the gradient that they get.
#
# To watch it in your own net: `scratchvgg train --record` notes sizes, gradients and dead ReLUs of every layer, and `scratchvgg doctor`
# reads them. `scratchvgg/study/initialisation.py` trains a narrow VGG-16 from the same three beginnings.
