"""Fold every batch normalization of an ONNX model into the convolution or dense layer before it; needs onnx alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from refnorm.reference.folding import fold_into_previous

LINEAR = ("Conv", "ConvTranspose", "Gemm")


def fold_model(model: Any, only: Collection[str] | None = None) -> Any:
    """Return a model that computes the same without its batch normalizations.

    Each weight and bias is within u of exact folding (`refnorm.fold_into_previous`), so an output of a layer moves by
    at most u (sum |weight x| + |bias|), beside what the order of its sums does.

    Parameters
    ----------
    model : onnx.ModelProto, for inference; opset 9 or later. It is not changed.
    only : names, or outputs, of the BatchNormalization nodes to fold; by default all.

    Raises
    ------
    ValueError
        A node cannot be folded: it is in training mode, what stands before it is no Conv, ConvTranspose or Gemm (an
        activation in between, say) or is needed elsewhere as well, its parameters are no constants, or a running
        variance is negative. The text names the node; leave it out of ``only`` to keep it.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    opset = next(entry.version for entry in folded.opset_import if entry.domain in ("", "ai.onnx"))
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        name = norm.name or norm.output[0]
        if only is None or name in only or norm.output[0] in only:
            try:
                _fold(graph, norm, opset)
            except ValueError as error:
                raise ValueError(f"BatchNormalization {name} cannot be folded: {error}") from error
    uses = _uses(graph)
    for unused in [t for t in graph.initializer if not uses[t.name]]:
        graph.initializer.remove(unused)
    names = {tensor.name for tensor in graph.initializer}
    for surplus in [i for i in graph.input if not uses[i.name] and i.name not in names]:
        graph.input.remove(surplus)  # before IR 4 every initializer was an input as well
    return folded


def _fold(graph: Any, norm: Any, opset: int) -> None:
    attributes = _attributes(norm)
    if opset < 9:
        raise ValueError(f"opset {opset} does not say whether it trains; convert the model to opset 9 or later")
    if attributes.get("training_mode", 0) or (opset < 14 and len([o for o in norm.output if o]) > 1):
        raise ValueError("it is in training mode, where each batch is normalised by its own statistics")
    makers = {output: node for node in graph.node for output in node.output}
    linear = makers.get(norm.input[0])
    if linear is None or linear.op_type not in LINEAR:
        before = linear.op_type if linear is not None else "the input of the model"
        raise ValueError(f"{before} stands before it, expected one of {', '.join(LINEAR)}; only those absorb it")
    if _uses(graph)[norm.input[0]] > 1:
        raise ValueError(
            f"the output of {linear.op_type} before it is needed elsewhere, without normalization, as well"
        )
    gamma, beta, mean, var = (_constant(graph, name) for name in norm.input[1:5])
    weight = _constant(graph, linear.input[1])
    options = _attributes(linear)
    axis, groups = 0, 1
    if linear.op_type == "ConvTranspose":
        axis, groups = 1, options.get("group", 1)
    elif linear.op_type == "Gemm":
        axis = 0 if options.get("transB", 0) else 1
        if options.get("alpha", 1.0) != 1 or options.get("beta", 1.0) != 1:
            raise ValueError("Gemm before it has an alpha or beta other than 1; multiply them into its constants first")
    bias = _constant(graph, linear.input[2]) if len(linear.input) > 2 and linear.input[2] else None
    bias = None if bias is None else np.broadcast_to(bias, (1, len(mean))).reshape(-1)
    eps = attributes.get("epsilon", float(np.float32(1e-5)))
    parameters = fold_into_previous(weight, bias, mean, var, gamma, beta, eps=eps, axis=axis, groups=groups)

    for kind, value in zip(("weight", "bias"), parameters, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), f"{norm.output[0]}/{kind}"))
    del linear.input[1:]
    linear.input.extend(f"{norm.output[0]}/{kind}" for kind in ("weight", "bias"))
    for position, output in enumerate(linear.output):
        if output == norm.input[0]:
            linear.output[position] = norm.output[0]
    graph.node.remove(norm)


def _attributes(node: Any) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _uses(graph: Any) -> Counter[str]:
    """Count who needs a value; an output of the model is needed outside."""
    return Counter([*(name for node in graph.node for name in node.input), *(output.name for output in graph.output)])


def _constant(graph: Any, name: str) -> Any:
    """Return the value of an initializer or of a Constant node."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name and "value" in _attributes(node):
            return numpy_helper.to_array(_attributes(node)["value"])
    raise ValueError(f"{name} is no constant of the model; fold after its parameters are fixed")
