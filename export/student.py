"""A student: a network of YAMNet's kind, narrower and shallower, and the file that it becomes.

Convolutions whose depth and breadth are separate, as MobileNet v1 (arXiv:1704.04861) has them and
YAMNet after it: https://github.com/tensorflow/models/blob/master/research/audioset/yamnet/yamnet.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_alm.hearing.encoder import PATCH_FRAMES
from edge_alm.hearing.logmel import MEL_BANDS
from edge_alm.models.yamnet import EMBEDDING, SCORES

CLASSES = ("teacher", "gate")
INPUT = "audio"
FIRST = 32
LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512))
"""Stride and channels of YAMNet's layers after the first, up to those that are repeated."""
REPEATED, LAST = (1, 512), ((2, 1024), (1, 1024))
Adapter: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weight [outputs, inputs] and bias [outputs] of a linear map."""
_MULTIPLE = 8
"""Channels are so many or a multiple: what a processor computes at once."""
_OPSET, _IR_VERSION = 17, 8


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """A place in the grid of widths and depths.

    Raises:
        ValueError: a number is out of range, or unknown classes.
    """

    name: str = "student"
    """Of its folder."""
    width: float = 0.25
    """Its channels are this share of YAMNet's."""
    depth: int = 5
    """How many layers of 512 channels follow the first of them; YAMNet has 5."""
    last: float = 0.0
    """Its last two layers' share of YAMNet's 1,024 channels; 0: as ``width``."""
    classes: str = "teacher"
    """One of :data:`CLASSES`: all of the teacher's, or those of :mod:`export.gate_classes`."""

    def __post_init__(self) -> None:
        if not 0.0 < self.width <= 2.0 or not 0 <= self.depth <= 20:
            raise ValueError(
                f"width up to 2 and depth up to 20, got {self.width:g} and {self.depth}"
            )
        if self.classes not in CLASSES:
            raise ValueError(f"classes: one of {', '.join(CLASSES)}, got {self.classes!r}")
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name: of a folder, got {self.name!r}")


class Layer(nn.Module):
    """A convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, groups: int) -> None:
        super().__init__()
        # As TensorFlow has it, which puts all of it behind an input of even size where it strides.
        self.pad = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()
        padding = 0 if stride == 2 else size // 2
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.relu(self.norm(self.conv(self.pad(x))))

    def folded(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of the one convolution that this is once it learns no more.

        w' = w g / sqrt(v + e) and b' = b - m g / sqrt(v + e), of the running mean m and variance v
        (arXiv:1502.03167, algorithm 2).
        """
        with torch.no_grad():
            norm = self.norm
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = self.conv.weight * gain[:, None, None, None]
            bias = norm.bias - norm.running_mean * gain
            return weight.cpu().numpy(), bias.cpu().numpy()


class Student(nn.Module):
    """From log-mel patches [n, 96, 64] to logits [n, classes] and an embedding [n, width].

    Args:
        config: its size.
        classes: how many.
    """

    def __init__(self, config: StudentConfig, classes: int) -> None:
        super().__init__()

        def channels(of_yamnet: int) -> int:
            share = (config.last or config.width) if of_yamnet == LAST[0][1] else config.width
            return _MULTIPLE * max(1, round(share * of_yamnet / _MULTIPLE))

        at = channels(FIRST)
        layers = [Layer(1, at, 3, 2, 1)]
        for stride, width in (*LAYERS, *[REPEATED] * config.depth, *LAST):
            layers += [Layer(at, at, 3, stride, at), Layer(at, channels(width), 1, 1, 1)]
            at = channels(width)
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(at, classes)
        self.embedding_size, self.depth = at, config.depth

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        embedding = self.layers(patches[:, None]).mean((2, 3))
        return self.classifier(embedding), embedding


def write_onnx(student: Student, path: Path, adapter: Adapter | None = None) -> None:
    """Write a student as the runtime loads it; the same bytes for the same weights.

    Input [n, 1, 96, 64]; outputs ``class_scores`` (logits) and ``embedding``, as YAMNet's file has
    them. Every normalisation is folded into its convolution.

    Args:
        student: which learns no more.
        path: of the file.
        adapter: what makes a teacher's embedding of its own, to be put out instead; None: nothing.

    Raises:
        OSError: the disk refused.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays, at = [], {}, INPUT
    for i, layer in enumerate(student.layers):
        name, conv = f"layer{i}", layer.conv
        arrays[f"{name}_weight"], arrays[f"{name}_bias"] = layer.folded()
        inputs = [at, f"{name}_weight", f"{name}_bias"]
        before = conv.padding[0]
        after = 1 if conv.stride[0] == 2 else before
        pads, group = [before, before, after, after], conv.groups
        nodes += [
            helper.make_node(
                "Conv", inputs, [name], name, strides=[*conv.stride], pads=pads, group=group
            ),
            helper.make_node("Relu", [name], [f"{name}_relu"], f"{name}_relu"),
        ]
        at = f"{name}_relu"
    own = EMBEDDING if adapter is None else "own_embedding"
    arrays["rows"] = np.array([-1, student.embedding_size], np.int64)
    for name, value in student.classifier.named_parameters():
        arrays[f"classes_{name}"] = value.detach().cpu().numpy()
    last = [own, "classes_weight", "classes_bias"]
    nodes += [
        helper.make_node("GlobalAveragePool", [at], ["mean"], "mean"),
        helper.make_node("Reshape", ["mean", "rows"], [own], own),
        helper.make_node("Gemm", last, [SCORES], SCORES, transB=1),
    ]
    if adapter is not None:
        arrays["adapter_weight"], arrays["adapter_bias"] = adapter
        inputs = [own, "adapter_weight", "adapter_bias"]
        nodes.append(helper.make_node("Gemm", inputs, [EMBEDDING], EMBEDDING, transB=1))
    shapes = {
        INPUT: (1, PATCH_FRAMES, MEL_BANDS),
        SCORES: (student.classifier.out_features,),
        EMBEDDING: (student.embedding_size if adapter is None else len(adapter[1]),),
    }
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
        for name, shape in shapes.items()
    }
    tensors = [numpy_helper.from_array(np.array(array), name) for name, array in arrays.items()]
    ends = [values[INPUT]], [values[SCORES], values[EMBEDDING]]
    graph = helper.make_graph(nodes, "student", *ends, tensors)
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="edge-alm"
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
