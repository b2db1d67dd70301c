"""Model types of transformers in small configurations, made from a table."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from zoo_entry import SAMPLES, Made, ZooModel

WIDTH, DEPTH, HEADS = 32, 2, 4
VOCABULARY, LENGTH = 100, 12

# What makes a configuration small, wherever it has such an entry.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim"), WIDTH),
    **dict.fromkeys(("embedding_size", "projection_dim", "hidden_dim", "n_embed"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), DEPTH),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), DEPTH),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "n_inner"), 2 * WIDTH),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "mlp_dim"), 2 * WIDTH),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    "num_key_value_heads": 2,
    "head_dim": WIDTH // HEADS,
    "d_kv": WIDTH // HEADS,
    "vocab_size": VOCABULARY,
    "image_size": 32,
    "patch_size": 8,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

TEXT = ("input_ids", "attention_mask")
IDS = ("input_ids",)
PICTURE = ("pixel_values",)
SEQUENCES = ("input_ids", "attention_mask", "decoder_input_ids")
BOTH = ("input_ids", "attention_mask", "pixel_values")

# The model types: what they take, and what their configurations have beside SMALL.
TYPES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    # Encoders of text.
    "albert": (TEXT, {}),
    "bert": (TEXT, {}),
    "big_bird": (TEXT, {"attention_type": "original_full"}),
    "canine": (TEXT, {}),
    "convbert": (TEXT, {}),
    "deberta": (TEXT, {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "distilbert": (TEXT, {}),
    "electra": (TEXT, {}),
    "esm": (TEXT, {"mask_token_id": 3, "position_embedding_type": "rotary"}),
    "fnet": (IDS, {}),
    "ibert": (TEXT, {}),
    "megatron-bert": (TEXT, {}),
    "mobilebert": (TEXT, {"true_hidden_size": 32, "intra_bottleneck_size": 32}),
    "modernbert": (TEXT, {"global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2}),
    "mpnet": (TEXT, {}),
    "nystromformer": (TEXT, {"segment_means_seq_len": 12, "num_landmarks": 12}),
    "rembert": (TEXT, {"input_embedding_size": 32, "output_embedding_size": 32}),
    "roberta": (TEXT, {}),
    "roformer": (TEXT, {}),
    "squeezebert": (TEXT, {}),
    "xlm-roberta": (TEXT, {}),
    "xlnet": (TEXT, {"d_inner": 64}),
    "yoso": (TEXT, {"use_expectation": True}),
    # Decoders of text.
    "bloom": (TEXT, {}),
    "codegen": (TEXT, {"rotary_dim": 4}),
    "cohere": (TEXT, {}),
    "falcon": (TEXT, {}),
    "gemma": (TEXT, {}),
    "gemma2": (TEXT, {"query_pre_attn_scalar": 8}),
    "gpt2": (TEXT, {}),
    "gpt_neo": (TEXT, {"attention_types": [[["global", "local"], 1]], "window_size": 4}),
    "gpt_neox": (TEXT, {}),
    "gptj": (TEXT, {"rotary_dim": 4}),
    "granite": (TEXT, {}),
    "llama": (TEXT, {}),
    "mamba": (IDS, {"state_size": 4, "time_step_rank": 4}),
    "mistral": (TEXT, {}),
    "mpt": (TEXT, {}),
    "olmo": (TEXT, {}),
    "olmoe": (TEXT, {"num_experts": 4, "num_experts_per_tok": 2}),
    "opt": (TEXT, {"word_embed_proj_dim": 32}),
    "phi": (TEXT, {}),
    "phi3": (TEXT, {}),
    "qwen2": (TEXT, {}),
    "qwen3": (TEXT, {}),
    "rwkv": (IDS, {"attention_hidden_size": 32}),
    "smollm3": (TEXT, {}),
    "stablelm": (TEXT, {}),
    "starcoder2": (TEXT, {}),
    # Encoders and decoders.
    "bart": (SEQUENCES, {}),
    "blenderbot": (SEQUENCES, {}),
    "m2m_100": (SEQUENCES, {}),
    "marian": (SEQUENCES, {"decoder_start_token_id": 1}),
    "pegasus": (SEQUENCES, {}),
    "prophetnet": (
        SEQUENCES,
        {
            "num_encoder_layers": 2,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "ngram": 2,
        },
    ),
    "t5": (SEQUENCES, {}),
    "umt5": (SEQUENCES, {}),
    # Vision.
    "beit": (PICTURE, {"use_relative_position_bias": True}),
    "bit": (
        PICTURE,
        {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "num_groups": 8},
    ),
    "convnext": (PICTURE, {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}),
    "cvt": (PICTURE, {"embed_dim": [16, 32, 64], "num_heads": [1, 2, 4], "depth": [1, 2, 3]}),
    "deit": (PICTURE, {}),
    "dinov2": (PICTURE, {}),
    "dpt": (PICTURE, {"neck_hidden_sizes": [8, 8, 8, 8], "backbone_out_indices": [0, 1, 1, 1]}),
    "efficientnet": (
        PICTURE,
        {"width_coefficient": 0.3, "depth_coefficient": 0.3, "hidden_dim": 384},
    ),
    "focalnet": (
        PICTURE,
        {
            "embed_dim": 16,
            "depths": [1, 1],
            "focal_levels": [1, 1],
            "focal_windows": [3, 3],
            "patch_size": 4,
        },
    ),
    "hiera": (
        PICTURE,
        {
            "image_size": [64, 64],
            "embed_dim": 16,
            "depths": [1, 1, 1, 1],
            "patch_size": [7, 7],
            "num_heads": [1, 2, 4, 8],
            "num_layers": 4,
        },
    ),
    "mobilevit": (
        PICTURE,
        {
            "image_size": 64,
            "patch_size": 2,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
        },
    ),
    "poolformer": (
        PICTURE,
        {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "patch_size": 7},
    ),
    "pvt": (
        PICTURE,
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "image_size": 64,
            "num_attention_heads": [1, 2, 2, 4],
            "patch_sizes": [4, 2, 2, 2],
        },
    ),
    "regnet": (
        PICTURE,
        {
            "embedding_size": 16,
            "hidden_sizes": [16, 16, 32, 32],
            "depths": [1, 1, 1, 1],
            "groups_width": 8,
        },
    ),
    "resnet": (PICTURE, {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}),
    "segformer": (
        PICTURE,
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 4],
            "image_size": 64,
        },
    ),
    "swin": (
        PICTURE,
        {
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "patch_size": 2,
            "num_layers": 2,
        },
    ),
    "swinv2": (
        PICTURE,
        {
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "patch_size": 2,
            "num_layers": 2,
        },
    ),
    "vit": (PICTURE, {}),
    "vit_mae": (PICTURE, {"mask_ratio": 0.0, "decoder_hidden_size": 32}),
    "yolos": (PICTURE, {"image_size": [32, 32], "num_detection_tokens": 4}),
    # Audio.
    "audio-spectrogram-transformer": (
        ("input_values:32x16",),
        {"max_length": 32, "num_mel_bins": 16, "frequency_stride": 8, "time_stride": 8},
    ),
    "hubert": (
        ("input_values:800",),
        {
            "conv_dim": [32, 32],
            "conv_stride": [5, 2],
            "conv_kernel": [10, 3],
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
    ),
    "wav2vec2-conformer": (
        ("input_values:800",),
        {
            "conv_dim": [32, 32],
            "conv_stride": [5, 2],
            "conv_kernel": [10, 3],
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
            "conv_depthwise_kernel_size": 5,
        },
    ),
    "wavlm": (
        ("input_values:800",),
        {
            "conv_dim": [32, 32],
            "conv_stride": [5, 2],
            "conv_kernel": [10, 3],
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
    ),
    "whisper": (
        ("input_features:16x40", "decoder_input_ids"),
        {
            "num_mel_bins": 16,
            "max_source_positions": 20,
            "max_target_positions": 20,
            "decoder_start_token_id": 1,
        },
    ),
    "blip": (BOTH, {}),
    "chinese_clip": (BOTH, {}),
    "clip": (BOTH, {}),
    "clipseg": (BOTH, {}),
    "flava": (BOTH, {}),
    "siglip": (("input_ids", "pixel_values"), {}),
    "vilt": (BOTH, {}),
    "decision_transformer": (
        (
            "states:6x17",
            "actions:6x4",
            "rewards:6x1",
            "returns_to_go:6x1",
            "timesteps:ids6",
            "attention_mask:ones6",
        ),
        {"state_dim": 17, "act_dim": 4, "max_ep_len": 110},
    ),
    "time_series_transformer": (
        (
            "past_values:30",
            "past_time_features:30x1",
            "past_observed_mask:ones30",
            "future_values:8",
            "future_time_features:8x1",
        ),
        {"prediction_length": 8, "context_length": 23, "num_time_features": 1},
    ),
    "patchtst": (
        ("past_values:32x2",),
        {"context_length": 32, "num_input_channels": 2, "patch_length": 8, "patch_stride": 8},
    ),
}


def small_config(kind: type[Any], more: dict[str, Any]) -> Any:
    """Return a small configuration of a class."""
    default = kind()
    known = default.to_dict()
    chosen = {key: value for key, value in SMALL.items() if key in known}
    for key, part in kind.sub_configs.items():
        inner = getattr(default, key, None)
        if inner is not None and not hasattr(part, "_model_mapping"):
            chosen[key] = small_config(type(inner), {}).to_dict()
    return kind(**{**chosen, **more})


def samples(name: str, size: int) -> tuple[str, Tensor]:
    """Return an input's name and its samples.

    Args:
        name: the name, or `name:shape`, where `ids6` and `ones6` are six token ids and six ones.
        size: of pictures.
    """
    name, _, shape = name.partition(":")
    if shape.startswith("ids"):
        return name, torch.arange(int(shape[3:])).repeat(SAMPLES, 1)
    if shape.startswith("ones"):
        return name, torch.ones(SAMPLES, int(shape[4:]))
    if shape:
        return name, torch.randn(SAMPLES, *map(int, shape.split("x")))
    if name == "pixel_values":
        return name, torch.randn(SAMPLES, 3, size, size)
    if name == "attention_mask":
        mask = torch.ones(SAMPLES, LENGTH, dtype=torch.long)
        mask[::2, -3:] = 0
        return name, mask
    return name, torch.randint(3, VOCABULARY, (SAMPLES, LENGTH))


def make(kind: str) -> Made:
    """Make a model of a type, and samples by the names of its inputs."""
    from transformers import AutoConfig, AutoModel

    inputs, more = TYPES[kind]
    config = small_config(type(AutoConfig.for_model(kind)), more)
    whole = getattr(config, "vision_config", config)
    size = getattr(whole, "image_size", 32)
    size = size if isinstance(size, int) else size[0]
    return AutoModel.from_config(config), dict(samples(name, size) for name in inputs)


MODELS = tuple(
    ZooModel(f"transformers/{kind}", partial(make, kind), ("transformers",)) for kind in TYPES
)
