"""A small picture classifier, trained here: the judge of samples and edits where no published network may be had.

Its features stand in for Inception's in the Frechet and kernel distances; figures in them compare models of one data
set with each other, not with published ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..pictures.data import Pictures, stack, to_model

_FORMAT = "next-scale-editor classifier 1"


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    classes: int
    widths: tuple[int, ...] = (32, 64, 128)
    features: int = 64
    side: int = 64  # pixels it looks at


class _Block(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(b)
        self.shortcut = nn.Conv2d(a, b, 1, stride=stride, bias=False) if a != b or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Classifier(nn.Module):
    """(b, 3, H, W) in [-1, 1], any square size -> logits (b, classes); `features` gives (b, features)."""

    def __init__(self, config: ClassifierConfig, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.class_names = config, class_names
        first = config.widths[0]
        layers: list[nn.Module] = [nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(first)]
        layers.append(nn.ReLU())
        before = first
        for i, width in enumerate(config.widths):
            layers += [_Block(before, width, 2 if i else 1), _Block(width, width, 1)]
            before = width
        self.body = nn.Sequential(*layers)
        self.squeeze = nn.Linear(before, config.features)
        self.head = nn.Linear(config.features, config.classes)

    def features(self, image: Tensor) -> Tensor:
        if image.shape[-1] != self.config.side:
            image = F.interpolate(image, size=(self.config.side, self.config.side), mode="area")
        return self.squeeze(self.body(image).mean((2, 3)))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(F.relu(self.features(image)))


@torch.inference_mode()
def look(classifier: Classifier, pictures: list[np.ndarray], batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Square uint8 pictures (H, W, 3) -> features (n, features) float64 and logits (n, classes)."""
    classifier.eval()
    device = next(classifier.parameters()).device
    features, logits = [], []
    for at in range(0, len(pictures), batch):
        found = classifier.features(to_model(stack(pictures[at : at + batch]), device))
        features.append(found.double().cpu().numpy())
        logits.append(classifier.head(F.relu(found)).cpu().numpy())
    return np.concatenate(features), np.concatenate(logits)


def accuracy(classifier: Classifier, pictures: Pictures) -> dict[str, float]:
    """Share of pictures (centre squares) named right: over all, and by the first word of the class."""
    squares = [pictures.centre(i, classifier.config.side) for i in range(len(pictures))]
    right = look(classifier, squares)[1].argmax(1) == pictures.labels
    kinds = np.array([pictures.kind(i) for i in range(len(pictures))])
    figures = {"accuracy": float(right.mean())}
    return figures | {f"accuracy {kind}": float(right[kinds == kind].mean()) for kind in sorted(set(kinds.tolist()))}


def save_classifier(classifier: Classifier, path: Path) -> None:
    """One safetensors file, matrices in bfloat16, configuration and class names in its metadata."""
    tensors = {
        name: (value.bfloat16() if value.dim() > 1 else value).detach().cpu().contiguous()
        for name, value in classifier.state_dict().items()
    }
    about = {"format": _FORMAT, "config": asdict(classifier.config), "class_names": list(classifier.class_names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"classifier": json.dumps(about)})


def load_classifier(path: Path) -> Classifier:
    """Read a file of `save_classifier`; ValueError if it is not one."""
    if not path.is_file():
        raise ValueError(f"there is no classifier at {path}: train one with python -m var_core.train classifier")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("classifier", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is damaged or not a safetensors file") from error
    if about.get("format") != _FORMAT:
        raise ValueError(f"{path.name} is not a classifier of this project")
    config = ClassifierConfig(**(about["config"] | {"widths": tuple(about["config"]["widths"])}))
    classifier = Classifier(config, tuple(about["class_names"]))
    classifier.load_state_dict({name: value.to(classifier.state_dict()[name].dtype) for name, value in tensors.items()})
    return classifier.eval().requires_grad_(False)
