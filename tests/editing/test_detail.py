"""What the model drew becomes as sharp as the photo, and nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from var_core.editing import detail, joining, patches
from var_core.editing.detail import continued, refined
from var_core.editing.joining import bands, joined
from var_core.editing.patches import Match
from var_core.model.superres import SuperResolution, SuperResolutionConfig, bundled_superres


def woven(side: int, seed: int = 0) -> np.ndarray:
    """A fabric: threads across and down, and grain."""
    y, x = np.mgrid[:side, :side]
    threads = 40 * np.sin(x * 0.9) + 40 * np.sin(y * 0.7)
    grain = np.random.default_rng(seed).normal(0, 10, (side, side, 1))
    return (128 + threads[..., None] + grain + np.array((20, 0, -20))).clip(0, 255).astype(np.uint8)


def sharpness(picture: np.ndarray, where: np.ndarray) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[cv2.erode(where.astype(np.uint8), np.ones((5, 5))) > 0].mean())


def with_hole(side: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo, the same blurred, and a disc in its middle."""
    photo = woven(side)
    hole = cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), side // 4, 1, -1) > 0
    return photo, cv2.GaussianBlur(photo, (0, 0), 4), hole


def test_the_hole_becomes_as_sharp_as_its_surroundings() -> None:
    photo, soft, hole = with_hole()
    steps = continued(photo, soft, hole, ~hole, 3)
    pictures = list(steps.pictures)
    assert len(pictures) == steps.count == 1
    assert pictures[-1].shape == photo.shape
    assert np.array_equal(pictures[-1][~hole], photo[~hole]), "what is known stays"
    wanted = sharpness(photo, hole)
    assert sharpness(soft, hole) < 0.2 * wanted
    assert 0.6 * wanted < sharpness(pictures[-1], hole) < 1.3 * wanted


def test_what_lay_in_the_hole_has_no_influence() -> None:
    photo, soft, hole = with_hole()
    spoiled = np.where(hole[..., None], np.uint8(255), photo)
    ends = [list(continued(each, soft, hole, ~hole, 3).pictures)[-1] for each in (photo, photo, spoiled)]
    assert np.array_equal(ends[0], ends[1]), "the same bytes every time"
    assert np.array_equal(ends[0], ends[2])
    other = list(continued(photo, soft, hole, ~hole, 4).pictures)[-1]
    assert not np.array_equal(ends[0], other), "another seed, another picture"


def test_what_the_model_drew_is_a_hint_of_colours() -> None:
    photo, _, hole = with_hole()
    photo[:, 100:] = photo[:, 100:] // 2 + np.array((0, 0, 90), np.uint8)  # two fabrics: one is bluer
    ends = []
    for colour in (photo[:, :60], photo[:, 110:]):
        soft = np.where(hole[..., None], colour.reshape(-1, 3).mean(0).astype(np.uint8), photo)
        ends.append(list(continued(photo, soft, hole, ~hole, 3, trust=0.5).pictures)[-1][hole].mean(0))
        plain = [list(continued(photo, each, hole, ~hole, 3, trust=0.0).pictures)[-1] for each in (soft, photo)]
        assert np.array_equal(*plain)
    assert ends[1][2] > ends[0][2] + 5 and ends[1][0] < ends[0][0] - 5


