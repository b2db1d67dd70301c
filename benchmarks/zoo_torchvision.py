"""Models of torchvision: the smallest of each family, at random initialisation."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from zoo_entry import SAMPLES, Made, ZooModel

CLASSES: dict[str, Any] = {"num_classes": 10}
# A model's arguments and the sizes of its samples.
FUNCTIONS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "alexnet": (CLASSES, (3, 64, 64)),
    "convnext_tiny": (CLASSES, (3, 64, 64)),
    "densenet121": (CLASSES, (3, 64, 64)),
    "efficientnet_b0": (CLASSES, (3, 64, 64)),
    "googlenet": ({**CLASSES, "init_weights": False, "aux_logits": False}, (3, 64, 64)),
    "inception_v3": ({**CLASSES, "init_weights": False, "aux_logits": False}, (3, 80, 80)),
    "maxvit_t": ({**CLASSES}, (3, 224, 224)),
    "mnasnet0_5": (CLASSES, (3, 64, 64)),
    "mobilenet_v2": (CLASSES, (3, 64, 64)),
    "mobilenet_v3_small": (CLASSES, (3, 64, 64)),
    "regnet_x_400mf": (CLASSES, (3, 64, 64)),
    "regnet_y_400mf": (CLASSES, (3, 64, 64)),
    "resnet18": (CLASSES, (3, 64, 64)),
    "resnext50_32x4d": (CLASSES, (3, 64, 64)),
    "shufflenet_v2_x0_5": (CLASSES, (3, 64, 64)),
    "squeezenet1_1": (CLASSES, (3, 64, 64)),
    "swin_t": (CLASSES, (3, 64, 64)),
    "swin_v2_t": (CLASSES, (3, 64, 64)),
    "vgg11": (CLASSES, (3, 64, 64)),
    "vgg11_bn": (CLASSES, (3, 64, 64)),
    "vit_b_32": ({**CLASSES, "image_size": 64}, (3, 64, 64)),
    "wide_resnet50_2": (CLASSES, (3, 64, 64)),
    "deeplabv3_mobilenet_v3_large": ({**CLASSES, "weights_backbone": None}, (3, 64, 64)),
    "fcn_resnet50": ({**CLASSES, "weights_backbone": None}, (3, 64, 64)),
    "lraspp_mobilenet_v3_large": ({**CLASSES, "weights_backbone": None}, (3, 64, 64)),
    "mc3_18": (CLASSES, (3, 4, 32, 32)),
    "r2plus1d_18": (CLASSES, (3, 4, 32, 32)),
    "r3d_18": (CLASSES, (3, 4, 32, 32)),
    "swin3d_t": (CLASSES, (3, 4, 32, 32)),
}
# Detectors whose post-processing has an output per picture: their backbones and heads.
DETECTORS: dict[str, tuple[int, int]] = {
    "fasterrcnn_mobilenet_v3_large_fpn": (3, 64),
    "fcos_resnet50_fpn": (3, 64),
    "retinanet_resnet50_fpn": (3, 64),
    "ssdlite320_mobilenet_v3_large": (3, 64),
}


class DenseDetector(nn.Module):
    """The backbone of a detector and its head, as far as they are dense."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the head predicts at every place."""
        return self.head(list(self.backbone(x).values()))


def make(name: str) -> Made:
    """Make a model, and samples."""
    from torchvision import models

    if name in DETECTORS:
        whole = models.get_model(name, weights=None, weights_backbone=None, num_classes=4)
        head = whole.rpn.head if hasattr(whole, "rpn") else whole.head
        channels, size = DETECTORS[name]
        return DenseDetector(whole.backbone, head), (torch.randn(SAMPLES, channels, size, size),)
    arguments, sizes = FUNCTIONS[name]
    count = 4 if torch.Size(sizes).numel() > 100_000 else SAMPLES
    return models.get_model(name, weights=None, **arguments), (torch.randn(count, *sizes),)


def make_raft() -> Made:
    """Make RAFT, which finds the motion between two pictures."""
    from torchvision import models

    pictures = {name: torch.rand(2, 3, 128, 128) * 2 - 1 for name in ("image1", "image2")}
    net = models.optical_flow.raft_small(weights=None)
    return net, pictures


MODELS = (
    *(
        ZooModel(f"torchvision/{name}", partial(make, name), ("torchvision",))
        for name in (*FUNCTIONS, *DETECTORS)
    ),
    ZooModel("torchvision/raft_small", make_raft, ("torchvision",)),
)
