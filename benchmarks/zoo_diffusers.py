"""Models of diffusers in small configurations."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from zoo_entry import SAMPLES, Made, ZooModel

DOWN, UP = "DownBlock2D", "UpBlock2D"
VAE: dict[str, Any] = {"block_out_channels": (16, 32), "norm_num_groups": 8}
TWO: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
}
UNET: dict[str, Any] = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
TRANSFORMER: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2}

Shapes = dict[str, tuple[int, ...] | int]
CONDITIONED: Shapes = {"sample": (4, 16, 16), "timestep": 1000, "encoder_hidden_states": (8, 32)}

# The classes: their arguments, and shapes of the inputs; an integer is a step below that.
CLASSES: dict[str, tuple[dict[str, Any], Shapes]] = {
    "UNet2DModel": (
        {
            **UNET,
            "down_block_types": (DOWN, "AttnDownBlock2D"),
            "attention_head_dim": 8,
            "up_block_types": ("AttnUpBlock2D", UP),
        },
        {"sample": (3, 16, 16), "timestep": 1000},
    ),
    "UNet1DModel": (
        {
            "block_out_channels": (32, 32),
            "in_channels": 4,
            "out_channels": 4,
            "extra_in_channels": 64,
            "sample_size": 64,
            "layers_per_block": 1,
            "down_block_types": ("DownBlock1DNoSkip", "DownBlock1D"),
            "up_block_types": ("UpBlock1D", "UpBlock1DNoSkip"),
        },
        {"sample": (4, 64), "timestep": 1000},
    ),
    "UNet2DConditionModel": (
        {
            **UNET,
            "down_block_types": ("CrossAttnDownBlock2D", DOWN),
            "attention_head_dim": 8,
            "up_block_types": (UP, "CrossAttnUpBlock2D"),
            "cross_attention_dim": 32,
        },
        CONDITIONED,
    ),
    "UNet3DConditionModel": (
        {
            **UNET,
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
        },
        {**CONDITIONED, "sample": (4, 3, 16, 16)},
    ),
    "AutoencoderKL": ({**VAE, **TWO}, {"sample": (3, 32, 32)}),
    "VQModel": ({**VAE, **TWO, "num_vq_embeddings": 32}, {"sample": (3, 32, 32)}),
    "AsymmetricAutoencoderKL": (
        {
            **TWO,
            "down_block_out_channels": (16, 32),
            "up_block_out_channels": (16, 32),
            "norm_num_groups": 8,
        },
        {"sample": (3, 32, 32)},
    ),
    "AutoencoderTiny": (
        {
            "encoder_block_out_channels": (16, 16),
            "decoder_block_out_channels": (16, 16),
            "num_encoder_blocks": (1, 1),
            "num_decoder_blocks": (1, 1),
            "latent_channels": 4,
        },
        {"sample": (3, 32, 32)},
    ),
    "AutoencoderDC": (
        {
            "encoder_block_out_channels": (16, 32),
            "decoder_block_out_channels": (16, 32),
            "encoder_layers_per_block": (1, 1),
            "decoder_layers_per_block": (1, 1),
            "attention_head_dim": 8,
            "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "latent_channels": 8,
            "encoder_qkv_multiscales": ((), (5,)),
            "decoder_qkv_multiscales": ((), (5,)),
        },
        {"sample": (3, 32, 32)},
    ),
    "Transformer2DModel": (
        {**TRANSFORMER, "in_channels": 32, "norm_num_groups": 8, "cross_attention_dim": 32},
        {"hidden_states": (32, 8, 8), "encoder_hidden_states": (8, 32)},
    ),
    "DiTTransformer2DModel": (
        {**TRANSFORMER, "sample_size": 16, "in_channels": 4, "num_embeds_ada_norm": 10},
        {"hidden_states": (4, 16, 16), "timestep": 1000, "class_labels": 10},
    ),
    "PixArtTransformer2DModel": (
        {**TRANSFORMER, "sample_size": 16, "cross_attention_dim": 32, "caption_channels": 32},
        {"hidden_states": (4, 16, 16), "encoder_hidden_states": (8, 32), "timestep": 1000},
    ),
    "SD3Transformer2DModel": (
        {
            **TRANSFORMER,
            "sample_size": 16,
            "in_channels": 4,
            "joint_attention_dim": 32,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 32,
            "out_channels": 4,
        },
        {
            "hidden_states": (4, 16, 16),
            "encoder_hidden_states": (8, 32),
            "pooled_projections": (32,),
            "timestep": 1000,
        },
    ),
    "PriorTransformer": (
        {**TRANSFORMER, "embedding_dim": 32, "num_embeddings": 8, "additional_embeddings": 4},
        {
            "hidden_states": (32,),
            "timestep": 1000,
            "proj_embedding": (32,),
            "encoder_hidden_states": (8, 32),
        },
    ),
    "UVit2DModel": (
        {
            "hidden_size": 32,
            "cond_embed_dim": 32,
            "micro_cond_encode_dim": 8,
            "micro_cond_embed_dim": 40,
            "encoder_hidden_size": 32,
            "vocab_size": 100,
            "codebook_size": 90,
            "in_channels": 32,
            "block_out_channels": 32,
            "num_res_blocks": 1,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "block_num_heads": 4,
            "intermediate_size": 64,
            "sample_size": 16,
        },
        {
            "input_ids": (-8, 8),
            "encoder_hidden_states": (8, 32),
            "pooled_text_emb": (32,),
            "micro_conds": (5,),
        },
    ),
}


def make(name: str) -> Made:
    """Make a model of a class, and samples by the names of its inputs."""
    import diffusers

    arguments, shapes = CLASSES[name]
    inputs = {}
    for key, shape in shapes.items():
        if isinstance(shape, int):
            inputs[key] = torch.randint(shape, (SAMPLES,))
        elif shape[0] < 0:
            inputs[key] = torch.randint(90, (SAMPLES, *map(abs, shape)))
        else:
            inputs[key] = torch.randn(SAMPLES, *shape)
    return getattr(diffusers, name)(**arguments), inputs


MODELS = tuple(
    ZooModel(f"diffusers/{name}", partial(make, name), ("diffusers",)) for name in CLASSES
)
