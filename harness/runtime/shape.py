"""The shape of an RWKV-4 model, and the shapes that were published.

Knows numbers only: no files, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The five numbers that fix every tensor's shape."""

    n_layer: int
    n_embd: int
    n_vocab: int
    dim_ffn: int

    @property
    def n_params(self) -> int:
        """Parameters of an original checkpoint, ln0 included."""
        per_block = 5 * self.n_embd**2 + 2 * self.n_embd * self.dim_ffn + 11 * self.n_embd
        return 2 * self.n_vocab * self.n_embd + per_block * self.n_layer + 4 * self.n_embd

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """The seven matrices of a block: key below `blocks.N.` -> (out, in)."""
        d, f = self.n_embd, self.dim_ffn
        return {
            "att.key.weight": (d, d),
            "att.value.weight": (d, d),
            "att.receptance.weight": (d, d),
            "att.output.weight": (d, d),
            "ffn.key.weight": (f, d),
            "ffn.receptance.weight": (d, d),
            "ffn.value.weight": (d, f),
        }

    def is_matrix(self, name: str) -> bool:
        """Whether the tensor of this name is a matrix that is applied: of a block, or the head."""
        return name == "head.weight" or name.endswith(tuple(self.matrices))


def original_tensors(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Every key of an original checkpoint with its shape, in file order."""
    d = shape.n_embd
    tensors: dict[str, tuple[int, ...]] = {"emb.weight": (shape.n_vocab, d)}
    for i in range(shape.n_layer):
        block = f"blocks.{i}."
        norms = ("ln0", "ln1", "ln2") if i == 0 else ("ln1", "ln2")
        for norm in norms:
            tensors[f"{block}{norm}.weight"] = (d,)
            tensors[f"{block}{norm}.bias"] = (d,)
        tensors[f"{block}att.time_decay"] = (d,)
        tensors[f"{block}att.time_first"] = (d,)
        for mix in ("att.time_mix_k", "att.time_mix_v", "att.time_mix_r"):
            tensors[f"{block}{mix}"] = (1, 1, d)
        for mix in ("ffn.time_mix_k", "ffn.time_mix_r"):
            tensors[f"{block}{mix}"] = (1, 1, d)
        for name, size in shape.matrices.items():
            tensors[f"{block}{name}"] = size
    tensors["ln_out.weight"] = (d,)
    tensors["ln_out.bias"] = (d,)
    tensors["head.weight"] = (shape.n_vocab, d)
    return tensors


def _published(n_layer: int, n_embd: int) -> ModelShape:
    return ModelShape(n_layer=n_layer, n_embd=n_embd, n_vocab=50277, dim_ffn=4 * n_embd)


# The sizes of the Pile and Raven models, as `random:SIZE` names them.
RANDOM_SHAPES: dict[str, ModelShape] = {
    "169m": _published(12, 768),
    "430m": _published(24, 1024),
    "1b5": _published(24, 2048),
    "3b": _published(32, 2560),
    "7b": _published(32, 4096),
    "14b": _published(40, 5120),
}
