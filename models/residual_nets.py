"""Convolutional networks with BatchNormalization and residual sums: ResNet, MobileNetV2.

BatchNormalization stays a node of its own, as in a file exported from training code.

1. He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016.
2. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.
"""

from collections.abc import Callable, Sequence

from graph_builder import Builder, Feature, weights_from
from onnx import ModelProto

CLASSES = 1000

BRANCH_SCALE = 0.5
"""Scale of the last normalisation of a residual branch: a sum then adds a quarter to the
variance, where sixteen sums of equal branches would multiply it by 65,536."""

MOBILENETV2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(expansion, channels, blocks, stride of the first block) [2, table 2]."""

Block = Callable[[Builder, Feature, str, int, int], Feature]


def conv_bn(
    b: Builder,
    x: Feature,
    prefix: str,
    part: str,
    channels: int,
    kernel: int,
    stride: int = 1,
    scale: float = 1.0,
    gain: float = 2.0,
) -> Feature:
    """Convolution `prefix`conv`part` without bias, padded by kernel // 2, and its bn`part`."""
    name = f"{prefix}conv{part}"
    x = b.conv(x, name, channels, kernel, stride, kernel // 2, bias=False, gain=gain)
    return b.batch_norm(x, f"{prefix}bn{part}", scale)


def shortcut(b: Builder, x: Feature, prefix: str, channels: int, stride: int) -> Feature:
    """Return x itself, or its 1x1 projection where the block changes its shape."""
    if x.channels == channels and stride == 1:
        return x
    x = b.conv(x, f"{prefix}downsample.0", channels, 1, stride, bias=False, gain=1.0)
    return b.batch_norm(x, f"{prefix}downsample.1")


def basic_block(b: Builder, x: Feature, prefix: str, width: int, stride: int) -> Feature:
    """Two 3x3 convolutions beside the shortcut; `width` channels out."""
    y = b.relu(conv_bn(b, x, prefix, "1", width, 3, stride), f"{prefix}relu1")
    y = conv_bn(b, y, prefix, "2", width, 3, scale=BRANCH_SCALE)
    y = b.add(y, shortcut(b, x, prefix, width, stride), f"{prefix}add")
    return b.relu(y, f"{prefix}relu2")


def bottleneck(b: Builder, x: Feature, prefix: str, width: int, stride: int) -> Feature:
    """1x1, 3x3 (which takes the stride), 1x1 beside the shortcut; 4 * `width` channels out."""
    y = b.relu(conv_bn(b, x, prefix, "1", width, 1), f"{prefix}relu1")
    y = b.relu(conv_bn(b, y, prefix, "2", width, 3, stride), f"{prefix}relu2")
    y = conv_bn(b, y, prefix, "3", 4 * width, 1, scale=BRANCH_SCALE)
    y = b.add(y, shortcut(b, x, prefix, 4 * width, stride), f"{prefix}add")
    return b.relu(y, f"{prefix}relu3")


def _resnet(
    name: str, block: Block, depths: Sequence[int], seed: int | None, batch: int | None
) -> ModelProto:
    """`depths` are the blocks of the four stages, of width 64, 128, 256 and 512."""
    b = Builder(name, weights_from(seed), batch)
    x = conv_bn(b, b.input("input", [3, 224, 224]), "", "1", 64, 7, stride=2)
    x = b.max_pool(b.relu(x, "relu"), "maxpool", pad=1)
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(b, x, f"layer{stage + 1}.{index}.", 64 << stage, stride)
    x = b.flatten(b.unary("GlobalAveragePool", x, "avgpool"), "flatten")
    return b.finish(b.fully_connected(x, "fc", CLASSES, gain=1.0), "logits", [CLASSES])


def resnet18(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """ResNet-18 on (N, 3, 224, 224) [1]; names of nodes and weights as in torchvision."""
    return _resnet("resnet18", basic_block, (2, 2, 2, 2), seed, batch)


def resnet50(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """ResNet-50 on (N, 3, 224, 224), version 1.5: the stride sits in the 3x3 convolution.

    In [1] it sits in the first 1x1 (3.86e9 MACs); torchvision's form, built here, has 4.09e9.
    """
    return _resnet("resnet50", bottleneck, (3, 4, 6, 3), seed, batch)


def inverted_residual(
    b: Builder, x: Feature, name: str, expansion: int, channels: int, stride: int
) -> Feature:
    """Expand 1x1, depthwise 3x3, project 1x1 without activation; summed where shapes agree."""
    hidden = expansion * x.channels
    y = x
    if expansion > 1:
        # x comes from a linear projection, without the halving of a ReLU: gain 1.
        y = b.conv(x, f"{name}.expand", hidden, 1, bias=False, gain=1.0)
        y = b.relu6(b.batch_norm(y, f"{name}.expand.bn"), f"{name}.expand.relu6")
    y = b.conv(y, f"{name}.depthwise", hidden, 3, stride, 1, groups=hidden, bias=False)
    y = b.relu6(b.batch_norm(y, f"{name}.depthwise.bn"), f"{name}.depthwise.relu6")
    y = b.conv(y, f"{name}.project", channels, 1, bias=False)
    if stride != 1 or x.channels != channels:
        return b.batch_norm(y, f"{name}.project.bn")
    return b.add(x, b.batch_norm(y, f"{name}.project.bn", BRANCH_SCALE), f"{name}.add")


def mobilenetv2(seed: int | None = 0, batch: int | None = None) -> ModelProto:
    """MobileNetV2 of width 1.0 on (N, 3, 224, 224) [2]; ReLU6 is a Clip to 0..6."""
    b = Builder("mobilenetv2", weights_from(seed), batch)
    x = b.conv(b.input("input", [3, 224, 224]), "stem", 32, 3, 2, 1, bias=False)
    x = b.relu6(b.batch_norm(x, "stem.bn"), "stem.relu6")
    number = 0
    for expansion, channels, depth, first_stride in MOBILENETV2_STAGES:
        for index in range(depth):
            number += 1
            stride = first_stride if index == 0 else 1
            x = inverted_residual(b, x, f"block{number}", expansion, channels, stride)
    x = b.batch_norm(b.conv(x, "head", 1280, 1, bias=False, gain=1.0), "head.bn")
    x = b.unary("GlobalAveragePool", b.relu6(x, "head.relu6"), "avgpool")
    x = b.fully_connected(b.flatten(x, "flatten"), "classifier", CLASSES, gain=1.0)
    return b.finish(x, "logits", [CLASSES])
