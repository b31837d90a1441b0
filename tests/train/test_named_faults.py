"""Every part of the two recipes is in the steps: watched from inside small runs, exact where it is a formula."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import build_model
from shapes import folder
from test_codebook import judge, small_tokenizer

from var_core.measures.classifier import save_classifier
from var_core.measures.likelihood import token_cache
from var_core.model.tokenizer import TokenizerConfig
from var_core.model.transformer import Block, TransformerConfig
from var_core.pictures.data import Pictures, load_pictures
from var_core.train import tokenizer as of_tokenizer
from var_core.train import transformer as of_transformer
from var_core.train.__main__ import export
from var_core.train.codebook import cuts, quantize_with_gradients, restart_codes
from var_core.train.losses import Perceptual, picture_loss, tokenizer_loss
from var_core.train.run import Length, Run, load_state, save_state
from var_core.train.tokenizer import TokenizerTraining, train_tokenizer
from var_core.train.transformer import TransformerTraining, begin, drop_labels, load_tokenizer, train_transformer

SIZES = TokenizerConfig(sides=(1, 2, 4), channels=32, multipliers=(1, 1, 1), residual_blocks=1, groups=8, code_dim=8,
                        vocab_size=16)  # fmt: skip
Calls = list[tuple[tuple, dict, Any]]
Watch = Callable[[object, str], Calls]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Arguments and result of every call of a function, as it is called from a module or of a class."""

    def watch(place: object, name: str) -> Calls:
        calls, real = [], getattr(place, name)

        def watched(*args: Any, **options: Any) -> Any:
            result = real(*args, **options)
            calls.append((args, options, result))
            return result

        monkeypatch.setattr(place, name, watched)
        return calls

    return watch