def test_patches_are_looked_for_aside_where_that_is_asked() -> None:
    photo, soft, hole = with_hole()
    photo[:, ::2] = photo[:, ::2] // 8 * 8  # nothing fits everywhere
    lit = np.linspace(0, 60, photo.shape[1]).astype(np.uint8)
    photo = np.minimum(photo // 2 + lit[:, None], 255).astype(np.uint8)
    left, here, right = (
        list(continued(photo, soft, hole, ~hole, 3, 0.0, (0, across)).pictures)[-1][hole].mean()
        for across in (-0.35, 0.0, 0.35)
    )
    assert left < here < right
    up, down = (list(continued(photo, soft, hole, ~hole, 3, 0.0, (down, 0)).pictures)[-1] for down in (-0.3, 0.3))
    assert not np.array_equal(up, down)


def test_what_is_neither_known_nor_in_the_hole_is_not_copied() -> None:
    photo, soft, hole = with_hole()
    waiting = np.zeros_like(hole)
    waiting[:, :60] = ~hole[:, :60]
    red = np.where(waiting[..., None], np.array((255, 0, 0), np.uint8), photo)
    made = list(continued(red, soft, hole, ~hole & ~waiting, 3).pictures)[-1]
    assert int(made[hole].astype(int)[:, 1].min()) > 0 and np.array_equal(made[waiting], red[waiting])


def test_nothing_to_copy_from_leaves_the_models_picture() -> None:
    photo, soft, hole = with_hole(60)
    everywhere = np.ones((60, 60), bool)
    steps = continued(photo, soft, everywhere, ~everywhere, 1)
    assert steps.count == 1 and np.array_equal(next(iter(steps.pictures)), soft)
    nothing = np.zeros_like(hole)
    steps = refined(photo, soft, nothing, ~nothing, 2, 3, Marking())
    assert steps.count == 1 and np.array_equal(next(iter(steps.pictures)), photo)


class Marking(SuperResolution):
    """Adds 40 to what it is given, and remembers what that was."""

    def __init__(self) -> None:
        super().__init__(SuperResolutionConfig(width=2, blocks=1))
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    def sharpened(self, picture: np.ndarray, noise: np.ndarray, rows: slice) -> np.ndarray:
        assert noise.shape == picture.shape[:2] and 0.9 < noise.std() < 1.1
        self.seen.append((picture.copy(), noise.copy()))
        return picture[rows] + 40


@pytest.mark.parametrize(("times", "levels"), [(1.2, 1), (2, 1), (2.1, 2), (4, 2), (7, 3)])
def test_what_was_drawn_is_sharpened_factor_by_factor(times: float, levels: int) -> None:
    photo, _, hole = with_hole()
    soft, net = np.where(hole[..., None], np.array((20, 30, 40), np.uint8), photo), Marking()
    steps = refined(photo, soft, hole, ~hole, times, 3, net)
    pictures = list(steps.pictures)
    assert len(pictures) == steps.count == levels
    assert all(np.array_equal(made[~hole], photo[~hole]) for made in pictures)
    inner = cv2.erode(hole.astype(np.uint8), np.ones((25, 25))) > 0
    for number, made in enumerate(pictures, 1):
        more = 60 if levels == 1 else 28 * number + 12 * (number == levels)
        assert np.abs(made[inner].astype(int) - (20 + more, 30 + more, 40 + more)).max() <= 1
    widths = [picture.shape[1] for picture, _ in net.seen]
    assert widths == sorted(widths) and widths[-1] == 160 and widths[0] == -(-160 // 2 ** (levels - 1))
    other = Marking()
    list(refined(photo, soft, hole, ~hole, times, 4, other).pictures)
    assert not np.array_equal(other.seen[0][1], net.seen[0][1]), "another seed, another grain"
    around = net.seen[-1][0]
    assert np.array_equal(around[~hole], photo[~hole]), "it sees the photo around the hole as it is"


def test_a_large_hole_is_sharpened_part_by_part_with_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, soft, hole = with_hole(200)
    net = bundled_superres()
    whole = list(refined(photo, soft, hole, ~hole, 4, 3, net).pictures)
    monkeypatch.setattr(detail, "_STRIP", 200 * 17)
    steps = refined(photo, soft, hole, ~hole, 4, 3, net)
    pictures = list(steps.pictures)
    assert len(whole) == 2 < 8 < len(pictures) == steps.count
    assert np.array_equal(whole[-1], pictures[-1])
    changed = [np.flatnonzero((made != pictures[-2]).any((1, 2))) for made in pictures[-1:]]
    assert len(changed[0]) <= 18, "each step tells its own rows"
    assert all(np.array_equal(made[~hole], photo[~hole]) for made in pictures)


def test_only_what_lies_near_the_hole_is_looked_at() -> None:
    photo = woven(400)
    hole = np.zeros((400, 400), bool)
    hole[180:220, 30:60] = True
    soft, net = cv2.GaussianBlur(photo, (0, 0), 4), Marking()
    far = photo.copy()
    far[:, 200:] = 0
    ends = [list(refined(each, soft, hole, ~hole, 2, 3, net).pictures)[-1][hole] for each in (photo, far)]
    assert np.array_equal(*ends) and net.seen[0][0].shape == (40 + 2 * 64, 60 + 64, 3)


def test_large_windows_are_copied_in_larger_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "_LARGEST", 90)
    photo, soft, hole = with_hole()
    steps = continued(photo, soft, hole, ~hole, 3)
    pictures = list(steps.pictures)
    made = pictures[-1]
    assert len(pictures) == steps.count
    assert np.array_equal(made[~hole], photo[~hole])
    assert 0.5 * sharpness(photo, hole) < sharpness(made, hole) < 1.4 * sharpness(photo, hole)


def test_a_long_way_is_told_in_more_steps_and_ends_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, soft, hole = with_hole(480)
    short = continued(photo, soft, hole, ~hole, 3)
    usual = list(short.pictures)
    assert len(usual) == short.count == 3, "240 px, 120 px, the photo's own"
    monkeypatch.setattr(detail, "_LONG", 8_000)
    monkeypatch.setattr(joining, "_BAND", 30_000)
    steps = continued(photo, soft, hole, ~hole, 3)
    pictures = [picture.copy() for picture in steps.pictures]
    joins = len(bands(hole))
    rounds = sum(1 + detail._rounds(number) for number in (5, 6))  # of seven levels, the two finest
    assert joins > 2 and len(pictures) == steps.count == 3 + 1 + rounds + 2 * joins
    assert np.array_equal(pictures[0][hole], soft[hole]) and np.array_equal(pictures[-1], usual[-1])
    assert all(np.array_equal(made[~hole], photo[~hole]) for made in pictures if made.shape == photo.shape)


def test_too_large_and_too_little_around_leaves_the_models_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "_LARGEST", 90)
    photo, soft, _ = with_hole(200)
    hole = np.ones((200, 200), bool)
    hole[:5] = False  # enough for patches at the photo's own pixels, which are too many, and nothing coarser
    steps = continued(photo, soft, hole, ~hole, 1)
    assert steps.count == 1 and np.array_equal(next(iter(steps.pictures)), np.where(hole[..., None], soft, photo))


