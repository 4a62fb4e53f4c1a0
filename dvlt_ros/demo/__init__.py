"""The bundled demo sequence: one room, rendered by tools/render_demo.py."""

from pathlib import Path

DEMO_SEQUENCE = Path(__file__).parent / "room"