def splits() -> tuple[Pictures, Pictures]:
    """Nine pictures of one class to one of the other."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (18, 22, 3), dtype=np.uint8) for _ in range(20)]
    train = Pictures(arrays, np.array([0] * 18 + [1] * 2), ("a", "b"), tuple(map(str, range(20))))
    return train, Pictures(arrays[:3], train.labels[:3], train.class_names, train.names[:3])


def run_tokenizer(out: Path, steps: int, **choices: Any) -> dict:
    training = TokenizerTraining(**{"batch": 4, "warmup_steps": 2, "restart_every": 3, "small_share": 0.5} | choices)
    train_tokenizer(SIZES, training, splits(), out, length=Length(steps=steps), bfloat16=False)
    saved = load_state(out / "state.pt")
    assert saved is not None
    return saved


# the tokenizer's


def test_losses_are_their_formulas() -> None:
    real, made = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.4)
    assert picture_loss(made, real, plain=True).item() == pytest.approx(0.5 * 0.4 + 2 * 0.16)
    assert picture_loss(made, real).item() == pytest.approx(0.5 * 0.4 + 2 * 0.16 + 2 * 0.25 * 0.4)
    ramp = 0.1 * torch.arange(8.0).expand(2, 3, 8, 8)  # across, then down; its coarser sizes have the same mean
    for picture in (ramp, ramp.transpose(2, 3)):
        plain = 0.5 * 0.35 + 2 * 0.01 * 140 / 8
        assert picture_loss(picture, real).item() == pytest.approx(plain + 2 * 0.25 * 0.35 + 0.25 * 0.1)
    checks = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).mul(2.0).sub(1).expand(2, 3, 8, 8)
    assert picture_loss(checks, real).item() == pytest.approx(0.5 + 2 + 2 * 0.25 * 2)  # too fine for coarser sizes
    distances, features = torch.tensor([2.0, 3.0]), torch.full((1, 2), 5.0)
    assert tokenizer_loss(torch.tensor(1.0), distances, 0.25, None).item() == pytest.approx(1 + 2 + 0.75)
    assert tokenizer_loss(torch.tensor(1.0), distances, 0.25, features).item() == pytest.approx(1 + 2 + 0.75 + 0.25)


@pytest.mark.parametrize("rotation", [False, True])
def test_distances_pull_codes_and_features_apart(rotation: bool) -> None:
    tokenizer, generator = small_tokenizer(), torch.Generator().manual_seed(1)
    features = torch.randn(2, 8, 4, 4, generator=generator, requires_grad=True)
    canvas, distances, _, _ = quantize_with_gradients(tokenizer, features, torch.tensor([3, 3]), rotation)
    with torch.no_grad():
        exact = tokenizer.quantize(features.detach())[1]
        mean = torch.stack([(canvas - features).square().mean() for canvas in exact]).mean()
    assert distances.tolist() == pytest.approx([mean.item()] * 2, rel=1e-4)
    codes = tokenizer.codebook.weight
    assert not torch.autograd.grad(distances[0], features, retain_graph=True)[0].any()
    assert not torch.autograd.grad(distances[1], codes, retain_graph=True)[0].any()
    (pull,) = torch.autograd.grad(distances[1], features, retain_graph=True)
    assert torch.allclose(pull, 2 * sum(features - c for c in exact).detach() / 3 / features.numel(), atol=1e-6)
    assert torch.autograd.grad(canvas.sum(), codes, allow_unused=True)[0] is None
    assert torch.autograd.grad(distances[0], codes)[0].abs().sum() > 0


def test_a_share_of_pictures_is_cut_at_any_scale() -> None:
    stops = cuts(20_000, 4, 0.3, np.random.default_rng(0))
    counts = np.bincount(stops, minlength=5) / len(stops)
    assert counts == pytest.approx([0, 0.075, 0.075, 0.075, 0.775], abs=0.01)
    assert set(cuts(50, 4, 0.0, np.random.default_rng(0)).tolist()) == {4}


def test_restarts_move_unused_codes_and_forget_their_moments() -> None:
    tokenizer, rng = small_tokenizer(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(tokenizer.parameters())
    tokenizer.codebook.weight.sum().backward()
    optimizer.step()
    residuals, used = [torch.full((2, n, 8), 10.0 + n) for n in (1, 4)], torch.ones(16)
    used[[2, 5, 6, 7]] = 0
    before = tokenizer.codebook.weight.detach().clone()
    assert restart_codes(tokenizer, optimizer, used, residuals, rng).tolist() == [2, 5, 6, 7]
    moved = tokenizer.codebook.weight[[2, 5, 6, 7]]
    assert {11.0, 14.0} == set(moved.flatten().tolist())
    assert torch.equal(tokenizer.codebook.weight[8:], before[8:])
    moments = optimizer.state[tokenizer.codebook.weight]
    for name in ("exp_avg", "exp_avg_sq"):
        assert (moments[name][[2, 5, 6, 7]] == 0).all() and (moments[name][[0, 1, 3, 4, 8]] > 0).all()
    assert len(restart_codes(tokenizer, optimizer, torch.ones(16), residuals, rng)) == 0


def test_a_tokenizer_run_follows_its_recipe(tmp_path: Path, watch: Watch) -> None:
    quantized = watch(of_tokenizer, "quantize_with_gradients")
    started, restarted = watch(of_tokenizer, "start_codebook"), watch(of_tokenizer, "restart_codes")
    pictures, losses = watch(of_tokenizer, "picture_loss"), watch(of_tokenizer, "tokenizer_loss")
    batches, descents = watch(Pictures, "batch"), watch(Run, "descend")
    run_tokenizer(tmp_path, 12, commitment=0.7, cut_share=0.5, balance=0.9)
    # the first half sees twice as many pictures of half the size
    assert [made.shape for (made, _, _), _, _ in pictures] == [(8, 3, 8, 8)] * 6 + [(4, 3, 16, 16)] * 6
    assert all(np.allclose(args[4], splits()[0].weights(0.9)) for args, _, _ in batches)
    # without quantization at first, then k-means once
    assert [args[3] is None for args, _, _ in losses] == [False] * 2 + [True] * 10
    assert all((args[1] == 0).all() for args, _, _ in losses[:2]) and len(quantized) == 10 and len(started) == 1
    assert {args[2] for args, _, _ in losses} == {0.7}
    assert all(args[0] is made for (args, _, _), (_, _, made) in zip(losses, pictures, strict=True))
    assert all(args[1] is loss for (args, _, _), (_, _, loss) in zip(descents, losses, strict=True))
    assert [args[3] for args, _, _ in descents] == [pytest.approx(i / 12) for i in range(12)]
    assert [args[4] for args, _, _ in descents[5:7]] == [pytest.approx(descents[-1][0][4] / 4), descents[-1][0][4]]
    # half of the pictures are cut short, some of them to the first scale
    stops = np.concatenate([args[2].numpy() for args, _, _ in quantized[4:]])
    assert 1 in stops and 2 in stops and 0.1 < (stops < 3).mean() < 0.6
    # restarts every third step that is quantized, by the codes of all steps since the last
    windows = ((0, 1), (1, 4), (4, 7), (7, 10))
    ids = [torch.cat([t for _, _, made in quantized[slice(*w)] for t in map(torch.flatten, made[2])]) for w in windows]
    assert [len(moved) for _, _, moved in restarted] == [16 - len(used.unique()) for used in ids]
    assert sum(len(moved) for _, _, moved in restarted) > 0


def test_parts_of_the_recipe_can_be_left_out(tmp_path: Path, watch: Watch) -> None:
    quantized, started = watch(of_tokenizer, "quantize_with_gradients"), watch(of_tokenizer, "start_codebook")
    restarted, pictures = watch(of_tokenizer, "restart_codes"), watch(of_tokenizer, "picture_loss")
    out = {"kmeans": False, "restart_every": 0, "plain_pixels": True, "cut_share": 0.0, "small_share": 0.0}
    run_tokenizer(tmp_path, 6, warmup_steps=0, rotation=True, **out)
    assert len(quantized) == len(pictures) == 6 and not started and not restarted
    assert all(args[3] is True and (args[2] == 3).all() for args, _, _ in quantized)
    assert all(args[2] is True and args[0].shape == (4, 3, 16, 16) for args, _, _ in pictures)


def test_the_perceptual_loss_counts_as_told(tmp_path: Path, watch: Watch) -> None:
    save_classifier(judge(), tmp_path / "judge.safetensors")
    pictures, losses = watch(of_tokenizer, "picture_loss"), watch(of_tokenizer, "tokenizer_loss")
    run_tokenizer(tmp_path / "run", 2, perceptual=0.5, judge=str(tmp_path / "judge.safetensors"), small_share=0.0)
    looks = Perceptual(of_tokenizer._judge(str(tmp_path / "judge.safetensors")))
    for (args, _, plain), (given, _, _) in zip(pictures, losses, strict=True):
        assert given[0].item() == pytest.approx(plain.item() + 0.5 * looks(args[0], args[1]).item(), rel=1e-4)


def test_what_is_kept_is_the_average_of_all_weights(tmp_path: Path) -> None:
    """Recomputed from the weights after every step."""
    seen: list[torch.Tensor] = []
    descend = Run.descend

    def noted(run: Run, *args: Any) -> None:
        descend(run, *args)
        seen.append(run.trained.encoder.conv_in.weight.detach().clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "descend", noted)
        saved = run_tokenizer(tmp_path, 8, decay=0.3, peak_rate=0.5)
    expected = seen[0]
    for count, weights in enumerate(seen[1:], 1):
        decay = min(0.3, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weights
    name = "encoder.conv_in.weight"
    assert torch.allclose(saved["average"][name], expected, atol=1e-6)
    assert torch.equal(saved["trained"][name], seen[-1]) and not torch.allclose(expected, seen[-1], atol=1e-4)
    kept, names = load_tokenizer(tmp_path)
    assert torch.equal(kept.state_dict()[name], saved["average"][name]) and names == ("a", "b")
    assert not kept.training and not any(p.requires_grad for p in kept.parameters())


# the transformer's


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Drawn pictures, unevenly of two classes, and a tokenizer run."""
    place = tmp_path_factory.mktemp("tokenized")
    folder(place / "data", ("disc", "box"), 40)
    for file in sorted((place / "data" / "train" / "box").iterdir())[4:]:
        file.unlink()
    train, val = (load_pictures(place / "data", split, 16) for split in ("train", "val"))
    training = TokenizerTraining(batch=4, warmup_steps=2)
    train_tokenizer(SIZES, training, (train, val), place / "run", length=Length(steps=6), bfloat16=False)
    return place / "data", place / "run"


