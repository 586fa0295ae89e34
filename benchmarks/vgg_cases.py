"""VGG's operations at VGG's sizes, where sums are long: the small cases of the tests say nothing about those."""

from __future__ import annotations

from tests.harness import Case, integers, normal


def convolution(c, k, size, batch=1, filter=3):
    """A 3×3 convolution of VGG with a filter of Kaiming's size."""
    inputs = normal(batch, c, size, size), normal(k, c, filter, filter, std=(2 / (k * filter**2)) ** 0.5), normal(k)
    return Case("conv2d", f"{batch}×{c}×{size}² → {k}, {filter}×{filter}", inputs, lambda F, x, w, b: F.conv2d(x, w, b, padding=filter // 2))



def running_statistics(F, x):
    """What becomes of running mean and variance."""
    mean, var = F.zeros(64, dtype=x.dtype), F.ones(64, dtype=x.dtype)
    F.batch_norm(x, mean, var, training=True)
    return [mean, var]


image = normal(2, 64, 56, 56, mean=0.5)
logits, labels = normal(64, 1000, std=3.0), integers(0, 1000, 64)

CASES = [
    convolution(3, 64, 224),
    convolution(64, 64, 112),
    convolution(256, 256, 28, batch=2),
    convolution(512, 512, 14, batch=2),
    convolution(512, 512, 14, batch=2, filter=1),
    Case("conv2d", "FC as 7×7", (normal(1, 64, 9, 9), normal(128, 64, 7, 7, std=0.02)), lambda F, x, w: F.conv2d(x, w)),
    Case("conv2d", "two groups", (normal(2, 128, 14, 14), normal(128, 64, 3, 3, std=0.05)), lambda F, x, w: F.conv2d(x, w, padding=1, groups=2)),
    Case("conv_transpose2d", "doubling", (normal(1, 128, 28, 28), normal(128, 64, 2, 2, std=0.1)),
         lambda F, x, w: F.conv_transpose2d(x, w, stride=2)),
    Case("linear", "25088 → 512", (normal(8, 25088), normal(512, 25088, std=0.01), normal(512)), lambda F, x, w, b: F.linear(x, w, b)),
    Case("linear", "4096 → 1000", (normal(16, 4096), normal(1000, 4096, std=0.01), normal(1000)), lambda F, x, w, b: F.linear(x, w, b)),
    Case("relu", "64×56²", (image,), lambda F, x: F.relu(x)),
    Case("gelu", "64×56²", (image,), lambda F, x: F.gelu(x)),
    Case("gelu", "64×56², tanh", (image,), lambda F, x: F.gelu(x, approximate="tanh")),
    Case("sigmoid", "64×56²", (image,), lambda F, x: F.sigmoid(x)),
    Case("tanh", "64×56²", (image,), lambda F, x: F.tanh(x)),
    Case("max_pool2d", "64×56²", (image,), lambda F, x: F.max_pool2d(x, 2)),
    Case("avg_pool2d", "64×56²", (image,), lambda F, x: F.avg_pool2d(x, 2)),
    Case("adaptive_avg_pool2d", "64×56² → 7²", (image,), lambda F, x: F.adaptive_avg_pool2d(x, 7)),
    Case("adaptive_avg_pool2d", "64×56² → 1", (image,), lambda F, x: F.adaptive_avg_pool2d(x, 1)),
    Case("batch_norm", "64×56², training", (image, normal(64), normal(64)),
         lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
    Case("batch_norm", "64×56², large mean", (normal(4, 64, 28, 28, mean=30.0), normal(64), normal(64)),
         lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
    Case("batch_norm", "running statistics of centred values", (normal(2, 64, 56, 56).frozen(),), running_statistics),
    Case("local_response_norm", "64×56²", (image,), lambda F, x: F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)),
    Case("softmax", "1000 classes", (logits,), lambda F, x: F.softmax(x, 1)),
    Case("log_softmax", "1000 classes", (logits,), lambda F, x: F.log_softmax(x, 1)),
    Case("cross_entropy", "1000 classes", (logits, labels), lambda F, x, t: F.cross_entropy(x, t)),
    Case("cross_entropy", "1000 classes, smoothed", (logits, labels), lambda F, x, t: F.cross_entropy(x, t, label_smoothing=0.1)),
    Case("mse_loss", "64×1000", (logits, normal(64, 1000)), lambda F, x, t: F.mse_loss(x, t)),
    Case("interpolate", "64×56² → 112², bilinear", (image,),
         lambda F, x: F.interpolate(x, size=(112, 112), mode="bilinear", align_corners=False)),
    Case("sum", "64×56²", (image,), lambda F, x: F.sum(x)),
    Case("mean", "64×56², space", (image,), lambda F, x: F.mean(x, (2, 3))),
    Case("var", "64×56²", (image,), lambda F, x: F.var(x)),
    Case("matmul", "512³", (normal(512, 512), normal(512, 512)), lambda F, a, b: F.matmul(a, b)),
]
