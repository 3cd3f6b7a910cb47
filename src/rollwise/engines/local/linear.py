"""Linear layers on a CPU whose weights are kept in the order in which oneDNN multiplies them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

_ROWS = 64  # rows that oneDNN chooses the order for; other numbers of rows are computed too
_FEWEST = 1 << 18  # a smaller matrix gains less than the additional calls cost
_MOST_BYTES = 2 << 30  # the copies take no more memory than this


class PackedLinear(torch.nn.Linear):  # type: ignore[misc]
    """A linear layer that multiplies with a reordered copy of its weights when no gradient is wanted.

    PyTorch's own product reorders the weights at every call. That costs more than the product if the input has few
    rows. The copy is made at the first call, and anew when the weights have changed.
    """

    _packed: tuple[torch.Tensor, tuple[int, int], torch.Tensor] | None = None  # weights, their state, and the copy

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The product of the input and the transposed weights, plus the bias."""
        weight = self.weight
        if torch.is_grad_enabled() or not _fits(weight):
            return linear(input, weight, self.bias)
        state = weight._version, weight.data_ptr()
        if self._packed is None or self._packed[0] is not weight or self._packed[1] != state:
            self._packed = weight, state, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(input, self._packed[2], self.bias, "none", [], "")
        return product

    def __getstate__(self) -> dict[str, Any]:
        """The layer without the copy, which can be neither copied nor pickled."""
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("_packed", None)
        return state


def pack_linears(module: torch.nn.Module) -> None:
    """Make the linear layers in a module `PackedLinear`s where that was measured to be faster: large matrices in
    float32 on a processor whose widest instructions are AVX2. A module whose copies take more than 2 GiB stays.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX2" or not torch.backends.mkldnn.is_available():
        return
    layers = [layer for layer in module.modules() if type(layer) is torch.nn.Linear and _fits(layer.weight)]
    layers = [layer for layer in layers if layer.weight.numel() >= _FEWEST]
    if sum(layer.weight.nbytes for layer in layers) <= _MOST_BYTES:
        for layer in layers:
            layer.__class__ = PackedLinear


def _fits(weight: torch.Tensor) -> bool:
    """Whether oneDNN takes a weight, and its changes can be noticed, which those of an inference tensor cannot."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.is_inference()
