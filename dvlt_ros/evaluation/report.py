"""The errors as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from .maps import MapError
from .trajectory import ALIGNMENTS, Alignment, Evaluation

NAMES: dict[Alignment, str] = {"se3": "SE(3)", "sim3": "Sim(3)"}


def as_json(evaluation: Evaluation, map_error: MapError | None) -> str:
    """Units are part of the names; null: could not be measured."""
    figures = asdict(evaluation) | {"map": None if map_error is None else asdict(map_error)}
    return json.dumps(figures, indent=2, allow_nan=False, ensure_ascii=False)


def table(evaluation: Evaluation, map_error: MapError | None) -> str:
    e = evaluation
    lines = [
        f"estimate  {e.estimate}",
        f"truth     {e.truth}",
        f"matched   {e.matched_poses} of {e.estimated_poses} estimated and {e.true_poses} true poses, "
        f"at most {1e3 * e.largest_time_difference_s:.1f} ms apart",
        f"path      {e.path_m:.3f} m",
        "",
        f"{'ATE':<24}{'RMSE':>12}{'median':>12}{'max':>12}",
    ]
    for name in ALIGNMENTS:
        for unit, spread in (("m", e.ate_m[name]), ("% of the path", e.ate_percent[name])):
            lines.append(_row(f"{NAMES[name]}, {unit}", spread.rmse, spread.median, spread.max))
    lines.append(_row("rotation, deg", e.rotation_deg.rmse, e.rotation_deg.median, e.rotation_deg.max))
    lines += ["", f"{'RPE over':<24}" + "".join(f"{head:>12}" for head in ("SE(3), %", "Sim(3), %", "deg/m", "pairs"))]
    for row in e.rpe:
        if row.translation_percent is None or row.rotation_deg_per_m is None:
            lines.append(f"{f'{row.length_m:g} m':<24}{'no section of this length between poses':>12}")
        else:
            figures = (*(row.translation_percent[name] for name in ALIGNMENTS), row.rotation_deg_per_m)
            lines.append(_row(f"{row.length_m:g} m", *figures) + f"{row.pairs:>12}")
    lines += ["", *_scale_lines(e), *([] if map_error is None else ["", *_map_lines(map_error)])]
    return "\n".join(lines)


def _row(name: str, *figures: float) -> str:
    return f"{name:<24}" + "".join(f"{figure:12.4f}" for figure in figures)


def _scale_lines(evaluation: Evaluation) -> Iterator[str]:
    scale = evaluation.scale
    yield f"scale     {scale.overall:.5f} estimated metres per true metre"
    if scale.first is None or scale.last is None or scale.drift_percent is None:
        yield "drift     unknown: fewer than two sections of the path have three moving poses"
        return
    known = [section.scale for section in scale.sections if section.scale is not None]
    yield (
        f"drift     {scale.drift_percent:+.2f} %: {scale.first:.5f} in the first, {scale.last:.5f} in the last of "
        f"{len(known)} sections ({min(known):.5f} to {max(known):.5f})"
    )


def _map_lines(error: MapError) -> Iterator[str]:
    title = f"map, {NAMES[error.alignment]}"
    yield f"{title:<24}" + "".join(f"{head:>12}" for head in ("mean, m", "median, m", f"< {error.threshold_m:g} m, %"))
    for what, distances in (("accuracy", error.accuracy), ("completeness", error.completeness)):
        yield _row(what, distances.mean_m, distances.median_m, 100 * distances.share_within)
