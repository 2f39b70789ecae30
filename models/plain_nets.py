"""Convolutional networks without normalisation layers: AlexNet, VGG-16, GoogLeNet, SqueezeNet.

Dropout, the auxiliary heads and the final softmax are left out: outputs are logits.

1. Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
   networks", NeurIPS 2012.
2. Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
   ICLR 2015.
3. Szegedy et al., "Going deeper with convolutions", CVPR 2015.
4. Iandola et al., "SqueezeNet", arXiv:1602.07360.
"""

from graph_builder import Builder, Feature, weights_from
from onnx import ModelProto

CLASSES = 1000

VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, convolutions) between two poolings [2, table 1, configuration D]."""

INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection [3, table 1]."""

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""(squeeze, expand) channels of fire2 to fire9; expand counts each of two branches [4]."""


def conv_relu(
    b: Builder,
    x: Feature,
    name: str,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
) -> Feature:
    """Convolution with bias and ReLU: (N, C, H, W) to (N, channels, H', W')."""
    x = b.conv(x, name, channels, kernel, stride, pad, groups)
    return b.relu(x, f"{name}.relu")


def classifier(b: Builder, x: Feature, names: tuple[str, str, str]) -> ModelProto:
    """Two hidden layers of 4,096 and the logits, on flattened features."""
    for name in names[:2]:
        x = b.relu(b.fully_connected(x, name, 4096), f"{name}.relu")
    x = b.fully_connected(x, names[2], CLASSES, gain=1.0)
    return b.finish(x, "logits", [CLASSES])


def alexnet(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """AlexNet on (N, 3, 227, 227), conv2, conv4 and conv5 in two groups [1]."""
    b = Builder("alexnet", weights_from(seed), batch)
    # The paper's alpha of 1e-4 multiplies a plain sum over 5 channels; ONNX divides it by size.
    lrn = {"size": 5, "alpha": 5e-4, "beta": 0.75, "bias": 2.0}
    x = conv_relu(b, b.input("input", [3, 227, 227]), "conv1", 96, 11, stride=4)
    x = b.max_pool(b.unary("LRN", x, "norm1", **lrn), "pool1")
    x = conv_relu(b, x, "conv2", 256, 5, pad=2, groups=2)
    x = b.max_pool(b.unary("LRN", x, "norm2", **lrn), "pool2")
    x = conv_relu(b, x, "conv3", 384, 3, pad=1)
    x = conv_relu(b, x, "conv4", 384, 3, pad=1, groups=2)
    x = conv_relu(b, x, "conv5", 256, 3, pad=1, groups=2)
    x = b.flatten(b.max_pool(x, "pool5"), "flatten", positions=6 * 6)
    return classifier(b, x, ("fc6", "fc7", "fc8"))


def vgg16(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """VGG-16 (configuration D) on (N, 3, 224, 224) [2]."""
    b = Builder("vgg16", weights_from(seed), batch)
    x = b.input("input", [3, 224, 224])
    for stage, (channels, depth) in enumerate(VGG16_STAGES, start=1):
        for layer in range(1, depth + 1):
            x = conv_relu(b, x, f"conv{stage}_{layer}", channels, 3, pad=1)
        x = b.max_pool(x, f"pool{stage}", kernel=2)
    return classifier(b, b.flatten(x, "flatten", positions=7 * 7), ("fc6", "fc7", "fc8"))


def inception(b: Builder, x: Feature, name: str, channels: tuple[int, ...]) -> Feature:
    """Four branches joined by Concat; `channels` as in INCEPTIONS."""
    one, reduce3, three, reduce5, five, projection = channels
    narrow3 = conv_relu(b, x, f"{name}.3x3_reduce", reduce3)
    narrow5 = conv_relu(b, x, f"{name}.5x5_reduce", reduce5)
    pooled = b.max_pool(x, f"{name}.pool", stride=1, pad=1)
    branches = [
        conv_relu(b, x, f"{name}.1x1", one),
        conv_relu(b, narrow3, f"{name}.3x3", three, 3, pad=1),
        conv_relu(b, narrow5, f"{name}.5x5", five, 5, pad=2),
        conv_relu(b, pooled, f"{name}.pool_proj", projection),
    ]
    return b.concat(branches, f"{name}.concat")


def googlenet(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """GoogLeNet on (N, 3, 224, 224), with its 5x5 branches, without auxiliary heads [3]."""
    b = Builder("googlenet", weights_from(seed), batch)
    lrn = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    x = conv_relu(b, b.input("input", [3, 224, 224]), "conv1", 64, 7, stride=2, pad=3)
    x = b.unary("LRN", b.max_pool(x, "pool1", ceil=1), "norm1", **lrn)
    x = conv_relu(b, x, "conv2_reduce", 64)
    x = conv_relu(b, x, "conv2", 192, 3, pad=1)
    x = b.max_pool(b.unary("LRN", x, "norm2", **lrn), "pool2", ceil=1)
    for block, channels in INCEPTIONS.items():
        x = inception(b, x, f"inception_{block}", channels)
        if block in ("3b", "4e"):
            x = b.max_pool(x, f"pool{block[0]}", ceil=1)
    x = b.flatten(b.unary("GlobalAveragePool", x, "pool5"), "flatten")
    x = b.fully_connected(x, "classifier", CLASSES, gain=1.0)
    return b.finish(x, "logits", [CLASSES])


def squeezenet1_0(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """SqueezeNet 1.0 on (N, 3, 224, 224), pooling after conv1, fire4 and fire8 [4]."""
    return _squeezenet("squeezenet1_0", (96, 7), (4, 8), seed, batch)


def squeezenet1_1(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """SqueezeNet 1.1 on (N, 3, 224, 224): a smaller conv1, pooling after fire3 and fire5 [4]."""
    return _squeezenet("squeezenet1_1", (64, 3), (3, 5), seed, batch)


def _squeezenet(
    name: str,
    stem: tuple[int, int],
    pooled_fires: tuple[int, int],
    seed: int | None,
    batch: int | None,
) -> ModelProto:
    """`stem` is (channels, kernel) of conv1."""
    b = Builder(name, weights_from(seed), batch)
    x = conv_relu(b, b.input("input", [3, 224, 224]), "conv1", stem[0], stem[1], stride=2)
    x = b.max_pool(x, "pool1", ceil=1)
    for number, (squeeze, expand) in enumerate(FIRES, start=2):
        x = fire(b, x, f"fire{number}", squeeze, expand)
        if number in pooled_fires:
            x = b.max_pool(x, f"pool{number}", ceil=1)
    x = conv_relu(b, x, "conv10", CLASSES)
    x = b.flatten(b.unary("GlobalAveragePool", x, "pool10"), "flatten")
    return b.finish(x, "logits", [CLASSES])


def fire(b: Builder, x: Feature, name: str, squeeze: int, expand: int) -> Feature:
    """A 1x1 squeeze, then 1x1 and 3x3 expansions joined by Concat: 2 * expand channels."""
    x = conv_relu(b, x, f"{name}.squeeze", squeeze)
    one = conv_relu(b, x, f"{name}.expand1x1", expand)
    three = conv_relu(b, x, f"{name}.expand3x3", expand, 3, pad=1)
    return b.concat([one, three], f"{name}.concat")
