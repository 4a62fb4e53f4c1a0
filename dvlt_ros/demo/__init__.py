"""The bundled demo sequence, one room, and its truth: rendered by tools/render_demo.py."""

from pathlib import Path

DEMO_SEQUENCE = Path(__file__).parent / "room"
DEMO_TRUTH = Path(__file__).parent / "room_truth.npz"
