"""The published implementation beside this one, in turns, on the same weights: time, memory, agreement.

    python benchmarks/published.py --published ~/dvlt                          # seeded weights
    python benchmarks/published.py --published ~/dvlt --weights nvidia/dvlt --views 8 24 49 --size 504x378

``--published`` is your own checkout of the authors' code, with what it needs installed; it is not part of this project.
Its public interface is used: ``DVLT(img_size=...)``, ``load_pretrained(path, strict=True)``,
``setup_test(accelerator)`` and ``predict(batch, accelerator)``. K is that of the checkpoint, 16. ours: every view
computed anew; the fast path where it is the default (a CPU), the plain network under autocast on a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing.paths import interleaved
from torch import Tensor

from dvlt_ros.benchmark import machine, parse_count, parse_device, parse_size, peak_memory_mib, reset_peak_memory
from dvlt_ros.errors import DvltError, InputError
from dvlt_ros.fast import FastDvlt
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.model.weights import locate_checkpoint
from dvlt_ros.runtimes.graphs import demo_pictures


@dataclass(frozen=True)
class Accelerator:
    """What the published code asks of accelerate's class."""

    device: torch.device
    mixed_precision: str = "bf16"
    is_main_process: bool = True

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 on a GPU; a CPU computes in float32, as ours does there."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def unwrap_model(self, model: Any) -> Any:
        return model


@dataclass(frozen=True)
class Row:
    """Medians in ms, peaks in MiB where known; ``error``: relative L2 of depth, after one factor."""

    views: int
    size: str
    published_ms: float
    ours_ms: float
    published_mib: float | None
    ours_mib: float | None
    error: float

    def __str__(self) -> str:
        memory = " ".join(
            f"{'-' if mib is None else format(mib, '.0f'):>9s}" for mib in (self.published_mib, self.ours_mib)
        )
        return (
            f"{self.views:5d} {self.size:>9s} {self.published_ms:10.1f} {self.ours_ms:8.1f}"
            f" {self.published_ms / self.ours_ms:6.2f} {memory} {self.error:9.1e}"
        )


HEADER = (
    "views      size  published     ours   gain  published      ours     error\n"
    + 11 * " "
    + ("           ms       ms              MiB       MiB")
)


def published_class(checkout: Path) -> Any:
    """The class DVLT of a checkout, which is found by its name.

    Raises:
        InputError: no such folder, or no module there that has the class and can be imported.
    """
    if not checkout.is_dir():
        raise InputError(f"{checkout}: not a folder")
    roots = [checkout, checkout / "src"]
    modules = [
        (root, path.relative_to(root).with_suffix(""))
        for root in roots
        for path in sorted(root.rglob("*.py"))
        if re.search(r"^class DVLT\b", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    ]
    problems: list[str] = []
    for root, module in modules:
        sys.path.insert(0, str(root))
        try:
            return importlib.import_module(".".join(module.parts)).DVLT
        except Exception as error:  # of somebody else's code, whatever it is
            problems.append(f"{module}: {type(error).__name__}: {error}")
        finally:
            sys.path.remove(str(root))
    raise InputError(f"{checkout}: no class DVLT that can be imported; {'; '.join(problems) or 'no module has it'}")


def load(checkout: Path, weights: Path, image_size: int, accelerator: Accelerator) -> Any:
    network = published_class(checkout)(img_size=image_size)
    network.load_pretrained(str(weights), strict=True)
    network.to(accelerator.device).eval()
    network.setup_test(accelerator)
    return network


def depth_of(prediction: Any) -> Tensor:
    """(B, S, H, W) of a published prediction; raises InputError: it has none."""
    found = prediction.get("depths") if isinstance(prediction, Mapping) else getattr(prediction, "depths", None)
    if not isinstance(found, Tensor):
        raise InputError(f"the published prediction has no tensor `depths`, it is {type(prediction).__name__}")
    return found.squeeze(-1) if found.dim() == 5 else found


def compare(published: Any, ours: Any, images: Tensor, accelerator: Accelerator, repeats: int) -> Row:
    """Both in turns on the same images (1, S, 3, H, W)."""
    device = accelerator.device

    def theirs() -> Any:
        return published.predict({"images": images}, accelerator)

    def mine() -> Any:
        with accelerator.autocast() if isinstance(ours, Dvlt) else contextlib.nullcontext():
            return ours(images)

    def peak_mib(function: Callable[[], Any]) -> float | None:
        reset_peak_memory(device)
        function()
        return peak_memory_mib(device)

    published_mib, ours_mib = peak_mib(theirs), peak_mib(mine)
    found, expected = mine().depth.float(), depth_of(theirs()).float()
    factor = (found * expected).sum() / found.square().sum()  # predictions may be divided by different scales
    error = float(torch.linalg.vector_norm(factor * found - expected) / torch.linalg.vector_norm(expected))
    times = interleaved({"published": theirs, "ours": mine}, device, repeats)
    views, (height, width) = images.shape[1], images.shape[-2:]
    published_ms, ours_ms = statistics.median(times["published"]), statistics.median(times["ours"])
    return Row(views, f"{width}x{height}", published_ms, ours_ms, published_mib, ours_mib, error)


def run(args: argparse.Namespace) -> None:
    accelerator = Accelerator(args.device)
    with tempfile.TemporaryDirectory() as folder:
        if args.weights:
            path = locate_checkpoint(args.weights)
        else:
            torch.manual_seed(0)
            Dvlt(DvltConfig()).save_pretrained(folder)
            path = locate_checkpoint(folder)
        published = load(args.published, path, max(args.size), accelerator)
        model = Dvlt.from_pretrained(path).to(args.device)
    ours = model if args.device.type == "cuda" else FastDvlt(model)
    print(f"{machine(args.device)}\n{HEADER}", flush=True)
    with torch.inference_mode():
        for views in args.views:
            images = demo_pictures(views, *args.size).to(args.device)
            print(compare(published, ours, images, accelerator, args.repeats), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, required=True, help="your checkout of the authors' code")
    parser.add_argument("--weights", default="", help="directory, .safetensors file or Hugging Face id; empty: seeded")
    parser.add_argument("--views", type=parse_count, nargs="+", default=[8, 16, 24, 49] if on_gpu else [4])
    parser.add_argument("--size", type=parse_size, default=(504, 378) if on_gpu else (168, 126))
    parser.add_argument("--device", type=parse_device, default="cuda" if on_gpu else "cpu")
    parser.add_argument("--threads", type=parse_count, help="of PyTorch on a CPU; all by default")
    parser.add_argument("--repeats", type=parse_count, default=20 if on_gpu else 5)
    args = parser.parse_args(argv)
    args.device = torch.device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        run(args)
    except DvltError as error:
        sys.exit(f"published: {error}")


if __name__ == "__main__":
    main()
