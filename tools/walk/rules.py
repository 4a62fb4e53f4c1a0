"""What is not run as it stands: shortened where it would take minutes, left out where something is not there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .commands import Command


@dataclass(frozen=True)
class Rule:
    """For commands that ``pattern`` is found in, or, with ``page``, for all of that page."""

    pattern: str
    reason: str
    appended: str | None = None  # options that shorten it; None: it is not run
    page: str = ""

    def covers(self, command: Command) -> bool:
        return command.page.startswith(self.page) and re.search(self.pattern, command.runs) is not None


LEFT_OUT = (
    Rule("", "how figures of the past were made: hours", page="docs/lab/"),
    Rule(r"^make |^source ", "makes or enters the environment that this runs in; CI runs test, lint and docs"),
    Rule(r"^(rosdep|colcon|ros2) ", "needs a ROS 2 distribution; test/package checks names, arguments and the build"),
    Rule(r"^docker ", "needs Docker; test/package checks files, services and arguments"),
    Rule(r"^pip install ", "changes the environment; test/package checks extras and versions"),
    Rule(r"nvidia/dvlt", "downloads weights that are for non-commercial use only"),
    Rule(r"mapanything|da3-base|vggt", "needs packages and weights of other models; test/backends has stand-ins"),
    Rule(r"^dvlt_(prepare|evaluate_benchmarks) ", "needs public data sets; test/training has small ones"),
    Rule(r"^dvlt_merge_maps ", "needs two saved maps of one place; test/mapping/test_merging.py has them"),
    Rule(r"^rerun ", "opens a window"),
    Rule(r"^dvlt_(play_camera|reconstruct) ", "waits for a node, or is one; test/ros plays to one"),
    Rule(r"^dvlt_export |--model-runtime", "takes a minute of two cores; test/runtimes exports graphs and runs them"),
    Rule(r"^python3 benchmarks/overfit.py", "takes minutes; its options are those of dvlt_train"),
)
SHORTENED = (
    Rule(
        r"recipe=(nano|small)_finetune", "nine minutes of a core",
        "total_minutes=0.001 data.synthetic_windows=1 shapes.views=[2,2] shapes.images_per_step=2",
    ),
    Rule(
        r"recipe=(nano|nano_cpu|small|small_depth|small_cpu(_\w+)?|stage1|stage2)( |$)",
        "hours, or a GPU: its configuration is composed", "--cfg job",
    ),
    Rule(
        r"recipe=small_gaussians", "ten minutes of a core",
        "total_minutes=0.001 data.synthetic_windows=1 shapes.image_size=56",
    ),
    Rule(r"^dvlt_render ", "minutes", "--windows 1 --frames 2 --scale 1"),
    Rule(r"^dvlt_evaluate ", "all windows take minutes", "--windows 2 --skip-one-view --device cpu"),
    Rule(r"^dvlt_probe ", "takes minutes", "--windows 2 2 --updates 2 --seeds 1 --device cpu"),
)  # fmt: skip
# Gates say with their exit status that a checkpoint is worse, which one that was trained for seconds may be.
MAY_END_WITH_1 = Rule(r"^dvlt_evaluate .*--gate ", "gate: ")


def rule_for(command: Command, rules: tuple[Rule, ...]) -> Rule | None:
    return next((rule for rule in rules if rule.covers(command)), None)


def idle_rules(commands: list[Command]) -> list[Rule]:
    """Those that no command needs any more."""
    kept = [command for command in commands if rule_for(command, LEFT_OUT) is None]
    used = {rule_for(command, LEFT_OUT) for command in commands} | {rule_for(command, SHORTENED) for command in kept}
    return [rule for rule in (*LEFT_OUT, *SHORTENED) if rule not in used]