def test_a_large_photo_is_reduced_band_by_band_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (1591, 75, 3), dtype=np.uint8)
    hole = np.zeros((1591, 75), bool)
    hole[490:1300, 20:57] = True
    known = ~hole & (rng.random(hole.shape) < 0.9)
    whole = detail._pyramid(photo, hole, known)
    monkeypatch.setattr(detail, "_MATCHED", int(hole.sum()) - 1)
    in_bands = detail._pyramid(photo, hole, known)
    assert not in_bands[0].slopes.size and whole[0].slopes.size, "too large to be matched at its own pixels"
    assert len(in_bands) == len(whole) > 3
    for one, other in zip(in_bands[1:], whole[1:], strict=True):
        for name in ("colours", "known", "hole", "slopes"):
            assert np.allclose(getattr(one, name), getattr(other, name), atol=1e-3), name


@pytest.mark.parametrize("exact", [10**9, 0])
def test_patches_are_found_where_they_came_from(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "_EXACT", exact)
    picture = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 300, (60, 64, 3)).astype(np.float32), (0, 0), 3)
    hole = np.zeros((60, 64), bool)
    hole[10:30, 34:54] = True
    none = np.zeros((60, 64, 1), np.float32)
    wanted = picture.copy()
    wanted[4:36, 28:60] = picture[4:36, 0:32]  # 28 pixels to the left
    match = Match(picture, ~hole, hole, np.ones((60, 64), np.float32), none, 2, 2, np.random.default_rng(0))
    match.look(wanted[match.near], none[match.near])
    match.begin(None)
    for _ in range(1 if exact else 12):
        match.search(far=True)
    assert np.allclose(match.cost, match.costs(match.found, match.everyone), rtol=1e-5)
    inner = ((match.at[:, 1] >= 30) & (match.at[:, 1] < 56)) & ((match.at[:, 0] >= 6) & (match.at[:, 0] < 33))
    from_there = (match.found - match.at)[inner] == (0, -28)
    assert from_there.all(1).mean() > (0.99 if exact else 0.9)
    match.look(wanted[match.near], none[match.near])
    match.cost = match.costs(match.found, match.everyone)
    assert np.abs(match.vote(patches.padded(picture, 2)) - wanted[match.near])[hole[match.near]].mean() < (
        0.01 if exact else 6
    )
    assert (match.pick()[hole] == (0, -28)).all(1).mean() > 0.9


