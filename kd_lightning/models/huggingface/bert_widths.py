"""Which axes the weights of encoders lie on that are built and named as BERT's: RoBERTa, ELECTRA of equal widths, MiniLM."""

from __future__ import annotations

from collections.abc import Container

from kd_lightning.errors import ConfigError
from kd_lightning.models.narrowing import HeadsAxis, Layer, LinearAxis, Norm, NormedAxis, UnitsAxis, WidthMap

TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")
DENSE_HEADS = (("pooler.dense", "classifier"), ("classifier.dense", "classifier.out_proj"))
"""What reads the last norm and has units of its own, and what reads these; of BERT, and of RoBERTa."""


def map_bert_widths(
    names: Container[str], encoder: str, network: str, layers: int, heads: int, fixed: str | None = None
) -> WidthMap:
    """The map of such an encoder, with whatever head, or none.

    Args:
        names: Of all weights.
        encoder: Prefix of the encoder's names, as ``network.bert.``.
        network: Prefix of its head's, as ``network.``.
        layers: How many it has.
        heads: Attention heads of each.
        fixed: Why the hidden size may not be smaller; None = it may.

    Raises:
        ConfigError: Its weights have other names.
    """
    stream = NormedAxis("hidden size")
    tables = [f"{encoder}embeddings.{table}.weight" for table in TABLES]
    found = [Layer(table, None, (stream,), table=True) for table in tables if table in names]
    norms: list[tuple[str, list[str]]] = [(f"{encoder}embeddings.LayerNorm", [])]

    def add(path: str, reads: LinearAxis, writes: LinearAxis | None) -> None:
        found.append(Layer(f"{path}.weight", reads, (writes,), (f"{path}.bias",)))
        if reads is stream:
            norms[-1][1].append(f"{path}.weight")

    for number in range(layers):
        layer = f"{encoder}encoder.layer.{number}"
        scores, values = HeadsAxis(f"scores {number}", heads, scored=True), HeadsAxis(f"values {number}", heads)
        units = UnitsAxis(f"intermediate size of layer {number}")
        add(f"{layer}.attention.self.query", stream, scores)
        add(f"{layer}.attention.self.key", stream, scores)
        add(f"{layer}.attention.self.value", stream, values)
        add(f"{layer}.attention.output.dense", values, stream)
        norms.append((f"{layer}.attention.output.LayerNorm", []))
        add(f"{layer}.intermediate.dense", stream, units)
        add(f"{layer}.output.dense", units, stream)
        norms.append((f"{layer}.output.LayerNorm", []))
    pooled = UnitsAxis("pooled size")
    for dense, last in DENSE_HEADS:
        dense = f"{encoder}{dense}" if dense.startswith("pooler") else f"{network}{dense}"
        if f"{dense}.weight" in names:
            add(dense, stream, pooled)
            add(f"{network}{last}", pooled, None)
            break
    else:
        for head in ("classifier", "head"):
            if f"{network}{head}.weight" in names:
                add(f"{network}{head}", stream, None)
    wanted = [name for layer in found for name in (layer.weight, *layer.biases)]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ConfigError(
            f"student.init=teacher: only encoders with BERT's names are cut to a narrower student, and this one has no "
            f"{missing[0]}: give the student the teacher's widths, or set student.init=null"
        )
    all_norms = [Norm(path, stream, tuple(readers)) for path, readers in norms]
    return WidthMap(found, all_norms, {} if fixed is None else {stream: fixed})