def run_transformer(tokenized: tuple[Path, Path], out: Path, steps: int, **choices: Any) -> dict:
    data, tokens = tokenized
    training = TransformerTraining(**{"batch": 8, "variants": 3, "short_scales": 2} | choices)
    sizes = {"depth": 3, "width": 16, "heads": 2}
    train_transformer(tokens, training, data, out, **sizes, length=Length(steps=steps), bfloat16=False)
    saved = load_state(out / "state.pt")
    assert saved is not None
    return saved


def test_labels_are_dropped_as_told() -> None:
    labels = np.arange(20_000) % 7
    dropped = drop_labels(labels, 99, 0.2, np.random.default_rng(0))
    assert (dropped == 99).mean() == pytest.approx(0.2, abs=0.01) and np.array_equal(labels, np.arange(20_000) % 7)
    assert np.array_equal(dropped[dropped != 99], labels[dropped != 99])
    assert np.array_equal(drop_labels(labels, 99, 0.0, np.random.default_rng(0)), labels)


def test_a_transformer_run_follows_its_recipe(tokenized: tuple[Path, Path], tmp_path: Path, watch: Watch) -> None:
    steps, train = watch(of_transformer, "scale_losses"), load_pictures(tokenized[0], "train", 16)
    descents, dropped = watch(Run, "descend"), watch(Block, "_drop")
    run_transformer(tokenized, tmp_path, 60, label_drop=0.25, short_share=0.7, balance=1.0, drop_path=0.5)
    steps = steps[1:]  # the first one counted operations
    labels = torch.cat([args[2] for args, _, _ in steps]).numpy()
    assert len(steps) == 60 and (labels == 2).mean() == pytest.approx(0.25, abs=0.03)
    # classes are balanced: one has a fifth of the pictures
    counts = np.bincount(train.labels)
    assert counts.min() * 3 < counts.max() and (labels[labels < 2] == 1).mean() == pytest.approx(0.5, abs=0.05)
    # tokens are those of pictures of that class, of all their crops
    cache = np.load(tmp_path / "train-tokens.npy")
    assert cache.shape == (len(train), 3, 21)
    rows = {tuple(cache[i, j]): (int(train.labels[i]), j) for i in range(len(train)) for j in range(3)}
    found = [rows[tuple(row)] for args, _, _ in steps for row in args[3].numpy()]
    assert all(label in (2, own) for label, (own, _) in zip(labels, found, strict=True))
    assert {variant for _, variant in found} == {0, 1, 2}
    # short batches hold the first two scales, and as many tokens as whole ones
    sizes = [(args[4], len(args[3])) for args, _, _ in steps]
    assert set(sizes) == {(2, 34), (3, 8)} and 0.5 < np.mean([count == 2 for count, _ in sizes]) < 0.9
    ratios = {count: args[4] / descents[0][0][4] for (count, _), (args, _, _) in zip(sizes, descents, strict=True)}
    assert min(ratios.values()) / max(ratios.values()) == pytest.approx(5 / 21)
    assert all(args[1] is loss for (args, _, _), (_, _, (loss, _, _)) in zip(descents, steps, strict=True))
    # branches of later blocks are dropped, each for its share of pictures; none in validation
    shares: dict[float, list[float]] = {}
    for (block, branch), _, result in dropped:
        if block.training:
            shares.setdefault(block.drop_path, []).append(float((result.flatten(1) == 0).all(1).float().mean()))
        else:
            assert result is branch
    assert {share: pytest.approx(np.mean(found), abs=0.04) for share, found in shares.items()} == {
        0.0: 0, 0.25: 0.25, 0.5: 0.5
    }  # fmt: skip


