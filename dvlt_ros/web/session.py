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
from .model_host import ModelHost
from .photos import VIEWS_OF_STREAM, Photos
from .scene import Scene, ShowOptions
from .visitors.reader import Reader

READINGS = threading.Semaphore(3)  # at once, of all visitors: fewer than there are threads to wait for them
LEFT = "whoever asked for this has left"
NAME_LENGTH = 60  # characters, of at most 4 bytes: file systems take 255


class Session:
    """Lives in a folder of its own that goes with it. Its methods may take their time: call them from a thread."""

    def __init__(self, model_host: ModelHost, reader: Reader | None = None) -> None:
        self.token = secrets.token_urlsafe(16)  # part of the addresses of its files
        self.name = ""
        self.photos: Photos | None = None
        self.scene: Scene | None = None
        self.scene_name, self.scene_number = "", 0
        self.options = ShowOptions()
        self._residence = model_host
        self._reader = reader or Reader(slots=READINGS)
        self._folder = Path(tempfile.mkdtemp(prefix="dvlt_web_"))
        self._paths: list[Path] = []
        self._made: dict[Kind, tuple[int, ShowOptions]] = {}
        self._lock = threading.Lock()
        self._state = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Frees folder and memory, whoever still holds the session: the toolkit keeps pages of visitors who left."""
        with self._state:
            self._is_closed = True
            self.photos, self.scene, self._paths = None, None, []
        self._reader.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def upload_bytes(self) -> int:
        """On disk now."""
        files = (path for path in self._folder.rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    def new_upload(self, names: Sequence[str]) -> list[Path]:
        """Where files of these names shall lie, which a browser says; those before are forgotten."""
        if self._is_closed:
            raise InputError(LEFT)
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

    def take(self, paths: list[Path], max_views: int | None = None, name: str = "") -> Photos:
        """What to reconstruct next. Raises DataError, in which case nothing is left to reconstruct."""
        self.photos, self._paths = None, []
        photos = self._read(paths, max_views)
        with self._state:
            if self._is_closed:  # an upload that went on may have made the folder again
                shutil.rmtree(self._folder, ignore_errors=True)
                raise InputError(LEFT)
            self.photos, self._paths = photos, paths
        self.name = name or (paths[0].stem if len(paths) == 1 else f"{len(paths)}_photos")
        return photos

    def take_example(self, max_views: int | None = None) -> Photos:
        return self.take([DEMO_SEQUENCE], max_views or VIEWS_OF_STREAM)

    def limit(self, max_views: int | None) -> Photos | None:
        """The same input with another number of views."""
        return self.take(self._paths, max_views, self.name) if self._paths else None

    def reconstruct(self, model: str, reference: int, num_steps: int | None, references: int = 1) -> Scene:
        """Raises DvltError."""
        if self.photos is None:
            raise InputError("choose some photos first")
        name = f"{self.name}_{safe_name(model.replace('/', '_'))}"
        scene = self._residence.reconstruct(model, self.photos, reference, num_steps, references)
        with self._state:
            if self._is_closed:
                raise InputError(LEFT)
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

    def _read(self, paths: list[Path], max_views: int | None) -> Photos:
        """What the messages say of the folder of this session is no help to anybody."""
        try:
            return self._reader.read(paths, max_views)
        except DvltError as error:
            if self._is_closed:
                shutil.rmtree(self._folder, ignore_errors=True)
            raise type(error)(str(error).replace(f"{self._folder / 'upload'}/", "")) from error


def safe_name(name: str) -> str:
    """What a browser says a file is called, without folders and without what a file system could refuse."""
    plain = re.sub(r"[^\w .()+-]", "_", re.split(r"[/\\]", name)[-1])
    return plain[-NAME_LENGTH:].lstrip(".") or "upload"
