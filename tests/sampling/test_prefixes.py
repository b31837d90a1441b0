"""What is remembered of known scales, and which class is guessed."""

from __future__ import annotations

import torch
from by_hand import NOTHING, mean_colours, without_opinion

from var_core.model.memory import Remembered
from var_core.model.transformer import KVCache, TransformerConfig
from var_core.sampling.guess import ClassGuess

CONFIG = TransformerConfig(sides=(1, 2, 3), depth=2, width=4, heads=2, mlp_width=4, classes=2, code_dim=3, vocab_size=4)


def cache(b: int = 2, length: int = 5) -> KVCache:
    made = KVCache(CONFIG, b, 14, torch.device("cpu"), torch.float32)
    made.keys.copy_(torch.randn(made.keys.shape)), made.values.copy_(torch.randn(made.values.shape))
    made.length = length
    return made


def test_a_remembered_answer_is_for_the_same_tensors_only() -> None:
    remembered, calls = Remembered(2**20), []

    def compute() -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        return cache().filled()

    inputs, rows = torch.arange(4.0)[None], torch.tensor([1, 2])
    first = remembered([rows, inputs], compute)
    again = remembered([rows.clone(), inputs.clone()], compute)
    assert len(calls) == 1 and first is again
    others = [
        [torch.tensor([0, 2]), inputs], [torch.tensor([1]), inputs], [rows, inputs + 1], [rows],
        [rows, inputs.reshape(4, 1)], [rows, inputs, inputs],
    ]  # fmt: skip
    for number, asked in enumerate(others, 2):
        assert remembered(asked, compute) is not first and len(calls) == number
    assert remembered([rows, inputs], compute) is first, "all of them are remembered"


def test_an_answer_holds_what_was_computed_and_no_more() -> None:
    remembered, made = Remembered(2**20), cache(length=5)
    keys, values = remembered([torch.tensor([0])], made.filled)
    assert torch.equal(keys, made.keys[:, :, :, :5]) and torch.equal(values, made.values[:, :, :, :5])
    assert remembered.held == 2 * 4 * 2 * 2 * 2 * 5 * 2, "of two tensors of (2, 2, 2, 5, 2) float32"
    made.keys.zero_(), made.values.zero_()
    assert keys.any() and values.any(), "the cache itself is used on"


def test_the_oldest_answer_goes_first_and_the_last_one_stays() -> None:
    one = 2 * 4 * 2 * 2 * 2 * 5 * 2
    remembered = Remembered(2 * one)
    calls: list[int] = []

    def ask(number: int) -> bool:
        """Whether it had to be computed."""
        before = len(calls)
        remembered([torch.tensor([[number]])], lambda: calls.append(1) or cache().filled())
        return len(calls) > before

    assert ask(1) and ask(2) and not ask(1) and remembered.held == 2 * one
    assert ask(3) and remembered.held == 2 * one
    assert not ask(1) and ask(2), "2 was the one not asked for longest"
    remembered.limit = 1
    assert ask(9) and remembered.held == one and not ask(9)


def test_a_cache_is_started_for_every_candidate_of_both_halves() -> None:
    prefix = torch.randn(2, 2, 2, 5, 2), torch.randn(2, 2, 2, 5, 2)
    filled = cache(b=6, length=0)
    before = filled.keys.clone(), filled.values.clone()
    filled.begin(*prefix, 3)
    assert filled.length == 5
    for target, part, old in zip((filled.keys, filled.values), prefix, before, strict=True):
        for row in range(6):
            assert torch.equal(target[:, row, :, :5], part[:, row // 3])
        assert torch.equal(target[:, :, :, 5:], old[:, :, :, 5:])


# the guess


def guess_with(fourth: dict[int, int]) -> ClassGuess:
    """Classes 0 and 1; at scales 1 to 3 class c finds code `fourth[c]` likelier, whatever came before."""
    transformer = without_opinion()
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.zero_()
        transformer.head_norm.weight[8:, :].copy_(torch.eye(8))  # the shift is the class
        transformer.head_norm.bias[:8] = -1
        transformer.class_embed.weight[0, 0] = transformer.class_embed.weight[1, 1] = 2
        for label, code in fourth.items():
            transformer.head.weight[code, label] = 3
        transformer.head.weight[100:, 0] = 0.5  # class 0 finds much else likely as well
    return ClassGuess(mean_colours(), transformer)


def test_unknown_cells_have_no_say_in_the_guess() -> None:
    """Most cells hold code 5, which class 1 likes, but the known ones hold code 3, which class 0 likes."""
    guess = guess_with({0: 3, 1: 5})
    tokens = [torch.full((1, side * side), 5) for side in (1, 2, 3, 4, 6, 8)]
    fraction = torch.zeros(8, 8)
    fraction[:2, :2] = 1
    tokens[3][0, 0] = 3  # the one cell of the fourth scale that is known entirely
    tokens[2][0, 0] = tokens[1][0, 0] = tokens[0][0, 0] = 3
    assert guess(tokens, fraction) == 0
    assert guess(tokens, torch.ones(8, 8)) == 1
    assert guess(tokens, fraction) == 0, "remembered by what is known as well"
    found = guess.log_likelihoods(tokens[:4], fraction)
    with torch.no_grad():
        likely = guess.transformer(torch.tensor([0, 1]), torch.zeros(2, 29, 3)).log_softmax(-1)[:, 0]
    known = [guess.tokenizer.shrink(fraction[None, None], k)[0, :, 0] for k in range(4)]
    ones, rest = sum(part[0] for part in known), sum(part[1:].sum() for part in known)
    assert torch.allclose(found, likely[:, 3] * ones + likely[:, 5] * rest, atol=1e-3)
    assert guess.log_likelihoods(tokens[:4], torch.zeros(8, 8)).abs().max() == 0


def test_only_the_first_four_scales_are_asked_and_answers_are_remembered() -> None:
    guess = guess_with({0: 3, 1: 5})
    asked: list[int] = []
    whole = guess.log_likelihoods
    guess.log_likelihoods = lambda tokens, fraction: asked.append(len(tokens)) or whole(tokens, fraction)  # type: ignore[method-assign]
    tokens = [torch.full((2, side * side), 5) for side in (1, 2, 3, 4, 6, 8)]
    assert guess(tokens, torch.ones(8, 8)) == 1 and asked == [4]
    finer = [*tokens[:4], torch.full((1, 36), NOTHING), tokens[5]]
    assert guess(finer, torch.ones(8, 8)) == 1 and asked == [4], "finer scales do not matter"
    other = [part.clone() for part in tokens]
    other[2][0] = other[3][0] = 3
    assert guess(other, torch.ones(8, 8)) == 0 and asked == [4, 4]
    assert guess.possible
    for number in range(300):
        fraction = torch.ones(8, 8)
        fraction[0, 0] = number / 1000
        guess(tokens, fraction)
    assert guess.remembered.held == 256 * 8 and len(asked) == 302
    guess(tokens, fraction)
    assert len(asked) == 302, "the youngest are kept"