@pytest.mark.parametrize("way", [(0, 1), (0, -1), (1, 0), (-1, 0)])
def test_what_one_patch_has_found_its_neighbours_on_all_sides_take(way: tuple[int, int]) -> None:
    """Where nothing else would lead there: all others lie far off."""
    picture = np.random.default_rng(1).normal(0, 50, (60, 64, 3)).astype(np.float32)
    hole, none = np.zeros((60, 64), bool), np.zeros((60, 64, 1), np.float32)
    hole[10:30, 34:54] = True
    wanted = picture.copy()
    wanted[4:36, 28:60] = picture[4:36, 0:32]  # 28 pixels to the left
    match = Match(picture, ~hole, hole, np.ones((60, 64), np.float32), none, 2, 2, np.random.default_rng(0))
    match.look(wanted[match.near], none[match.near])
    places = np.full_like(match.at, 50)
    who = match.ids[10, 22]  # the patch around row 20, column 44
    places[who] = match.at[who] + (0, -28)
    match.begin(places)
    match._ask_neighbours((1,))
    beside = match.ids[10 + way[0], 22 + way[1]]
    assert (match.found[beside] - match.at[beside]).tolist() == [0, -28]


def test_how_much_a_patch_counts_follows_how_well_it_fits_among_all() -> None:
    """Written out; if all fit half as well, they count as before, in votes as in picking."""
    rng = np.random.default_rng(2)
    picture, hole = rng.normal(0, 50, (40, 44, 3)).astype(np.float32), np.zeros((40, 44), bool)
    hole[10:26, 14:34] = True
    none, trust = np.zeros((40, 44, 1), np.float32), np.where(hole, 0.5, 1).astype(np.float32)
    match = Match(picture, ~hole, hole, trust, none, 2, 1, rng)
    match.look(cv2.blur(picture, (3, 3))[match.near], none[match.near])
    match.begin(None)
    match.cost = rng.random(len(match.at)).astype(np.float32) ** 2 * 900
    voted, picked, whole = match.vote(patches.padded(picture, 2)), match.pick(), patches.padded(picture, 2)
    sums, weights = np.zeros((44, 48, 3)), np.zeros((44, 48, 1))  # with a border of two
    for (y, x), (down, across), cost, sure in zip(match.at, match.found, match.cost, match.trust, strict=True):
        weight = sure * np.exp(-cost / (2 * np.percentile(match.cost, 75)) * (1 - 0.9 * sure)) + 1e-6
        sums[y : y + 5, x : x + 5] += weight * whole[down : down + 5, across : across + 5]
        weights[y : y + 5, x : x + 5] += weight
    expected = (sums / np.maximum(weights, 1e-12))[2:-2, 2:-2][match.near]
    assert np.allclose(voted, expected, atol=0.01) and len({*match.trust.tolist()}) == 2
    match.cost *= 2.0
    assert np.allclose(match.vote(whole), voted, atol=0.02) and np.array_equal(match.pick(), picked)
    good = match.ids[18, 24]
    match.cost[:] = 1000.0
    match.cost[good] = 0.0  # the one that fits decides where it lies
    y, x = match.at[good]
    ways = match.pick()
    assert (ways[y - 1 : y + 2, x - 1 : x + 2] == match.found[good] - match.at[good]).all()


def test_costs_are_the_same_whoever_computes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    picture, hole = rng.normal(0, 50, (90, 90, 3)).astype(np.float32), np.zeros((90, 90), bool)
    hole[20:70, 20:70] = True
    none = np.zeros((90, 90, 1), np.float32)
    match = Match(picture, ~hole, hole, np.ones((90, 90), np.float32), none, 2, 1, rng)
    match.look(picture[match.near], none[match.near])
    match.begin(None)
    found, helped, pool = [], [], patches._threads()
    monkeypatch.setattr(patches, "_threads", lambda: helped.append(threads) or pool)
    for threads in (1, 2, 3):
        monkeypatch.setattr(patches.torch, "get_num_threads", lambda many=threads: many)
        found.append(match.costs(match.found, match.everyone))
    assert helped == [2, 3], "one alone needs no others"
    assert len(match.everyone) > 3 * patches._CHUNK and found[0].min() > 0
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_patches_at_the_edge_see_it_repeated() -> None:
    assert patches.usable(np.ones((6, 6), bool), 2).all()
    source = np.ones((6, 6), bool)
    source[0, 0] = False
    assert patches.usable(source, 2).sum() == 27


