# %% [markdown]
# # Backward of a VGG by hand
#
# Backpropagation is the chain rule, one layer at a time, from the loss to the picture. Here is a VGG small enough to do all of it in plain
# NumPy: two convolutions, ReLUs, a max-pool, a linear layer and the cross-entropy, in float64. Each gradient is derived in a line and
# computed in a line. Two witnesses check it: the library's engine, number by number to $10^{-10}$, and finite differences, which know
# nothing of the chain rule.

# %%
import numpy as np

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.study.trace import trace

sv.manual_seed(3)
net = nn.Sequential(
    nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(4 * 3 * 3, 3),
).to(sv.float64)
x = np.random.default_rng(0).standard_normal((2, 2, 6, 6))  # two pictures, two channels, 6 × 6 pixels
target = np.array([2, 0])
weights = {name: parameter.detach().numpy().copy() for name, parameter in net.named_parameters()}
print({name: w.shape for name, w in weights.items()})

# %% [markdown]
# ## Forward
#
# Every function returns its result and whatever its backward will need: what a framework calls the *tape*. A convolution is a matrix
# product of patches (guide 1).

# %%
def patches(x):  # (N, C, H, W) → (N·H·W, C·9): what a 3×3 filter sees at every pixel
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # (N, C, H, W, 3, 3)
    return views.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * 9)


def conv(x, w, b):
    y = patches(x) @ w.reshape(len(w), -1).T + b
    return y.reshape(len(x), *x.shape[2:], len(w)).transpose(0, 3, 1, 2)


def windows(x):  # (N, C, H, W) → (N, C, H/2, W/2, 4)
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def forward(weights, x):
    a = {"y1": conv(x, weights["0.weight"], weights["0.bias"])}
    a["r1"] = np.maximum(a["y1"], 0)
    a["y2"] = conv(a["r1"], weights["2.weight"], weights["2.bias"])
    a["r2"] = np.maximum(a["y2"], 0)
    a["p"] = windows(a["r2"]).max(-1)
    a["f"] = a["p"].reshape(len(x), -1)
    a["z"] = a["f"] @ weights["6.weight"].T + weights["6.bias"]
    shifted = a["z"] - a["z"].max(1, keepdims=True)  # e^z must not overflow
    a["softmax"] = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    a["loss"] = -np.log(a["softmax"][np.arange(len(x)), target]).mean()
    return a


a = forward(weights, x)
print(f"loss {a['loss']:.6f}\nlogits\n{a['z'].round(4)}")

# %% [markdown]
# ## Backward, layer by layer
#
# We write $dv$ for $\partial L/\partial v$. It has the shape of $v$, always: the best check there is while deriving.
#
# **Cross-entropy.** With $s=\mathrm{softmax}(z)$ and $L=-\frac1N\sum_n \log s_{n,t_n}=\frac1N\sum_n\left(\log\sum_k
# e^{z_{n,k}}-z_{n,t_n}\right)$,
#
# $$dz_{n,k}=\tfrac1N\,(s_{n,k}-[k=t_n]):\quad\text{what was said minus what was true.}$$

# %%
d = {"z": (a["softmax"] - np.eye(3)[target]) / len(x)}
print(d["z"].round(4), "rows add up to 0:", np.allclose(d["z"].sum(1), 0))
assert np.allclose(d["z"].sum(1), 0, atol=1e-15)

# %% [markdown]
# **Linear.** $z_{n,k}=\sum_j f_{n,j}W_{k,j}+b_k$. A weight $W_{k,j}$ meets the input $f_{n,j}$ and acts on $z_{n,k}$ in every picture $n$;
# an input acts on all outputs:
#
# $$dW=dz^\top f\qquad db=\sum_n dz_n\qquad df=dz\,W$$

# %%
g = {"6.weight": d["z"].T @ a["f"], "6.bias": d["z"].sum(0)}  # g: gradients of the weights
d["f"] = d["z"] @ weights["6.weight"]
d["p"] = d["f"].reshape(a["p"].shape)  # flattening only renames places
print(g["6.bias"].round(4))

# %% [markdown]
# **Max-pool.** $p=\max(r_0,r_1,r_2,r_3)$: to nudge the winner nudges the maximum just as much; to nudge a loser does nothing. So $dp$ goes
# to the winner, whole, and three quarters of $dr_2$ are zero. If several are equal (after ReLU often four zeros) the first one gets it.

# %%
winner = windows(a["r2"]).argmax(-1)  # 0 … 3; argmax takes the first of equals
routed = (winner[..., None] == np.arange(4)) * d["p"][..., None]  # (N, C, 3, 3, 4)
n, c, h, w = a["r2"].shape
d["r2"] = routed.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)
print("winners of picture 0, channel 0\n", winner[0, 0], "\ndr2 there\n", d["r2"][0, 0].round(3) + 0.0, sep="")
assert np.isclose(d["r2"].sum(), d["p"].sum()) and np.count_nonzero(d["r2"]) <= d["r2"].size // 4

