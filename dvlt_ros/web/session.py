"""What one visitor has uploaded and reconstructed. No toolkit: the page asks it, tests may, too."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from ..demo import DEMO_SEQUENCE
from ..errors import DvltError, InputError
from .files import Kind, write_scene
from .photos import Photos, read_photos
from .residence import Residence
from .scene import Scene, ShowOptions

NAME_LENGTH = 60  # characters, of at most 4 bytes: file systems take 255


class Session:
    """Lives in a folder of its own that goes with it. Its methods may take their time: call them from a thread."""

    def __init__(self, residence: Residence) -> None:
        self.token = secrets.token_urlsafe(16)  # part of the addresses of its files
        self.name = ""
        self.photos: Photos | None = None
        self.scene: Scene | None = None
        self.scene_name, self.scene_number = "", 0
        self.options = ShowOptions()
        self._residence = residence
        self._folder = Path(tempfile.mkdtemp(prefix="dvlt_web_"))
        self._paths: list[Path] = []
        self._made: dict[Kind, tuple[int, ShowOptions]] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Frees folder and memory, whoever still holds the session: the toolkit keeps pages of visitors who left."""
        self._is_closed = True
        self.photos, self.scene = None, None
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_upload(self, names: Sequence[str]) -> list[Path]:
        """Where files of these names shall lie, which a browser says; those before are forgotten."""
        self.photos, self._paths = None, []
        upload = self._folder / "upload"
        shutil.rmtree(upload, ignore_errors=True)
        upload.mkdir()
        taken: list[Path] = []
        for index, name in enumerate(names):
            path = upload / safe_name(name)
            while path in taken:
                path = path.with_name(f"{index}_{path.name}")
            taken.append(path)
        return taken

    def take(self, paths: list[Path], max_views: int, name: str = "") -> Photos:
        """What to reconstruct next. Raises DataError, in which case nothing is left to reconstruct."""
        self.photos, self._paths = None, []
        self.photos, self._paths = self._read(paths, max_views), paths
        self.name = name or (paths[0].stem if len(paths) == 1 else f"{len(paths)}_photos")
        return self.photos

    def take_example(self, max_views: int) -> Photos:
        return self.take([DEMO_SEQUENCE], max_views)

    def limit(self, max_views: int) -> Photos | None:
        """The same input with another number of views."""
        return self.take(self._paths, max_views, self.name) if self._paths else None

    def reconstruct(self, model: str, reference: int, num_steps: int | None) -> Scene:
        """Raises DvltError."""
        if self.photos is None:
            raise InputError("choose some photos first")
        name = f"{self.name}_{model}"
        scene = self._residence.reconstruct(model, self.photos, reference, num_steps)
        if self._is_closed:
            raise InputError("whoever asked for this scene has left")
        self.scene, self.scene_name, self.scene_number = scene, name, self.scene_number + 1
        return scene

    def file(self, kind: Kind) -> Path:
        """The scene as the sliders show it. Raises DvltError."""
        with self._lock:
            if self.scene is None:
                raise InputError("there is no scene yet")
            path, wanted = self._folder / f"scene.{kind}", (self.scene_number, self.options)
            if self._made.get(kind) != wanted:
                write_scene(path, self.scene, self.options)
                self._made[kind] = wanted
            return path

    def _read(self, paths: list[Path], max_views: int) -> Photos:
        """What the messages say of the folder of this session is no help to anybody."""
        try:
            return read_photos(paths, max_views)
        except DvltError as error:
            raise type(error)(str(error).replace(f"{self._folder / 'upload'}/", "")) from error


def safe_name(name: str) -> str:
    """What a browser says a file is called, without folders and without what a file system could refuse."""
    plain = re.sub(r"[^\w .()+-]", "_", re.split(r"[/\\]", name)[-1])
    return plain[-NAME_LENGTH:].lstrip(".") or "upload"
