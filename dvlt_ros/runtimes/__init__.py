"""The network in other runtimes than PyTorch.

In: a `Dvlt`. Out: a folder of ONNX graphs, one per stage, for one image size and any number of views and steps
(`export_graphs`); and `OnnxDvlt`, which runs such a folder with the stages of `Dvlt`. The packages onnx, onnxscript and
onnxruntime are an extra, imported on use.
"""

from .graphs import export_graphs
from .manifest import GraphPrecision
from .onnx_dvlt import OnnxDvlt, Runtime

__all__ = ["GraphPrecision", "OnnxDvlt", "Runtime", "export_graphs"]
