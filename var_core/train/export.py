"""What runs have learned so far, and one model file of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..model.checkpoints import Model, check_pair, config_from, save_model
from ..model.refiner import Refiner, RefinerConfig
from ..model.registry import MODELS, open_model
from ..model.tokenizer import Tokenizer, TokenizerConfig
from ..model.transformer import Transformer, TransformerConfig
from .run import load_state

# of small models of few classes: measured on garden-128
SAMPLING = {
    "guidance": 4.0, "edit_guidance": 6.0, "top_k": 100, "top_p": 0.8, "random_scales": 6, "evidence": 10.0,
    "edit_evidence": 1.0,
}  # fmt: skip


def named_model(place: Path) -> Model | None:
    """The model that `place` names, a file's path or a registered name; None where it is a run's folder."""
    return open_model(str(place)) if place.suffix == ".safetensors" or str(place) in MODELS else None


def _state(run: Path, what: str) -> dict[str, Any]:
    saved = load_state(run / "state.pt")
    if saved is None:
        raise ValueError(f"there is no {what} run at {run}: train one first")
    return saved


def load_tokenizer(place: Path) -> tuple[Tokenizer, tuple[str, ...]]:
    """The averaged tokenizer of a run (of all of it, or of its decoder), or a model's; and its class names."""
    if (model := named_model(place)) is not None:
        return model.tokenizer.float(), model.class_names
    saved = _state(place, "tokenizer")
    tokenizer = Tokenizer(config_from(TokenizerConfig, saved["config"]))
    tokenizer.load_state_dict(saved["average"])
    return tokenizer.eval().requires_grad_(False), tuple(saved["class_names"])


def fingerprint(module: Tokenizer | Transformer) -> str:
    """What says whether two tokenizers mean the same by their tokens (a digest of codes and refinements), or whether
    two transformers are one; also where one went through a file with large tensors in bfloat16."""
    parts, digest = ("codebook.", "refine.", "head.", "word_embed."), hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name.startswith(parts):
            digest.update(value.bfloat16().cpu().contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def load_transformer(place: Path) -> tuple[Transformer, tuple[str, ...], dict[str, Any], str | None]:
    """The averaged transformer of a run, or a model's; its class names, a card, and the fingerprint of its tokens."""
    if (model := named_model(place)) is not None:
        return model.transformer, model.class_names, model.card, fingerprint(model.tokenizer)
    saved = _state(place, "transformer")
    transformer = Transformer(config_from(TransformerConfig, saved["config"]))
    transformer.load_state_dict(saved["average"])
    card = {"sampling": SAMPLING, "steps": saved["step"], "minutes": round(saved["minutes"])}
    return transformer.eval().requires_grad_(False), tuple(saved["class_names"]), card, saved.get("tokens")


def load_pair(tokenizer: Path, transformer: Path) -> Model:
    """Tokenizer and transformer of two places, each a run or a model. ValueError where they are no pair."""
    if tokenizer == transformer and (model := named_model(transformer)) is not None:
        return model
    codes, _ = load_tokenizer(tokenizer)
    trained, class_names, card, tokens = load_transformer(transformer)
    check_pair(codes.config, trained.config, f"{tokenizer} with {transformer}")
    if tokens is not None and tokens != fingerprint(codes):
        raise ValueError(f"{transformer} was trained on other tokens than those of {tokenizer}: give its own tokenizer")
    return Model(codes, trained, class_names, transformer.name, card)


def load_refiner(run: Path, of: Transformer) -> Refiner:
    """The averaged refiner of a run. ValueError unless it was trained for this transformer."""
    saved = _state(run, "refiner")
    if saved.get("of") != fingerprint(of):
        raise ValueError(f"{run} was trained for another transformer: give its own")
    refiner = Refiner(config_from(RefinerConfig, saved["config"]))
    refiner.load_state_dict(saved["average"])
    return refiner.eval().requires_grad_(False)


def export(
    tokenizer: Path, transformer: Path, out: Path, licence: str | None = None, refiner: Path | None = None
) -> dict[str, Any]:
    """One model file of two places, perhaps with the refiner of a third: averaged weights, large tensors in
    bfloat16."""
    model = load_pair(tokenizer, transformer)
    if refiner is not None:
        model.transformer.refiner = load_refiner(refiner, model.transformer)
    card = {"licence": "MIT"} | model.card | ({} if licence is None else {"licence": licence})
    save_model(replace(model, name=out.stem, card=card), out, torch.bfloat16)
    told = {key: card[key] for key in ("steps", "minutes") if key in card}
    return {"file": str(out), "bytes": out.stat().st_size, **told}
