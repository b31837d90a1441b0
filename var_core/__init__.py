"""The engine of the editor. Words in public names; single letters only from this key:

b batch, l tokens of one scale, L tokens of all scales, d width, c code channels, h w grid, v vocabulary,
k the number of a scale, from 0.
"""

from .editing.geometry import outpaint_amounts
from .editing.plan import Plan
from .engine import Engine
from .files.animation import ANIMATION, Animation, save_animation
from .files.images import Upload, open_image, open_mask, save_png
from .files.recipe import settings_of_file
from .files.saving import SAVING, Saving
from .model.registry import MODELS, find_model
from .request import ANCHORS, CHANCE, EDIT, SETTINGS, Chance, Edit, Frame, Result
from .settings import TASKS, WITH_MASK, Setting, find_class, readable
