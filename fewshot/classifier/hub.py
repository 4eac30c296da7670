"""Saved classifiers on a model hub, by `huggingface_hub`, which is imported only here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.classifier.card import write_card

if TYPE_CHECKING:
    from fewshot.classifier.base import LearnerEstimator

_FILES = ["config.json", "model.safetensors", "README.md", "encoder.safetensors", "tuned/*", "encoder/*"]


def save_with_card(classifier: LearnerEstimator, folder: Path, name: str | None = None) -> Path:
    """Write the classifier and its model card, ``README.md``."""
    classifier.save(folder)
    write_card(classifier, folder, name)
    return folder


def fetch(name: str, revision: str | None, token: str | bool | None, api: Any = None) -> Path:
    """The folder of a classifier: a local one, or a copy of a repository.

    Raises:
        ConnectionError: the hub does not answer, and no copy is here.
        FileNotFoundError: no such folder or repository.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith(("/", ".", "~")) or name.count("/") != 1 or "\\" in name:
        raise FileNotFoundError(f"there is no folder {name!r}, and a repository is written OWNER/NAME.")
    hub = _hub()
    wanted = {"repo_id": name, "revision": revision, "token": token, "allow_patterns": _FILES}
    download = hub.snapshot_download if api is None else api.snapshot_download
    if api is None:
        try:  # what is here already needs no network
            return Path(download(**wanted, local_files_only=True))
        except (OSError, ValueError):
            _require_network(f"there is no folder {name!r}, and no copy from the hub is here")
    try:
        return Path(download(**wanted))
    except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"the hub has no {name!r}{f' at {revision!r}' if revision else ''}, or it is private: give token=. "
            f"({str(error).splitlines()[0]})"
        ) from error


def push(
    classifier: LearnerEstimator,
    name: str,
    *,
    private: bool,
    token: str | bool | None,
    message: str,
    api: Any,
) -> str:
    """Upload to a repository, made where it is not there; returns what the hub says of the commit.

    Raises:
        ConnectionError: the hub does not answer.
        ValueError: the name is not OWNER/NAME.
    """
    if name.count("/") != 1 or not all(name.split("/")):
        raise ValueError(f"{name!r} is no repository; write OWNER/NAME.")
    if api is None:
        hub = _hub()
        _require_network(f"{name!r} cannot be uploaded: save it with save_pretrained(folder), and push it later")
        api = hub.HfApi(token=token)
    with tempfile.TemporaryDirectory(prefix="fewshot-push-") as place:
        folder = save_with_card(classifier, Path(place) / "model", name)
        api.create_repo(repo_id=name, private=private, exist_ok=True)
        uploaded = api.upload_folder(repo_id=name, folder_path=os.fspath(folder), commit_message=message)
        return str(getattr(uploaded, "commit_url", uploaded))


def from_pretrained(
    cls: type[Any], name: str, revision: str | None, token: str | bool | None, api: Any, changes: Mapping[str, Any]
) -> Any:
    """Fetch and load."""
    from fewshot.classifier.saving import load

    return load(cls, fetch(name, revision, token, api), changes)


def _require_network(what: str) -> None:
    """Find out within seconds what the hub's client would try for minutes.

    Raises:
        ConnectionError: the hub does not answer.
    """
    from fewshot.encoders.checkpoint import require_network
    from fewshot.hub_address import hub_address, offline_by

    if (variable := offline_by()) is not None:
        raise ConnectionError(f"{what}; the hub is not asked, since {variable}.")
    try:
        require_network(hub_address(), what, "")
    except ConnectionError:
        raise ConnectionError(f"{what}; {hub_address()} cannot be reached.") from None


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise ImportError("sharing needs huggingface_hub: pip install 'fewshot[hub]'.") from None
    return huggingface_hub
