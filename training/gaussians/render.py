"""Novel views: PSNR and SSIM of views that the network was not shown, a flight through the scene, and its Gaussians.

    dvlt_render photos/ --output out --heads outputs/small_gaussians/gaussians.safetensors
    dvlt_render --output out --heads outputs/small_gaussians/gaussians.safetensors --windows 50    # frozen benchmark

Of photos, the held-out ones get their cameras from a second run on all of them; the Gaussians come from the first run
alone. Leaves OUTPUT/novel_views.json, novel_views.png, fly_through.mp4 and splats.ply (3D Gaussian Splatting).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dvlt_ros import programs
from dvlt_ros.benchmark import machine, parse_count
from dvlt_ros.errors import AlignmentError, DvltError, InputError
from dvlt_ros.export.atomic import writable_folder
from dvlt_ros.export.scenes.splats import write_splats
from dvlt_ros.model import Dvlt, prepare_images
from dvlt_ros.model.weights import digest_of
from dvlt_ros.sources import open_source
from dvlt_ros.types import Cameras

from ..data.types import Views
from ..evaluation.candidates import require_device
from ..evaluation.contrasts import mean_interval
from ..synthetic import load_benchmark
from .flight import poses_along, to_bytes, write_video
from .heads import GaussianHeads, splats_of_gaussians
from .novel_views import SeenScene, likeness, rendered, scores, split_views, with_true_geometry
from .splatter import Gaussians, Splatter, choose_splatter

MOST_PHOTOS = 12  # of a folder or a video, evenly spread
SPLATS, TRAINED, ONE_COLOUR = "pixel splats", "trained heads", "one colour, the mean of what is seen"


def main(argv: Sequence[str] | None = None) -> None:
    try:
        render(parse_arguments(argv))
    except DvltError as error:
        raise SystemExit(f"dvlt_render: {error}") from error


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dvlt_render", description="Novel views of the network's Gaussians.")
    parser.add_argument("photos", nargs="?", type=Path, help="folder, video or bag; the frozen benchmark by default")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--checkpoint", default="dvlt-nano", help="of the network (default: %(default)s)")
    parser.add_argument("--heads", type=Path, help="of recipe=small_gaussians; without them, pixel splats alone")
    parser.add_argument("--held-out", type=parse_count, default=2, help="views that it is not shown (default: 2)")
    parser.add_argument("--windows", type=parse_count, default=20, help="of the benchmark (default: 20)")
    parser.add_argument("--steps", type=parse_count, metavar="K", help="the checkpoint's most by default")
    parser.add_argument("--frames", type=parse_count, default=90, help="of the video (default: 90)")
    parser.add_argument(
        "--scale", type=parse_count, default=2, help="of the video's size from the network's (default: 2)"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(argv)


@torch.no_grad()
def render(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Writes everything, prints the table and returns it."""
    writable_folder(args.output)
    device = require_device(args.device)
    network = Dvlt.from_pretrained(args.checkpoint).to(device)
    steps = args.steps or network.config.num_steps
    heads = None
    if args.heads is not None:
        heads = GaussianHeads.read(args.heads, network, digest_of(args.checkpoint)).to(device)
    splatter = choose_splatter(device)
    found: dict[str, list[dict[str, float]]] = {}
    for number, views in enumerate(windows_of(args, network, steps, device)):
        seen, held = split_views(views.images.shape[1], args.held_out)
        scene, truth = SeenScene.of(network, views.images[:, seen], steps), views.images[0, held]
        try:
            cameras = scene.cameras_of(views, seen, held)
        except AlignmentError as error:
            print(f"window {number} is left out: {error}")
            continue
        answers = answers_of(scene, heads)
        rows = {name: scores(gaussians, cameras, truth, splatter) for name, gaussians in answers.items()}
        colour = views.images[0, seen].mean((0, 2, 3)).expand(*truth.shape[-2:], 3)
        rows[ONE_COLOUR] = likeness([colour] * len(truth), truth)
        if args.photos is None:
            exact, own = answers_of(with_true_geometry(scene, views, seen), heads), cameras_in(views, held)
            rows |= {f"{name}, true geometry": scores(exact[name], own, truth, splatter) for name in exact}
        for name, row in rows.items():
            found.setdefault(name, []).append(row)
        if len(found[SPLATS]) == 1:
            show(args, scene, answers, cameras, truth, splatter)
    return tell(args, found, device)