def test_small_steps_of_tone_are_spread_out_and_large_ones_stay() -> None:
    y, x = np.mgrid[:120, :160]
    true = ((100 + x * 0.1 + y * 0.07)[..., None] * np.ones(3)).astype(np.float32)
    hole = (x >= 40) & (x < 110) & (y >= 30) & (y < 90)
    ways = np.zeros((120, 160, 2), np.int32)
    ways[hole & (x < 75)], ways[hole & (x >= 75)] = (0, -38), (0, 45)  # 3.8 darker, 4.5 lighter
    made = whole(np.where(hole[..., None], 0, true), ways, 1, hole)
    assert np.abs(made - true)[hole].mean() < 0.6
    edge = np.where((x < 75)[..., None], 20, 220).astype(np.float32) * np.ones(3, np.float32)
    ways[hole & (x < 75)], ways[hole & (x >= 75)] = (0, -38), (0, 38)
    assert np.abs(whole(np.where(hole[..., None], 0, edge), ways, 1, hole) - edge)[hole].max() < 1


@pytest.mark.parametrize("band", [20_000, 1])
def test_bands_are_joined_as_the_whole_is(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    colours = cv2.GaussianBlur(rng.normal(128, 60, (301, 333, 3)).astype(np.float32), (0, 0), 2)
    hole = np.zeros((301, 333), bool)
    hole[47:230, 60:] = True
    hole[60:70, 80:200] = False
    ways = 5 * np.kron(rng.integers(-9, 9, (16, 17, 2)), np.ones((10, 10, 1), int))[:151, :167].astype(np.int32)
    usual = whole(colours, ways, 2, hole)
    monkeypatch.setattr(joining, "_BAND", band)
    assert len(bands(hole)) > 3 and np.array_equal(whole(colours, ways, 2, hole), usual)


def whole(colours: np.ndarray, ways: np.ndarray, times: int, hole: np.ndarray) -> np.ndarray:
    """What joining makes of all parts at last."""
    out = colours.copy()
    for part, values in joined(colours, ways, times, hole, ~hole):
        out[part] = values
    return out


def test_slopes_are_known_where_all_that_is_around_is_known() -> None:
    """A pixel and its eight neighbours; in rows taken together it is the same as in one piece, at every seam."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    known = rng.random((23, 31)) < 0.9
    hole = ~known & (rng.random((23, 31)) < 0.5)
    colours, share, missing, slopes, flat = detail._sums(photo, hole, known, slice(0, 23))
    around = np.pad(known, 1, constant_values=True)
    all_nine = np.all([around[y : y + 23, x : x + 31] for y in range(3) for x in range(3)], axis=0)
    assert np.array_equal(flat, all_nine) and 0.2 < flat.mean() < 0.6
    assert np.array_equal(colours, photo * known[..., None]) and np.array_equal(share, known)
    assert np.array_equal(missing, hole) and not slopes[flat == 0].any()
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    y, x = (int(place[0]) for place in np.nonzero(flat[1:-1, 1:-1]))
    part = grey[y : y + 3, x : x + 3]  # around (y + 1, x + 1)
    smooth = np.array((1, 2, 1))
    across, down = abs(smooth @ part @ (-1, 0, 1)), abs(np.array((-1, 0, 1)) @ part @ smooth)
    assert np.allclose(slopes[y + 1, x + 1], (across / 4, down / 4))
    rows = [detail._sums(photo, hole, known, slice(top, top + 6)) for top in range(0, 23, 6)]
    for whole, *parts in zip((colours, share, missing, slopes, flat), *rows, strict=True):
        assert np.array_equal(whole, np.concatenate(parts)) and whole.dtype == np.float32
