"""Photos, a video or a bag as a 3D scene, in the browser or, with --offline, as files.

python -m dvlt_ros.web                                                    # http://localhost:7860
python -m dvlt_ros.web --offline --input room/ walk.mp4 --models dvlt --output-root demo_outputs
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import programs
from ..backends import DEFAULT_MODEL, is_installed, model_card, model_names
from ..errors import ConfigError, DvltError
from .files import VIEWED, WRITERS
from .model_host import ModelHost
from .offline import Job, report, run_job
from .photos import VIEWS_OF_STREAM
from .scene import ShowOptions

PORT = 7860


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    for stream in (sys.stdout, sys.stderr):  # paths need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        model_host = ModelHost(args.device)
        if not args.offline:
            serve(args, model_host)
            return
        failures = run_job(job(args), model_host, print)
    except DvltError as error:
        sys.exit(f"dvlt_ros.web: {error}")
    if failures:
        sys.exit(report(failures))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dvlt_web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shown = ShowOptions()
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    page = parser.add_argument_group("the page")
    page.add_argument("--host", default="127.0.0.1", help="0.0.0.0: others in the network may come, too")
    page.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    page.add_argument("--no-open", action="store_true", help="do not open a browser")
    page.add_argument(
        "--weights", nargs="+", default=[], metavar="CHECKPOINT",
        help="of Déjà View, that visitors can choose beside the embedded and the published ones",
    )  # fmt: skip
    offline = parser.add_argument_group("files instead of the page")
    offline.add_argument("--offline", action="store_true", help="write OUTPUT_ROOT/<sequence>/<model>.<kind>")
    offline.add_argument("--input", type=Path, nargs="+", default=[], help="folders of images, videos, bags, images")
    offline.add_argument("--models", default=DEFAULT_MODEL, help="names with commas between, or all (default: dvlt)")
    offline.add_argument("--output-root", type=Path, default=Path("demo_outputs"), help="default: %(default)s")
    offline.add_argument(
        "--kinds", nargs="+", choices=WRITERS, default=VIEWED, metavar="KIND",
        help=f"of {', '.join(WRITERS)} (default: {' '.join(VIEWED)})",
    )  # fmt: skip
    offline.add_argument("--overwrite", action="store_true", help="also what exists; else it is skipped")
    offline.add_argument("--steps", type=int, metavar="K", help="the models' own by default")
    offline.add_argument(
        "--references",
        type=int,
        default=1,
        metavar="M",
        help="views that are the reference in turn (default: 1)",
    )
    offline.add_argument(
        "--max-views", type=int, help=f"of each input (default: all photos, {VIEWS_OF_STREAM} of a video)"
    )
    offline.add_argument("--max-points", type=int, default=shown.max_points, help="default: %(default)s")
    offline.add_argument("--percentile", type=float, help="of confidence, below: left out (default: the checkpoint's)")
    offline.add_argument("--frustum", type=float, default=shown.frustum_percent, help="in percent of the scene")
    return parser.parse_args(argv)


def job(args: argparse.Namespace) -> Job:
    """Raises ConfigError: nothing to do, or a model that does not exist."""
    if not args.input:
        raise ConfigError("--offline needs --input: folders of images, videos, bags or images")
    installed = [name for name in model_names() if is_installed(name)]
    names = installed if args.models == "all" else [name.strip() for name in args.models.split(",")]
    for name in names:
        model_card(name)
    options = ShowOptions(args.max_points, args.percentile, args.frustum)
    inputs = tuple(dict.fromkeys(args.input))
    return Job(
        inputs, tuple(names), args.output_root, options, args.max_views, args.steps, args.references, args.overwrite,
        tuple(args.kinds),
    )  # fmt: skip


def serve(args: argparse.Namespace, model_host: ModelHost) -> None:
    try:
        from .server import run_page
    except ImportError as error:
        raise ConfigError(f"the page needs NiceGUI ({error}): pip install 'nicegui>=3.18,<4'") from error
    run_page(model_host, args.host, args.port, not args.no_open, args.weights)


if __name__ == "__main__":
    programs.run(main)
