"""Models whose configuration takes more than a row of a table; and the libraries of them all."""

from __future__ import annotations

import importlib
import os
import tempfile
from functools import partial
from typing import Any

import torch
from torch import Tensor
from zoo_entry import SAMPLES, Made, ZooModel, pictures
from zoo_generator import Generator

# torchvision's compiled operators want CUDA's libraries; its models can do without.
MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qroi_align(Tensor input, Tensor rois, float scale, int h, int w, int n, bool a) -> Tensor",
)
_operators: list[Any] = []


def prepare_libraries() -> None:
    """Import torchvision, if need be without its compiled operators; keep ultralytics quiet."""
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="lsuv-zoo-"))
    os.environ.setdefault("YOLO_OFFLINE", "true")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        define: Any = torch.library.Library
        library = define("torchvision", "DEF")
        for schema in MISSING:
            library.define(schema)
        _operators.append(library)
        importlib.import_module("torchvision")


def tokens(vocabulary: int = 100, length: int = 12) -> tuple[Tensor, ...]:
    """Return token ids."""
    return (torch.randint(3, vocabulary, (SAMPLES, length)),)


def _nfnet() -> Made:
    from timm.models.nfnet import NfCfg, NormFreeNet

    config = NfCfg(
        depths=(1, 1, 1, 1),
        channels=(32, 64, 64, 64),
        stem_type="deep_quad",
        stem_chs=32,
        group_size=16,
        bottle_ratio=0.5,
        extra_conv=True,
        num_features=96,
        act_layer="gelu",
        attn_layer="se",
        attn_kwargs={"rd_ratio": 0.5},
    )
    return NormFreeNet(config, num_classes=10), pictures()


def _bit() -> Made:
    from timm.layers import GroupNormAct
    from timm.models.resnetv2 import ResNetV2

    net = ResNetV2(
        (1, 1, 1),
        (64, 64, 128),
        num_classes=10,
        stem_chs=32,
        stem_type="fixed",
        norm_layer=partial(GroupNormAct, num_groups=8),
    )
    return net, pictures()


def _wav2vec2() -> Made:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=(32, 32, 32),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 2),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    return Wav2Vec2Model(config), (torch.randn(SAMPLES, 800),)


def _yolo() -> Made:
    from ultralytics.nn.tasks import DetectionModel

    net = DetectionModel("yolov8n.yaml", ch=3, nc=4, verbose=False)
    net.model[-1].export = True
    net.model[-1].format = "onnx"
    return net, pictures()


def _mixtral() -> Made:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=32,
        use_cache=False,
        attn_implementation="eager",
        experts_implementation="batched_mm",
    )
    # Without a mask the model looks for packed sequences, which no exporter knows how to do.
    (ids,) = tokens()
    return MixtralForCausalLM(config), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _siglip() -> Made:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    return SiglipVisionModel(config), pictures(32)


def _deberta() -> Made:
    from transformers import DebertaV2Config, DebertaV2Model

    config = DebertaV2Config(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=32,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
    )
    return DebertaV2Model(config), tokens()


def _swin() -> Made:
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    net = SwinTransformerV2(
        img_size=64,
        num_classes=10,
        embed_dim=32,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=4,
    )
    return net, pictures()


def _generator(*, fused: bool) -> Made:
    return Generator(fused=fused), (torch.randn(SAMPLES, 16),)


HAND_MADE = (
    ZooModel("nfnet", _nfnet, ("timm",)),
    ZooModel("bit", _bit, ("timm",)),
    ZooModel("wav2vec2", _wav2vec2, ("transformers",)),
    ZooModel("yolov8n", _yolo, ("ultralytics",)),
    ZooModel("mixtral", _mixtral, ("transformers",)),
    ZooModel("siglip", _siglip, ("transformers",)),
    ZooModel("deberta-v2", _deberta, ("transformers",)),
    ZooModel("swin-v2", _swin, ("timm",)),
    ZooModel("stylegan", partial(_generator, fused=False)),
    ZooModel("stylegan-fused", partial(_generator, fused=True)),
)
