"""What a run shows on its way: of every scale a picture that can be told from the others."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from conftest import SIDES, scenery
from PIL import Image
from test_handlers import begun, handlers, opened, photo, stream, values  # noqa: F401

from app.handlers import Handlers
from var_core.request import inside


def shown(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_a_growing_picture_shows_its_newest_window_at_every_scale(handlers: Handlers, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "wide.png"
    scenery(96, 48).save(path)
    session, ref = opened(handlers, path, begun(handlers))
    form = values(mode="outpaint", right=96, detail=False)
    steps = [*stream(handlers, session, ref=ref, mask=None, form=form)]
    result = session.current().result
    boxes = [inside(done.box, result.picture.size)[0] for done in result.passes if done.box is not None]
    assert len(boxes) > 2
    last = [shown(step["thumb"]) for step in steps if step.get("window") == len(boxes)]
    assert [one.size for one in last] == [(boxes[-1][2] - boxes[-1][0], boxes[-1][3] - boxes[-1][1])] * len(SIDES[:-1])
    last.append(shown(session.current().made.thumbs[-1] or ""))
    strip = [np.asarray(one.reduce(4)).astype(int) for one in last]  # their JPEG rounds the finest
    end = np.asarray(result.image(0).crop(boxes[-1]).reduce(4)).astype(int)
    assert np.abs(strip[-1] - end).mean() < 6, "the last one is the result there"
    changes = [np.abs(strip[k] - strip[k - 1]).mean() for k in range(1, len(strip))]
    assert min(changes[1:]) > 1, "no two look alike"
