"""Which axes the weights of our own transformers lie on: pre-norm blocks with one matrix for query, key and value."""

from __future__ import annotations

from kd_lightning.models.narrowing import HeadsAxis, Layer, Norm, NormedAxis, UnitsAxis, WidthMap


def map_pre_norm_widths(blocks: int, heads: int, head_bias: bool, fixed: str | None = None) -> WidthMap:
    """The map of a ``TransformerLM`` or ``TextTransformer``.

    Args:
        blocks: How many it has.
        heads: Of each block's attention.
        head_bias: The head has a bias, and is not tied to the embedding.
        fixed: Why the residual stream may not be narrower; None = it may.
    """
    stream = NormedAxis("residual stream")
    layers = [Layer(f"{table}.weight", None, (stream,), table=True) for table in ("embedding", "positions")]
    norms = [Norm("norm", stream, ("head.weight",), folds=head_bias)]
    for number in range(blocks):
        block = f"blocks.{number}"
        scores, values = HeadsAxis(f"scores {number}", heads, scored=True), HeadsAxis(f"values {number}", heads)
        units = UnitsAxis(f"inner layer {number}")
        layers += [
            Layer(f"{block}.attention.qkv.weight", stream, (scores, scores, values), (f"{block}.attention.qkv.bias",)),
            Layer(f"{block}.attention.out.weight", values, (stream,), (f"{block}.attention.out.bias",)),
            Layer(f"{block}.mlp.0.weight", stream, (units,), (f"{block}.mlp.0.bias",)),
            Layer(f"{block}.mlp.2.weight", units, (stream,), (f"{block}.mlp.2.bias",)),
        ]
        norms += [
            Norm(f"{block}.attention_norm", stream, (f"{block}.attention.qkv.weight",), folds=True),
            Norm(f"{block}.mlp_norm", stream, (f"{block}.mlp.0.weight",), folds=True),
        ]
    layers.append(Layer("head.weight", stream, (None,), ("head.bias",) if head_bias else ()))
    return WidthMap(layers, norms, {} if fixed is None else {stream: fixed})
