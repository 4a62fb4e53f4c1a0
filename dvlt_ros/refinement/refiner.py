"""A window's poses, intrinsics and depth, corrected by what its tracks say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .adjustment import adjust
from .degeneracy import degenerate
from .observations import OUTLIER, RAYLEIGH_MEDIAN, Observations, parallax, sampled
from .problem import Problem, Solution
from .rotations import inverse
from .start import Start, essential_starts, grown
from .tracks import TrackStore, Tracks, normalised
from .window import NetworkAnswer, PosePrior, Refined, Report, WindowFrame

MAX_POINTS = 250
ROUNDS = 12
...
