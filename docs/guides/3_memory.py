# %% [markdown]
# # Memory: what training keeps, and why
#
# To classify a picture a net needs room for its weights and for two activations, the one it reads and the one it writes. To train, it needs
# many times more: backward runs from the last layer to the first and asks for numbers that forward had long ago. The list of what was kept
# is the *tape*. Here you see all of it, and three ways to keep less: in place, fused, computed again.

# %%
import matplotlib.pyplot as plt  # pip install 'scratchvgg[plots]'
import numpy as np

import scratchvgg as sv
from scratchvgg import conv, nn
from scratchvgg.autograd import checkpoint_sequential
from scratchvgg.models.vgg import cfgs, make_layers
from scratchvgg.nn import functional as F
from scratchvgg.study.allocations import kept_bytes, of_step
from scratchvgg.study.ledger import predict
from scratchvgg.study.trace import trace

conv.set_algorithm("im2col")  # what is kept does not depend on the algorithm, but scratch memory does,
sv.set_num_threads(1)  # and on the threads: with one the numbers below are the same each time
sv.manual_seed(0)
net = sv.models.small_vgg(widths=(16, 16, "M", 32, 32, "M", 64, 64, "M"), batch_norm=False)
x, target = sv.randn(8, 3, 32, 32), sv.tensor(np.arange(8))
weights = [parameter.array for parameter in net.parameters()]

# %% [markdown]
# ## What the tape keeps
#
# Each operation keeps what the formula of its gradient asks for (guide 2 derives them), and nothing else:
#
# | operation | gradient | so it keeps |
# |---|---|---|
# | convolution, linear | $dW=dY^\top\mathrm{col}(x)$, $dx=dY\,W$ | its input $x$ (not the columns, 9 times larger) and $W$, there anyway |
# | ReLU | $dx=dy\cdot[y>0]$ | its output $y$ |
# | max-pool | $dy$ to the winner | which of the four won: one byte an output |
# | average, reshape | the same for all, the same | nothing |
# | cross-entropy | softmax − truth | the log-probabilities |

# %%
run = trace(net, x, target, record=True)
for call in run.calls:
    kept = ", ".join(f"{k.name} {k.bytes:,}{'' if k.counted else ' (there already)'}" for k in call.kept)
    print(f"{call.op:19} {'×'.join(map(str, call.outputs[0][0])):13} keeps {kept or 'nothing'}")
total = sum(call.kept_bytes for call in run.calls)
own = sum(w.nbytes for w in weights)
print(f"together {total / 1e6:.2f} MB for 8 pictures; the weights have {own / 1e6:.2f} MB")

# %% [markdown]
# ReLU's output *is* the next convolution's input: one array, counted once. The first convolution does not keep its weight: nobody asks for
# the gradient of the picture. By hand, in numbers of 4 bytes: every ReLU's output, every pool's output except the last (nobody multiplies
# with that one) and a byte for each winner; then the head.

# %%
maps = [(16, 32), (32, 16), (64, 8)]  # channels and side of the three stages
relus = sum(2 * 4 * c * s**2 for c, s in maps)
pools = sum(4 * c * (s // 2) ** 2 for c, s in maps[:-1])
winners = sum(c * (s // 2) ** 2 for c, s in maps)
head = 4 * 64 + 4 * 10  # averaged features and log-probabilities
print(f"{relus:,} + {pools:,} + {winners:,} + {head} = {relus + pools + winners + head:,} bytes a picture")
assert total == 8 * (relus + pools + winners + head) + 40  # 40: the loss's weights of ten classes

# %% [markdown]
# All of it grows with the batch; the weights, their gradients and the optimiser's velocities do not. So a batch can be planned: two small
# steps tell all others.

# %%
ledger, many = predict(net, 64, 32), sv.randn(64, 3, 32, 32)
print({part: f"{ledger.parts[part] / 1e6:.2f} MB" for part in ("parameters", "gradients", "optimizer", "kept")})
loss = F.cross_entropy(net(many), sv.tensor(np.arange(64) % 10))
assert ledger.parts["kept"] == kept_bytes(loss, [many.array, *weights])

# %% [markdown]
# Did you notice? 64 pictures keep less than 8 times what 8 did above: `trace` runs the layers one by one to show them; otherwise they are
# fused. That comes next.
#
# ## In place
#
# ReLU may write its output over its input: backward needs only the output. That saves an array *while* ReLU runs, but nothing of what is
# kept: nobody keeps its input either way. Where somebody does, it would be wrong, and the tape notices:

# %%
def step_of(inplace):
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = inplace
    with nn.fusion(False):
        step = of_step(net, x, target)
    forward = sum(label.startswith("forward") for label in step.labels)  # so many moments
    return step.kept, max(step.live[:forward])


(kept_apart, peak_apart), (kept_in_place, peak_in_place) = step_of(False), step_of(True)
print(f"the same is kept: {kept_apart == kept_in_place}; forward's peak is lower: {peak_in_place < peak_apart}")
assert kept_apart == kept_in_place == total and peak_in_place < peak_apart

y = sv.ones(3, requires_grad=True).exp()  # exp keeps its output, because it is its own derivative
y.relu_()
try:
    y.sum().backward()
except RuntimeError as error:
    print(error)
else:
    raise AssertionError("the engine did not notice")

# %% [markdown]
# ## Fused
#
# Convolution, ReLU and pool in one operation work tile by tile, and the full-sized output before the pool never exists. Backward needs the
# pooled output (the ReLU's sign, at the winner) and the winners. So each stage keeps one full-sized array less. For the convolutions of
# VGG-16 at 224 × 224 (7² times those at 32 × 32):

# %%
features, image = make_layers(cfgs["D"]), sv.randn(1, 3, 32, 32)
known = [image.array, *(parameter.array for parameter in features.parameters())]
for fused in (False, True):
    with nn.fusion(fused):
        kept = 49 * kept_bytes(features(image).sum(), known)
    print(f"{'fused' if fused else 'layer by layer':14}: {kept / 1e6:.1f} MB a picture of 224 × 224")
stages = [(2, 64, 224), (2, 128, 112), (3, 256, 56), (3, 512, 28), (3, 512, 14)]  # convolutions, channels, side
inner = sum((n - 1) * c * s**2 for n, c, s in stages)  # outputs of convolutions that no pool follows
pooled = sum(c * (s // 2) ** 2 for _, c, s in stages)
assert kept == 4 * (inner + pooled) + pooled

# %% [markdown]
# ## Computed again
#
# What was thrown away can be computed again from what was kept. `checkpoint(stage, x)` keeps only $x$; when the gradient arrives, it runs
# the stage once more, this time keeping all. Cut $n$ equal layers into $k$ segments, the last of which needs no checkpoint: then $k-1$
# inputs of segments and $n/k$ layers' inside are there at once. The sum is smallest at $k=\sqrt n$ (Chen et al., 2016). Sixteen
# convolutions, in units of one activation:

# %%
class Tower(nn.Module):
    """Sixteen convolutions with ReLUs, and 16 logits."""

    def __init__(self, segments):
        super().__init__()
        sv.manual_seed(1)
        self.layers, self.segments = make_layers([16] * 16, in_channels=16), segments

    def forward(self, x):
        return checkpoint_sequential(self.layers, self.segments, x).mean((2, 3))


wide, steps = sv.randn(8, 16, 32, 32), {}
for k in (1, 2, 4, 8, 16):
    steps[k] = of_step(Tower(k), wide, target)
    kept, peak = steps[k].kept / wide.nbytes, max(steps[k].live) / wide.nbytes
    runs = sum("forward conv2d" in label or "recompute conv2d" in label for label in steps[k].labels)
    print(f"{k:2} segments: {kept:.0f} kept after forward, {peak:.0f} at the worst moment; {runs} convolutions computed")
    assert round(kept) == k - 1 + 16 // k and runs == 16 + 16 // k * (k - 1)
assert min(steps, key=lambda k: max(steps[k].live)) == 4

# %% [markdown]
# Backward of a convolution costs two forwards (dx and dW), so a step costs 3 units of time, and with all but the last segment computed
# again almost 4: **a third more time for a fraction of the memory**. The gradients are the same to the last bit, because the second run
# does just what the first did.

# %%
gradients = []
for k in (1, 4):
    module = Tower(k)
    F.cross_entropy(module(wide), target).backward()
    gradients.append([parameter.grad.numpy() for parameter in module.parameters()])
print("equal bit for bit:", all(np.array_equal(a, b) for a, b in zip(*gradients, strict=True)))
assert all(np.array_equal(a, b) for a, b in zip(*gradients, strict=True))

figure, axes = plt.subplots(figsize=(6, 2.8))
for k in (1, 4):
    moments = np.linspace(0, 1, len(steps[k].live))
    label = "all kept" if k == 1 else "4 segments, computed again"
    axes.plot(moments, np.array(steps[k].live) / wide.nbytes, label=label)
axes.set(xlabel="from the start of forward to the end of backward", ylabel="activations that live")
axes.legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# The mountain is training without recomputation: up in forward, down in backward, as the tape is freed piece by piece. With four segments
# backward climbs a small hill for each. `scratchvgg memory vgg16` makes this ledger for any net, batch and size, and says what fits.