# %% [markdown]
# **ReLU.** $r=\max(y,0)$ has slope 1 where $y>0$, else 0: $dy=dr\cdot[y>0]$. (At exactly 0 everybody takes 0.) The sign of the *output*
# tells the same, which is why a framework may write it over the input.

# %%
d["y2"] = d["r2"] * (a["r2"] > 0)
assert np.array_equal(a["r2"] > 0, a["y2"] > 0)
print(f"{np.count_nonzero(d['y2'])} of {d['y2'].size} numbers of dy2 are not zero")

# %% [markdown]
# **Convolution.** $Y=\mathrm{col}\,W^\top+b$ is a linear layer on patches, so $dW=dY^\top\mathrm{col}$ and $db=\sum dY$ over pictures and
# pixels. For the input, see which outputs read pixel $h$: $y_p$ did with the tap $r=h-p+1$, so
#
# $$dx_h=\sum_r dy_{h-r+1}\,w_r$$
#
# which is a convolution of $dy$ too, with the filter turned by 180° and channels in and out exchanged.

# %%
def conv_backward(dy, x, w):
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, dy.shape[1])  # (N·H·W, K)
    dw = (rows.T @ patches(x)).reshape(w.shape)
    dx = conv(dy, w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), 0)
    return dx, dw, rows.sum(0)


d["r1"], g["2.weight"], g["2.bias"] = conv_backward(d["y2"], a["r1"], weights["2.weight"])
d["y1"] = d["r1"] * (a["r1"] > 0)
d["x"], g["0.weight"], g["0.bias"] = conv_backward(d["y1"], x, weights["0.weight"])
print("gradient of the first filter, channel 0\n", g["0.weight"][0, 0].round(4), sep="")

# %% [markdown]
# ## First witness: the engine
#
# `trace` runs the net and notes each operation with the arrays that it made and the gradients that arrived at its outputs: the engine's own
# arrays, nothing is computed twice. All must equal ours to $10^{-10}$:

# %%
run = trace(net, sv.tensor(x, requires_grad=True), sv.tensor(target), backward=True, arrays=True)
ours = ["y1", "r1", "y2", "r2", "p", "f", "z"]
assert [call.op for call in run.calls] == "conv2d relu conv2d relu max_pool2d Reshape linear cross_entropy".split()
for name, call in zip(ours, run.calls[:-1], strict=True):
    difference = max(abs(call.results[0] - a[name]).max(), abs(call.gradients[0] - d[name]).max())
    print(f"{call.op:10} {a[name].shape!s:13} gradient of norm {call.gradient_norm:.4f}; equal: {difference < 1e-10}")
    assert difference < 1e-10

picture = sv.tensor(x, requires_grad=True)
loss = nn.functional.cross_entropy(net(picture), sv.tensor(target))
loss.backward()
assert abs(loss.item() - a["loss"]) < 1e-10 and abs(picture.grad.numpy() - d["x"]).max() < 1e-10
for name, parameter in net.named_parameters():
    assert abs(parameter.grad.numpy() - g[name]).max() < 1e-10, name
count = sum(w.size for w in weights.values())
print(f"and so are the loss, the gradients of all {count} weights, and that of the pictures")

# %% [markdown]
# ## Second witness: finite differences
#
# A derivative is what happens to the loss if one number moves a little. Move every weight by $\pm\varepsilon$ and use
# $\frac{L(w+\varepsilon)-L(w-\varepsilon)}{2\varepsilon}$: its error is of the order $\varepsilon^2$, plus rounding of order
# $10^{-16}/\varepsilon$; $\varepsilon=10^{-5}$ balances the two. (It fails if a ReLU or a pool changes its mind between the two points:
# then there is no derivative.) Two forward passes for each weight: fine for 280, hopeless for the 138 million of VGG-16. Backward gets all
# of them for the price of about two forwards. That is why it exists.

# %%
epsilon, worst = 1e-5, 0.0
for name, w in weights.items():
    for place in np.ndindex(w.shape):
        kept, losses = w[place], []
        for step in (epsilon, -epsilon):
            w[place] = kept + step
            losses.append(forward(weights, x)["loss"])
        w[place] = kept
        worst = max(worst, abs((losses[0] - losses[1]) / (2 * epsilon) - g[name][place]))
print(f"largest difference below 1e-8: {worst < 1e-8}")
assert worst < 1e-8

# %% [markdown]
# Read on: these few lines are, with all corner cases, `cross_entropy.py`, `linear.py`, `max_pool2d.py`, `relu.py` and `conv2d.py` in
# `scratchvgg/ops/`, forward beside backward. `scratchvgg/autograd/engine.py` is the program that calls them in the right order. `scratchvgg
# explain vgg16 --backward` works out any number of any layer in this way.
