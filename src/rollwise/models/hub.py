"""Downloads models from the Hugging Face hub: weights as safetensors and text files only, and never any code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rollwise.errors import InputError, MissingExtraError
from rollwise.models.places import HubName, hub_pointer

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""The files that a model is loaded from. Embedders keep some of them in folders of their own."""
UNWANTED = ("onnx/*", "openvino/*", "original/*", "runs/*")


def download(name: HubName) -> Path:
    """The folder of a model of the hub, downloaded into the hub's own cache unless it is there as a whole.

    A model without a revision is the newest of the hub, and stays so until it is downloaded again. Raises InputError if
    the hub cannot be reached or has no such model, or if the model has no weights as safetensors.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise MissingExtraError(f"the model {name}", "local") from error
    endpoint = constants.ENDPOINT
    reached = not constants.HF_HUB_OFFLINE and is_reached(endpoint)
    if reached:
        print(f"fetching {name} from {endpoint}", file=sys.stderr)
    try:
        folder = huggingface_hub.snapshot_download(
            name.repository,
            revision=name.revision,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
            local_files_only=not reached,
        )
    except errors.GatedRepoError:
        raise InputError(
            f"the owners of {name} ask you to accept their terms: do so on its page, run `hf auth login`, try again"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise InputError(
            f"the hub has no model {name} that you may read: check its name, or run `hf auth login` if it is private"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise InputError(_unreachable(name, endpoint)) from None
    except Exception as error:  # the network, a proxy and a full disk each fail in their own way
        reason = (str(error).splitlines() or [""])[0][:160]
        raise InputError(f"{name} could not be downloaded ({type(error).__name__}: {reason}): try again") from None
    found = Path(folder)
    if missing := missing_weights(found):
        raise InputError(f"{name} has no weights as safetensors ({missing}), the only format that rollwise reads")
    pointer = hub_pointer(name)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.write_text(str(found), encoding="utf-8")
    return found


def is_reached(endpoint: str) -> bool:
    """Whether a server answers there, whatever it says."""
    import httpx

    try:
        httpx.head(endpoint, timeout=5.0)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return True


def _unreachable(name: HubName, endpoint: str) -> str:
    folder = name.repository.rpartition("/")[2]
    return (
        f"{name} is not on this machine, and {endpoint} cannot be reached: where it can, run `hf download "
        f"{name.repository} --local-dir {folder}`, bring that folder, and give it instead"
    )


def missing_weights(folder: Path) -> str | None:
    """What a model's folder lacks of its weights; None if they are whole."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{index.name} cannot be read"
        return next((str(part) for part in sorted(parts) if not (folder / str(part)).is_file()), None)
    return None if any(folder.glob("*.safetensors")) else "model.safetensors"
