"""Image towers of 32 px that timm knows by name once this module is imported: small ones of the papers' families.

timm has none for so small an input whose layers could be set by a name alone. Each has some 14 million
multiply-accumulates a picture and a million parameters, so that the families can be compared. None drops paths.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer
from torch import nn

_SIDE = 32
_CONFIG = {"input_size": (3, _SIDE, _SIDE), "num_classes": 0, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_ANY_SIZE = {**_CONFIG, "pool_size": (1, 1)}
_THIS_SIZE = {**_CONFIG, "pool_size": None, "fixed_input_size": True}

default_cfgs = generate_default_cfgs(
    {
        "clipsieve_conv_32": _ANY_SIZE | {"first_conv": "stem.0", "classifier": "head.fc"},
        "clipsieve_mixer_32": _THIS_SIZE | {"first_conv": "stem.proj", "classifier": "head"},
        "clipsieve_resnet_32": _ANY_SIZE | {"first_conv": "conv1", "classifier": "fc"},
        "clipsieve_swin_32": _THIS_SIZE | {"first_conv": "patch_embed.proj", "classifier": "head.fc"},
    }
)
"""By this name timm's registry finds them in the module of a model's function."""


@register_model
def clipsieve_conv_32(pretrained: bool = False, **settings: Any) -> nn.Module:
    """ConvNeXt with blocks in the ratio 2:2:3:1, on grids of 8, 4, 2 and 1."""
    shape = {"depths": (2, 2, 3, 1), "dims": (64, 128, 160, 160)}
    return _built(ConvNeXt, "clipsieve_conv_32", pretrained, shape | settings)


@register_model
def clipsieve_mixer_32(pretrained: bool = False, **settings: Any) -> nn.Module:
    """MLP-Mixer of 6 blocks over 16 patches of 8 px."""
    shape = {"img_size": _SIDE, "patch_size": 8, "num_blocks": 6, "embed_dim": 128}
    return _built(MlpMixer, "clipsieve_mixer_32", pretrained, shape | settings)


@register_model
def clipsieve_resnet_32(pretrained: bool = False, **settings: Any) -> nn.Module:
    """ResNet of 7 bottlenecks, as ResNet-50's, on grids of 8, 4, 2 and 1."""
    shape = {"block": Bottleneck, "layers": (2, 2, 2, 1), "channels": (40, 80, 112, 128), "stem_width": 32}
    return _built(ResNet, "clipsieve_resnet_32", pretrained, shape | settings)


@register_model
def clipsieve_swin_32(pretrained: bool = False, **settings: Any) -> nn.Module:
    """Swin of two stages of two blocks, on grids of 8 and 4, whose windows are 4 x 4 patches."""
    shape = {"img_size": _SIDE, "patch_size": 4, "window_size": 4, "embed_dim": 64, "depths": (2, 2)}
    rest = {"num_heads": (2, 4), "drop_path_rate": 0.0}
    return _built(SwinTransformer, "clipsieve_swin_32", pretrained, shape | rest | settings)


def _built(kind: type[nn.Module], name: str, pretrained: bool, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = build_model_with_cfg(kind, name, pretrained, **settings)
    return model
