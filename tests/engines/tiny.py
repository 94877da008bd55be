"""Pipelines of a few thousand weights, of the real classes, saved as folders such as a model is published in.

Each function writes one and answers with its folder. What they make is noise, but every weight counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 32
#: Tokens that the tiny tokenizers know; all else is <unk>.
WORDS = ("a", "cat", "boat", "on", "the", "sea", "at", "noon", "dusk", "night")


def flf2v(folder: Path) -> Path:
    """Wan 2.1 FLF2V: an image encoder, and places for two pictures in the transformer."""
    return _image_to_video(folder, image_dim=4, pos_embed_seq_len=2 * (4 * 4 + 1))


def i2v(folder: Path) -> Path:
    """Wan 2.1 I2V: an image encoder, and a place for one picture."""
    return _image_to_video(folder, image_dim=4)


def a14b(folder: Path) -> Path:
    """Wan 2.2 I2V A14B: two transformers, no image encoder."""
    import diffusers

    _seed()
    pipe = diffusers.WanImageToVideoPipeline(
        **_wan_parts(),
        transformer=_transformer(in_channels=36),
        transformer_2=_transformer(in_channels=36),
        boundary_ratio=0.5,
    )
    return _saved(pipe, folder)


def ti2v(folder: Path) -> Path:
    """Wan 2.2 TI2V: published as a text pipeline, with a time for each token."""
    import diffusers

    _seed()
    pipe = diffusers.WanPipeline(**_wan_parts(), transformer=_transformer(in_channels=16), expand_timesteps=True)
    return _saved(pipe, folder)


def t2v(folder: Path) -> Path:
    """Wan 2.1 T2V: from words alone."""
    import diffusers

    _seed()
    return _saved(diffusers.WanPipeline(**_wan_parts(), transformer=_transformer(in_channels=16)), folder)


def vace(folder: Path) -> Path:
    """Wan 2.1 VACE: a guide and a mask."""
    import diffusers

    _seed()
    transformer = diffusers.WanVACETransformer3DModel(
        **_SHAPE, in_channels=16, num_layers=3, vace_layers=[0, 2], vace_in_channels=96
    )
    return _saved(diffusers.WanVACEPipeline(**_wan_parts(), transformer=_loud(transformer)), folder)


def image(folder: Path) -> Path:
    """Stable Diffusion: a UNet, a VAE, CLIP."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    _seed()
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=SIDE,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=2,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=[4, 8],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
        norm_num_groups=2,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=32,
            hidden_size=8,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=16,
            bos_token_id=1,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text.eval(),
        tokenizer=_tokenizer(longest=16),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _saved(pipe, folder)


def lora(folder: Path, model: Path, *, seed: int = 7, name: str = "lora.safetensors") -> Path:
    """A LoRA for the model's transformer (or UNet) that is strong enough to be seen in 8 bits."""
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin, WanLoraLoaderMixin
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = DiffusionPipeline.from_pretrained(model, local_files_only=True, use_safetensors=True)
    denoiser: Any = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    denoiser.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k", "to_v"]))
    weights = get_peft_model_state_dict(denoiser)
    chance = torch.Generator().manual_seed(seed)
    weights = {key: torch.randn(value.shape, generator=chance) for key, value in weights.items()}
    if hasattr(pipe, "unet"):
        StableDiffusionLoraLoaderMixin.save_lora_weights(str(folder), unet_lora_layers=weights, weight_name=name)
    else:
        WanLoraLoaderMixin.save_lora_weights(str(folder), transformer_lora_layers=weights, weight_name=name)
    return folder / name


_SHAPE: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 256,
    "ffn_dim": 32,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}


def _seed() -> None:
    import torch

    torch.manual_seed(0)


def _transformer(**more: Any) -> Any:
    import diffusers

    return _loud(diffusers.WanTransformer3DModel(**_SHAPE, num_layers=2, **more))


def _loud(transformer: Any) -> Any:
    """Untrained weights hardly say a word; these are heard in 8 bits after two steps."""
    transformer.proj_out.weight.data.mul_(4)
    transformer.condition_embedder.text_embedder.linear_2.weight.data.mul_(10)
    return transformer


def _image_to_video(folder: Path, **embedder: Any) -> Path:
    import diffusers
    import torch
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    _seed()
    shape = {"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = CLIPVisionModel(CLIPVisionConfig(**shape, projection_dim=4, image_size=4, patch_size=1))
    transformer = _transformer(in_channels=36, added_kv_proj_dim=24, **embedder)
    places = transformer.condition_embedder.image_embedder.pos_embed
    if places is not None:
        # Untrained they are zeros, and which picture comes first would not matter.
        torch.nn.init.normal_(places)
    pipe = diffusers.WanImageToVideoPipeline(
        **_wan_parts(),
        transformer=transformer,
        image_encoder=encoder.eval(),
        image_processor=CLIPImageProcessor(crop_size=4, size=4),
    )
    return _saved(pipe, folder)


def _wan_parts() -> dict[str, Any]:
    import diffusers
    from transformers import UMT5Config, UMT5EncoderModel

    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    # As for the transformers: untrained it says next to nothing about one frame among others.
    vae.quant_conv.weight.data.mul_(400)
    text = UMT5EncoderModel(
        UMT5Config(vocab_size=32, d_model=32, d_ff=37, num_layers=2, num_heads=2, d_kv=16, decoder_start_token_id=0)
    )
    return {
        "tokenizer": _tokenizer(longest=512),
        "text_encoder": text.eval(),
        "vae": vae.eval(),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
    }


def _tokenizer(longest: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=longest
    )


def _saved(pipe: Any, folder: Path) -> Path:
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder
