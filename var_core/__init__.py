"""The engine of the editor. Words in public names; single letters only from this key:

b batch, l tokens of one scale, L tokens of all scales, d width, c code channels, h w grid, v vocabulary,
k the number of a scale, from 0.
"""

from .editing.geometry import outpaint_amounts
from .engine import Engine
from .files.images import Upload, open_image, open_mask, save_png
from .model.registry import MODELS, ModelInfo, find_model
from .request import Chance, Edit, Frame, Result

__all__ = [
    "MODELS",
    "Chance",
    "Edit",
    "Engine",
    "Frame",
    "ModelInfo",
    "Result",
    "Upload",
    "find_model",
    "open_image",
    "open_mask",
    "outpaint_amounts",
    "save_png",
]
