"""Nothing decodes an image but schemas/images.py and, of what a server sends, pipelines/images/.

The tree's syntax is read, not its text: a name is followed through imports and plain assignments to what it stands for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    ("schemas/images.py", "PIL.Image.open"),
    ("pipelines/images/header.py", "PIL.Image.open"),  # a server's bytes, read by a metered reader
    ("pipelines/images/decode.py", "cv2.imdecode"),  # a server's JPEG, judged by its header before
    ("pipelines/images/avif.py", "PIL.AvifImagePlugin"),  # told to use one thread; header.py opens the file
    ("pipelines/images/avif.py", "PIL.AvifImagePlugin.DEFAULT_MAX_THREADS"),
    ("benchmarks/download.py", "cv2.imdecode"),  # the peer whose time is taken, on the benchmark's own photos
}
DECODERS = re.compile(
    r"""
    PIL\.Image\.(open|frombytes|frombuffer|core|init|preinit|OPEN|register_\w+|\*)
    | PIL\.(?!Image(Chops|Cms|Color|Draw|Enhance|Filter|Font|Ops)?(\.|$)|UnidentifiedImageError$|features).*
    | cv2\.(im(read|decode|count|\*)\w*|haveImageReader|VideoCapture|videoio\w*|\*|cv2)(\..*)?
    | torchvision\.(io|datasets|\*)(\..*)?
    | (torchcodec|tensorflow|jax|imageio|skimage|matplotlib|datasets|webdataset|wand|pyvips|turbojpeg|simplejpeg
      | jpeg4py|nvjpeg|nvidia|kornia|av|decord|rawpy|tifffile|pillow_heif|pillow_avif|pdf2image|cairosvg)(\..*)?
    | transformers\.image_utils(\..*)?
    | scipy\.(misc|ndimage)\.imread
    """,
    re.VERBOSE,
)
"""What decodes, or hands out something that does; of Pillow all but what draws and changes images."""
PEERS = ("webdataset",)
"""Of these, what benchmarks may name: clipsieve's times are set next to theirs."""


def decoders_in(source: str) -> Iterator[str]:
    """The dotted name of each decoder that ``source`` names."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
                yield from _if_decoder(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield from _if_decoder(f"{node.module}.{alias.name}")
    for _ in range(2):  # an alias of an alias
        for node in nodes:
            if isinstance(node, ast.Assign) and (meant := _meant(node.value, names)):
                names.update({target.id: meant for target in node.targets if isinstance(target, ast.Name)})
    for node in nodes:
        if isinstance(node, (ast.Attribute, ast.Call)) and (meant := _meant(node, names)):
            yield from _if_decoder(meant)


def _meant(node: ast.AST, names: dict[str, str]) -> str | None:
    """The dotted name that an expression stands for, where it is one."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _meant(node.value, names)
        return f"{owner}.{node.attr}" if owner else None
    if isinstance(node, ast.Call) and node.args:
        last = node.args[-1]
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if isinstance(last, ast.Constant) and isinstance(last.value, str):
            if called in ("import_module", "__import__"):
                return last.value
            if called == "getattr" and (owner := _meant(node.args[0], names)):
                return f"{owner}.{last.value}"
    return None


def _if_decoder(name: str) -> Iterator[str]:
    if DECODERS.fullmatch(name):
        yield name


def product_files() -> list[Path]:
    """Every Python file of the tree but the tests, hidden folders left out."""
    tops = [path for path in ROOT.iterdir() if path.name[0] != "." and path.name not in ("tests", "build", "dist")]
    found = [path for top in tops for path in (top.rglob("*.py") if top.is_dir() else [top]) if path.suffix == ".py"]
    return [path.relative_to(ROOT) for path in found]


def test_nothing_else_in_the_tree_decodes() -> None:
    files = product_files()
    assert len(files) > 200 and Path("training/data/images.py") in files
    found = {(str(path), name) for path in files for name in decoders_in((ROOT / path).read_text())}
    peers = {(path, name) for path, name in found if path.startswith("benchmarks/") and name.startswith(PEERS)}
    assert found - peers == ALLOWED


def test_pillow_is_always_told_the_formats() -> None:
    for path, name in ALLOWED:
        if name == "PIL.Image.open":
            calls = [node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Call)]
            opened = [call for call in calls if getattr(call.func, "attr", "") == "open"]
            assert opened and all("formats" in {keyword.arg for keyword in call.keywords} for call in opened)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from PIL import Image\nImage.open(x)", "PIL.Image.open"),
        ("from PIL import Image as X\nwith X.open(x) as y: pass", "PIL.Image.open"),
        ("import PIL.Image\nPIL.Image.open(x)", "PIL.Image.open"),
        ("import PIL.Image as I\nmap(I.open, paths)", "PIL.Image.open"),
        ("from PIL.Image import open as load\nload(x)", "PIL.Image.open"),
        ("from PIL.Image import *", "PIL.Image.*"),
        ("def f():\n    from PIL import Image\n    return Image.open(x)", "PIL.Image.open"),
        ("from PIL import Image\nalias = Image\nother = alias\nother.open(x)", "PIL.Image.open"),
        ("from PIL import Image\ngetattr(Image, 'open')(x)", "PIL.Image.open"),
        ("import importlib\nimportlib.import_module('PIL.Image').open(x)", "PIL.Image.open"),
        ("from PIL import Image\nImage.frombytes('RGB', s, x, 'jpeg', 'RGB', '')", "PIL.Image.frombytes"),
        ("from PIL import ImageFile\np = ImageFile.Parser()", "PIL.ImageFile"),
        ("from PIL.JpegImagePlugin import JpegImageFile", "PIL.JpegImagePlugin.JpegImageFile"),
        ("import cv2\ncv2.imdecode(x, 1)", "cv2.imdecode"),
        ("import cv2 as c\nc.imread(x)", "cv2.imread"),
        ("from cv2 import imreadmulti", "cv2.imreadmulti"),
        ("import cv2\nread = cv2.imdecodemulti", "cv2.imdecodemulti"),
        ("from torchvision.io import decode_jpeg", "torchvision.io.decode_jpeg"),
        ("import torchvision\ntorchvision.io.read_image(x)", "torchvision.io.read_image"),
        ("from torchvision import io", "torchvision.io"),
        ("from torchvision.datasets.folder import default_loader", "torchvision.datasets.folder.default_loader"),
        ("from torchvision.datasets import ImageFolder", "torchvision.datasets.ImageFolder"),
        ("import imageio.v3 as iio\niio.imread(x)", "imageio.v3.imread"),
        ("from datasets import Image", "datasets.Image"),
        ("import skimage.io", "skimage.io"),
        ("import webdataset", "webdataset"),
        ("from transformers.image_utils import load_image", "transformers.image_utils.load_image"),
    ],
)
def test_a_decoder_is_seen_under_whatever_name(source: str, name: str) -> None:
    assert name in set(decoders_in(source))


@pytest.mark.parametrize(
    "source",
    [
        "from PIL import Image, ImageOps\nImage.fromarray(x).resize((2, 2), Image.Resampling.BOX)",
        "import cv2\ncv2.resize(x, (1, 1))\ncv2.imencode('.jpg', x)",
        "from torchvision.transforms import Compose",
        "from clipsieve.evaluation.datasets.read import read_task\nread_task(x)",
        "with path.open() as stream: pass\nopen(path)",
    ],
)
def test_what_decodes_nothing_is_left_alone(source: str) -> None:
    assert not list(decoders_in(source))