def answers_of(scene: SeenScene, heads: GaussianHeads | None) -> dict[str, Gaussians]:
    """By name; the last one is the best that there is."""
    answers = {SPLATS: scene.gaussians(None)}
    return answers if heads is None else answers | {TRAINED: scene.gaussians(heads)}


def show(
    args: argparse.Namespace, scene: SeenScene, answers: dict[str, Gaussians], cameras: Cameras, truth: Tensor,
    splatter: Splatter,
) -> None:  # fmt: skip
    """Held-out views above their renderings, the flight, and the Gaussians as a file."""
    height, width = truth.shape[-2:]
    rows = [list(truth.movedim(1, -1))]
    for gaussians in answers.values():
        rows.append([rendered(gaussians, cameras[i], (height, width), splatter) for i in range(len(truth))])
    grid = np.vstack([np.hstack([to_bytes(picture) for picture in row]) for row in rows])
    Image.fromarray(grid).save(args.output / "novel_views.png")
    best = list(answers.values())[-1]
    write_splats(args.output / "splats.ply", splats_of_gaussians(best))
    intrinsics = scene.cameras.intrinsics[0, 0].clone()
    intrinsics[:2] *= args.scale
    size = args.scale * height, args.scale * width
    poses = poses_along(scene.cameras.world_from_cam[0], args.frames)
    flight = (to_bytes(rendered(best, Cameras(pose, intrinsics), size, splatter)) for pose in poses)
    write_video(args.output / "fly_through.mp4", flight, rate_hz=15.0)


def windows_of(args: argparse.Namespace, network: Dvlt, steps: int, device: torch.device) -> Iterator[Views]:
    """Windows (1, S, ...) with the cameras that stand for the truth."""
    if args.photos is None:
        yield from load_benchmark().batches(batch=1, device=device, count=args.windows)
        return
    source = open_source(args.photos)
    chosen = set(np.linspace(0, len(source) - 1, min(MOST_PHOTOS, len(source))).round().astype(int).tolist())
    photos = [image.view.pinhole().image for index, image in enumerate(source) if index in chosen]
    if len(photos) < args.held_out + 2:
        raise InputError(f"{args.photos}: {len(photos)} images are too few to hold out {args.held_out}")
    images = prepare_images(photos, network.config.image_size, device=device).images
    joint = SeenScene.of(network, images, steps)
    depth = joint.prediction.depth
    yield Views(
        images, joint.cameras.world_from_cam, joint.cameras.intrinsics, depth, torch.ones_like(depth, dtype=torch.bool),
        torch.zeros(1, dtype=torch.bool, device=device),
    )  # fmt: skip


def cameras_in(views: Views, held: list[int]) -> Cameras:
    """Of some views (W,), in their own world."""
    return Cameras(views.world_from_cam[0, held], views.intrinsics[0, held])


def tell(
    args: argparse.Namespace, found: dict[str, list[dict[str, float]]], device: torch.device
) -> dict[str, dict[str, float]]:
    """Prints and writes the means, and what trained heads gain, paired by window."""
    if not found:
        raise InputError("no window has novel views")
    table = {name: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for name, rows in found.items()}
    where = "the frozen benchmark" if args.photos is None else args.photos
    print(f"{machine(device)}; {len(found[SPLATS])} windows of {where}, {args.held_out} views of each held out")
    for name, row in table.items():
        print(f"  {name:<40} PSNR {row['psnr']:6.2f} dB   SSIM {row['ssim']:.3f}")
    if TRAINED in found and len(found[TRAINED]) > 1:
        gain = np.array([a["psnr"] - b["psnr"] for a, b in zip(found[TRAINED], found[SPLATS], strict=True)])
        print(f"  gain of trained heads, dB: {mean_interval(gain)}")
    (args.output / "novel_views.json").write_text(json.dumps(table, indent=2) + "\n")
    return table


if __name__ == "__main__":
    programs.run(main)
