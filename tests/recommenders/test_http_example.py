"""The server of the page on serving, over the loopback interface."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from surform import create_model
from surform.data.interactions_description import InteractionsDescription
from surform.data.normalizers import Normalizer
from surform.recommenders.ranker import Ranker
from tests.test_docs import blocks

ABOUT = InteractionsDescription(
    categorical=("user", "item"),
    multivalued=("genres",),
    dense=("hour",),
    labels=("click", "buy"),
    vocabularies={"user": [1, 2, 3], "item": ["a", "b"], "genres": ["war", "noir"]},
)
ROWS = {
    "user": [3, 99],
    "item": ["b", "new"],
    "genres": [["noir", "war"], []],
    "hour": [8.5, 23],
}


def ranker() -> Ranker:
    import torch

    torch.manual_seed(0)
    given = {
        "vocab_sizes": (4, 3),
        "multi_vocab_sizes": (3,),
        "dense_features": 1,
        "dense_tokens": 1,
    }
    model = Ranker(create_model("hiformer", **given, tasks=2, embedding_std=1.0))
    model.fit_to(ABOUT, Normalizer(torch.tensor([12.0]), torch.tensor([7.0])))
    return model.eval().folded("int8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """(model, address) of the page's `serve.py`, running on a free port."""
    pytest.importorskip("fastapi")
    uvicorn = pytest.importorskip("uvicorn")
    folder: Path = tmp_path_factory.mktemp("server")
    model = ranker()
    model.save_pretrained(folder / "serving-int8")
    found = [text for _, text in blocks("docs/serving.md") if text.startswith("# serve.py")]
    (folder / "serve.py").write_text(found[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        app = importlib.import_module("serve").app
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not running.started and time.monotonic() < deadline:
            time.sleep(0.02)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield model, f"http://127.0.0.1:{port}/score"
    finally:
        running.should_exit = True
        thread.join(60)
        sys.modules.pop("serve", None)


def ask(address: str, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def test_answers_are_the_models(server) -> None:
    model, address = server
    status, found = ask(address, json.dumps({"rows": ROWS}).encode())
    assert status == 200
    expected = model.score(ROWS)
    assert found == {"click": expected[:, 0].tolist(), "buy": expected[:, 1].tolist()}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"rows": {k: v for k, v in ROWS.items() if k != "user"}}, "no column 'user' among the ro"),
        ({"rows": ROWS | {"hour": [1, "late"]}}, "row 1 has 'late' in the column hour"),
        ({"rows": ROWS | {"hour": [1]}}, "columns have different lengths: "),
        ({"rows": ROWS | {"hour": [1, None]}}, "in the column hour"),
        ({"rows": ROWS | {"genres": [["war"], "noir"]}}, "row 1 has 'noir' in the multi-valued"),
        ({"rows": ROWS | {"item": [["a"], "b"]}}, "row 0 has ['a'] in the column item"),
        ({"rows": {}}, "no column 'user' among the rows"),
        ({"rows": [ROWS]}, "body rows: Input should be a valid dictionary"),
        ({"rows": {"user": 3}}, "body rows user: Input should be a valid list"),
        ({"table": ROWS}, "body rows: Field required"),
        (b"{", "body 1: JSON decode error"),
    ],
)
def test_wrong_requests_get_one_sentence(server, body: Any, told: str) -> None:
    _, address = server
    status, found = ask(address, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert status == 422
    assert told in found["detail"]
    assert "\n" not in found["detail"]