def test_drop_path_differs_from_step_to_step_and_keeps_the_mean(tokenized, tmp_path: Path, watch: Watch) -> None:
    dropped = watch(Block, "_drop")
    run_transformer(tokenized, tmp_path, 6, drop_path=0.5, short_share=0.0)
    last = [(branch, made) for (block, branch), _, made in dropped if block.training and block.drop_path == 0.5]
    patterns = [tuple((made.flatten(1) == 0).all(1).tolist()) for _, made in last]
    assert len(patterns) >= 12 and len(set(patterns)) > 8
    for branch, made in last:
        assert torch.allclose(made, torch.where(made == 0, 0.0, 2 * branch))


def test_only_matrices_decay() -> None:
    transformer = begin(build_model((1, 2, 4)).transformer.config, 0.0)
    groups = of_transformer._optimizer(transformer, TransformerTraining(weight_decay=0.3)).param_groups
    by_decay = {group["weight_decay"]: group["params"] for group in groups}
    assert {p.dim() for p in by_decay[0.3]} == {2} and 2 not in {p.dim() for p in by_decay[0.0]}
    assert len(by_decay[0.3]) + len(by_decay[0.0]) == len(list(transformer.parameters()))


def test_a_transformer_begins_as_the_reference_does() -> None:
    torch.manual_seed(0)
    config = TransformerConfig(sides=(1, 2), depth=5, width=64, heads=2, mlp_width=256, classes=9, code_dim=8,
                               vocab_size=512)  # fmt: skip
    transformer, std = begin(config, 0.2), (1 / 192) ** 0.5
    assert [block.drop_path for block in transformer.blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    block = transformer.blocks[0]
    assert isinstance(block, Block)
    spread = {block.qkv.weight: std, block.mlp_in.weight: std, transformer.head.weight: 0.02 * std,
              block.project.weight: std / 10**0.5, block.mlp_out.weight: std / 10**0.5,
              transformer.head_norm.weight: 0.5 * std, transformer.pos_embed: std,
              block.modulation.weight[:128]: 1e-3 * std, block.modulation.weight[128:]: 0.5 * std}  # fmt: skip
    assert all(values.std().item() == pytest.approx(wanted, rel=0.1) for values, wanted in spread.items())
    assert (block.modulation.bias[:128] == 0.3).all() and (block.modulation.bias[128:] == 0).all()


def test_the_best_average_is_kept_and_patience_ends_the_run(tokenized, tmp_path: Path, monkeypatch, watch) -> None:
    losses, seen = iter((3.0, 1.0, 2.0, 1.5, 1.0)), []

    def validate(transformer: Any, *rest: Any) -> dict:
        seen.append(transformer.head.weight.detach().clone())
        return {"loss": next(losses)}

    monkeypatch.setattr(of_transformer, "validate", validate)
    saved = run_transformer(tokenized, tmp_path, 50, save_minutes=-1.0, patience=2, peak_rate=0.05)
    # after steps 1 to 4, then once more at the end
    assert saved["step"] == 4 and len(seen) == 5
    assert saved["best"]["loss"] == 1.0 and torch.equal(saved["best"]["weights"]["head.weight"], seen[1])
    assert torch.equal(saved["average"]["head.weight"], seen[4]) and not torch.equal(seen[1], seen[4])
    assert not torch.equal(saved["trained"]["head.weight"], seen[4])


def test_an_export_takes_the_best_and_the_average(tokenized, tmp_path: Path) -> None:
    run = tmp_path / "run"
    saved = run_transformer(tokenized, run, 2)
    saved["best"]["weights"]["head.bias"] = torch.arange(16.0)
    save_state(run / "state.pt", saved)
    export(tokenized[1], run, tmp_path / "mine.safetensors", "MIT")
    from var_core.model.checkpoints import load_model

    model = load_model(tmp_path / "mine.safetensors")
    assert model.transformer.head.bias.tolist() == list(range(16)) and model.card["licence"] == "MIT"
    average = load_state(tokenized[1] / "state.pt")
    assert average is not None
    assert torch.equal(model.tokenizer.codebook.weight, average["average"]["codebook.weight"])
    train = load_pictures(tokenized[0], "val", 16)
    tokens = token_cache(load_tokenizer(tokenized[1])[0], train, 1, None, torch.device("cpu"))
    assert np.array_equal(tokens, np.load(run / "val-tokens.npy"))
