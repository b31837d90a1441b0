"""Files of models: our format, official files that do not fit, downloads from a stand-in of the hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pickle
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import commands
import pytest
import torch
from conftest import build_model
from huggingface_hub import HfFileMetadata
from reference import GOLDEN, Case
from safetensors import safe_open
from safetensors.torch import save_file

from var_core.model import download
from var_core.model.checkpoints import load_model, save_model
from var_core.model.official import load_official
from var_core.model.registry import MODELS, find_model, is_on_disk


@pytest.fixture
def official(tmp_path: Path) -> tuple[Path, Path]:
    return Case("tiny", GOLDEN).write_official(tmp_path)


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    model = build_model()
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert (again.name, again.class_names, again.card) == (model.name, model.class_names, model.card)
    for part in ("tokenizer", "transformer"):
        old, new = getattr(model, part).state_dict(), getattr(again, part).state_dict()
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_codes_stay_exact_when_weights_are_stored_small(tmp_path: Path) -> None:
    model = build_model()
    save_model(model, tmp_path / "m.safetensors", torch.bfloat16)
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        small = {name for name in file.keys() if file.get_tensor(name).dtype == torch.bfloat16}  # noqa: SIM118
    large = {name for name, value in model.transformer.state_dict().items() if value.dim() > 1}
    assert small >= {f"transformer.{name}" for name in large if not name.endswith("log_scale")}
    assert not any(name.endswith(("bias", "log_scale")) or "codebook" in name or ".refine" in name for name in small)
    again = load_model(tmp_path / "m.safetensors")
    assert torch.equal(model.tokenizer.codebook.weight, again.tokenizer.codebook.weight)
    assert not torch.equal(model.transformer.head.weight, again.transformer.head.weight)


def test_trainer_files_are_unwrapped(official: tuple[Path, Path], tmp_path: Path) -> None:
    plain = load_official(*official)
    token_state, state = (torch.load(path, weights_only=True) for path in official)
    wrapped = tmp_path / "trainer.pth"
    inner = {"vae_local": token_state, "var_wo_ddp": {f"_orig_mod.{name}": value for name, value in state.items()}}
    torch.save({"epoch": 3, "trainer": inner}, wrapped)
    again = load_official(wrapped, wrapped)
    assert torch.equal(plain.transformer.head.weight, again.transformer.head.weight)
    assert torch.equal(plain.tokenizer.codebook.weight, again.tokenizer.codebook.weight)


def test_files_that_a_gpu_wrote_are_read_without_one(official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = torch.load(official[1], weights_only=True), tmp_path / "var_gpu.pth"
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    torch.save(state, path)
    assert b"cuda:0" in path.read_bytes()
    read = load_official(official[0], path).transformer
    assert torch.equal(read.head.weight, load_official(*official).transformer.head.weight)
    assert read.head.weight.device.type == "cpu"


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


def one_sentence(error: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 220
    return text


def test_code_in_a_pickle_never_runs(official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for write in (lambda path: path.write_bytes(pickle.dumps({"a": Code()})), lambda path: torch.save(Code(), path)):
        path = tmp_path / "evil.pth"
        write(path)
        with pytest.raises(ValueError, match=r"evil\.pth") as error:
            load_official(official[0], path)
        one_sentence(error)
        assert not (tmp_path / "ran").exists()


def damage(state: dict, kind: str) -> dict:
    if kind == "lacks":
        del state["blocks.1.ffn.fc1.weight"]
    if kind == "unknown":
        state["blocks.0.ffn.fc9.weight"] = torch.zeros(2)
    if kind == "shape":
        state["blocks.1.ffn.fc2.bias"] = torch.zeros(65)
    return state


@pytest.mark.parametrize("kind", ["lacks", "unknown", "shape"])
def test_entries_that_do_not_fit_are_named(official, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "var_odd.pth"
    torch.save(damage(torch.load(official[1], weights_only=True), kind), path)
    with pytest.raises(ValueError, match=rf"var_odd\.pth.*{kind}") as error:
        load_official(official[0], path)
    one_sentence(error)


def test_a_checkpoint_of_the_wrong_depth_says_so(official, tmp_path: Path) -> None:
    state = torch.load(official[1], weights_only=True)
    state["blocks.2.attn.q_bias"] = torch.zeros(64)
    torch.save(state, tmp_path / "var_d3.pth")
    with pytest.raises(ValueError, match=r"var_d3\.pth lacks \"blocks\.2") as error:
        load_official(official[0], tmp_path / "var_d3.pth")
    one_sentence(error)


def test_files_that_are_no_pair(official) -> None:
    with pytest.raises(ValueError, match="right one of the two files"):
        load_official(official[1], official[0])


def test_damaged_files(official, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(official[1].read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.pth is damaged"):
        load_official(official[0], cut)
    with pytest.raises(ValueError, match="there is no model file"):
        load_official(official[0], tmp_path / "none.pth")
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(2)}, plain)
    with pytest.raises(ValueError, match="does not describe a model"):
        load_model(plain)
    plain.write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="damaged or not a safetensors"):
        load_model(plain)


def test_names_are_answered_kindly() -> None:
    with pytest.raises(ValueError, match="var-d16"):
        find_model("var-d17")
    assert find_model("garden-2")[0].name == "garden-2.safetensors"
    assert [info.resolution for info in MODELS.values()] == [128, 256, 256, 256, 256, 512]
    assert [MODELS[name].depth for name in MODELS if name.startswith("var")] == [16, 20, 24, 30, 36]
    assert is_on_disk("garden-2") is True and is_on_disk("var-d17") is False


class Hub(http.server.BaseHTTPRequestHandler):
    """Just enough of the model hub: resolve with digests and ranges."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    served: list[tuple[str, str]] = []  # noqa: RUF012
    lie = False

    def do_HEAD(self) -> None:
        self.reply(body=False)

    def do_GET(self) -> None:
        self.reply(body=True)

    def reply(self, body: bool) -> None:
        name = self.path.rsplit("/", 1)[-1]
        data = self.files.get(name)
        if data is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        digest = hashlib.sha256(data).hexdigest()
        sent = bytes(len(data)) if self.lie else data
        span = self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").split("-")[0]) if span and body else 0
        if body:
            self.served.append((name, span))
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(sent[start:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(official):
    Hub.files = {"vae_ch160v4096z32.pth": official[0].read_bytes(), "var_d16.pth": official[1].read_bytes()}
    Hub.served, Hub.lie = [], False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def command(endpoint: str, cache: Path, *words: str, group: str = "models") -> subprocess.CompletedProcess[str]:
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return commands.command(commands.PYTHON, "-m", "var_core", *filter(None, [group]), *words, **hub)


def test_download_list_and_damage(hub: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = command(hub, cache, "download", "var-d16")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(command(hub, cache, "list", "--json").stdout)}
    assert rows["var-d16"]["on_disk"] and not rows["var-d20"]["on_disk"]
    before = len(Hub.served)
    assert command(hub, cache, "download", "var-d16").returncode == 0
    assert len(Hub.served) == before, "what is there is not fetched again"
    Hub.lie = True
    broken = command(hub, tmp_path / "other", "download", "var-d16")
    assert broken.returncode == 1 and "damaged" in broken.stderr and "Traceback" not in broken.stderr


@pytest.mark.parametrize("damage", ["bytes", "cut", "pointer", "a copy without a link"])
def test_what_is_damaged_in_the_cache_is_fetched_again(hub: str, tmp_path: Path, damage: str) -> None:
    cache, name = tmp_path / "cache", "var_d16.pth"
    assert command(hub, cache, "download", "var-d16").returncode == 0
    (placed,) = (cache / "hub" / "models--FoundationVision--var").glob(f"snapshots/*/{name}")
    whole = Hub.files[name]
    if damage == "a copy without a link":
        placed.unlink()
    broken = {"bytes": bytes(len(whole)), "cut": whole[:-1], "pointer": b"version https://git-lfs.github.com/spec/v1\n"}
    placed.write_bytes(broken.get(damage, whole[:5]))  # through the link, where there is one
    Hub.served.clear()
    done = command(hub, cache, "download", "var-d16")
    assert done.returncode == 0, done.stderr
    assert [served for served, _ in Hub.served] == ([] if damage == "a copy without a link" else [name])
    assert placed.read_bytes() == whole
    assert command("http://127.0.0.1:9", cache, "download", "var-d16").returncode == 0, "what is whole asks nobody"


def test_a_broken_download_goes_on_where_it_stopped(hub: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    name = "vae_ch160v4096z32.pth"
    blobs = cache / "hub" / "models--FoundationVision--var" / "blobs"
    blobs.mkdir(parents=True)
    digest = hashlib.sha256(Hub.files[name]).hexdigest()
    (blobs / f"{digest}.partial").write_bytes(Hub.files[name][:1000])
    assert command(hub, cache, "download", "var-d16").returncode == 0
    spans = [span for served, span in Hub.served if served == name]
    assert spans and spans[0].startswith("bytes=1000-")


@pytest.mark.parametrize(
    "said",
    [
        {"etag": None},
        {"etag": "a" * 40},
        {"etag": "../../../../a"},
        {"commit_hash": "main"},
        {"size": None},
        {"size": 0},
    ],
    ids=str,
)
def test_what_the_hub_gives_no_digest_of_is_not_fetched(said: dict, tmp_path: Path, monkeypatch) -> None:
    """Nor is anything written at a place that the hub has named."""
    usual = {"etag": "a" * 64, "commit_hash": "c" * 40, "size": 5, "location": "", "xet_file_data": None}
    monkeypatch.setattr(download, "cached", lambda *_: None)
    monkeypatch.setattr(download, "get_hf_file_metadata", lambda _: HfFileMetadata(**usual | said))
    monkeypatch.setattr(download, "http_get", lambda *_, **__: pytest.fail("fetched"))
    monkeypatch.setattr(download.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download.constants, "HF_HUB_CACHE", str(tmp_path / "a" / "b"))
    with pytest.raises(ValueError, match="gave no sha256 for it") as refused:
        download.fetch("somebody/models", "it")
    one_sentence(refused)
    assert not list(tmp_path.iterdir())


def test_offline_is_one_sentence(tmp_path: Path) -> None:
    done = command("http://127.0.0.1:9", tmp_path, "download", "var-d16")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "cannot be reached" in done.stderr.strip().splitlines()[-1]


def test_two_downloads_at_once_share_one_file(hub: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: command(hub, cache, "download", "var-d16"), range(2)))
    assert [one.returncode for one in done] == [0, 0], done
    assert sorted(name for name, _ in Hub.served) == sorted(Hub.files), "each file was fetched once"


def test_a_file_of_another_depth_under_a_models_name(hub: str, tmp_path: Path) -> None:
    assert command(hub, tmp_path, "download", "var-d16").returncode == 0
    drawn = command(hub, tmp_path, "generate", "--model", "var-d16", group="")
    assert drawn.returncode == 1 and "var_d16.pth has 2 blocks, but var-d16 has 16" in drawn.stderr
    assert len(drawn.stderr.strip().splitlines()) == 1


def test_tokenizers_of_another_pyramid_are_refused(official, tmp_path: Path) -> None:
    state = torch.load(official[0], weights_only=True)
    state["quantize.ema_vocab_hit_SV"] = torch.zeros(7, 8)
    torch.save(state, tmp_path / "vae.pth")
    with pytest.raises(ValueError, match="7 scales") as error:
        load_official(tmp_path / "vae.pth", official[1])
    one_sentence(error)


@pytest.mark.parametrize("change", ["stranger", "names", "heads", "list"])
def test_our_own_files_are_read_strictly(tmp_path: Path, change: str) -> None:
    path = tmp_path / "odd.safetensors"
    save_model(build_model(), path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        described = json.loads(file.metadata()["model"])
    if change == "stranger":
        tensors["other.weight"] = torch.zeros(2)
    elif change == "names":
        described["class_names"].pop()
    elif change == "heads":
        described["transformer"]["heads"] = 3
    else:
        described["tokenizer"] = ["sides"]
    save_file(tensors, path, metadata={"model": json.dumps(described)})
    with pytest.raises(ValueError, match=r"odd\.safetensors") as error:
        load_model(path)
    one_sentence(error)
