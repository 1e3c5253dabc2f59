"""The Hugging Face hub: `hf://owner/repo[@revision]` in, `push_to_hub` out."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from surform.hub.config import CARD, CONFIG, PREPROCESSOR, WEIGHTS

if TYPE_CHECKING:
    from surform.hub.pretrained import Pretrained

__all__ = ["download", "push"]

_TRANSPORTS = ("httpx", "httpx2", "httpcore", "requests", "urllib3")  # it changed over versions
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# A branch, tag or commit: it becomes a path in the cache, which must stay inside of it.
_REVISION = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")


def download(source: str, *, token: str | None = None) -> Path:
    """The local folder of `hf://owner/repo[@revision]`, from the cache when it is there.

    Raises:
        ValueError: the address is malformed.
        FileNotFoundError: no such repository or revision.
        OSError: the hub cannot be reached, or refuses.
    """
    repo_id, _, revision = source.removeprefix("hf://").partition("@")
    _check_name(repo_id)
    _check_revision(revision)
    from huggingface_hub import snapshot_download

    with _clear_errors(source):
        folder = snapshot_download(
            repo_id,
            revision=revision or None,
            allow_patterns=[CONFIG, WEIGHTS, CARD, PREPROCESSOR],
            token=token,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    return Path(folder)


def push(
    model: Pretrained,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload a surform model",
) -> str:
    """`Pretrained.push_to_hub`: the URL of the commit."""
    _check_name(repo_id)
    _check_revision(revision or "")
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    with tempfile.TemporaryDirectory(prefix="surform-") as temporary, _clear_errors(repo_id):
        folder = model.save_pretrained(Path(temporary) / "model")
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, revision=revision, commit_message=message
        )
    return commit.commit_url


def _check_name(repo_id: str) -> None:
    if not _NAME.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
        raise ValueError(
            f"{repo_id!r} is no repository name: write owner/repo, "
            "or hf://owner/repo@revision to load one"
        )


def _check_revision(revision: str) -> None:
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(
            f"{revision!r} is no revision: write the name of a branch or tag, or a commit"
        )


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    """The hub's exceptions as one sentence of the usual kinds."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{what}: no such repository or revision on the hub, or no right to read it"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise OSError(f"{what}: the hub cannot be reached and the cache has no copy") from error
    except errors.HfHubHTTPError as error:
        raise OSError(f"{what}: the hub answered {_first_line(error)}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _TRANSPORTS:
            raise
        raise OSError(f"{what}: the hub cannot be reached: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
