"""The movie of a run: its weight pairs, epoch by epoch, in one window and on one colour scale."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from diagnostics.analysis.saved_weights import load_weights
from diagnostics.analysis.weights_files import saved_epochs
from diagnostics.blobs import find_blobs
from diagnostics.contract.atomic import open_atomic, temporary_name
from diagnostics.contract.density import build_density
from diagnostics.contract.density_archive import ArchivedGrid, read_archive
from diagnostics.contract.errors import BlobwatchError

Frame = NDArray[np.uint8]
MOVIE_NAME: Final = "formation.gif"
DPI: Final = 100
MAX_FRAMES: Final = 300
LAST_FRAME_S: Final = 2.5
DEFAULT_FPS: Final = 4.0


def make_movie(run: Path, output: Path | None = None, fps: float = DEFAULT_FPS) -> Path:
    """Make the movie of a run from its archived grids, or else from its saved epochs.

    Args:
        run: The run's folder.
        output: File to write, ``.gif`` or ``.mp4``; None for ``formation.gif`` in the folder.
        fps: Epochs per second.

    Returns:
        The file written.

    Raises:
        BlobwatchError: There are no grids, the format is none of the two, or ffmpeg is missing.
    """
    output = output or run / MOVIE_NAME
    check_output(output, fps)
    grids = read_archive(run) if run.is_dir() else []
    grids = grids or _grids_of_checkpoints(run)
    if not grids:
        raise BlobwatchError(
            f"{run}: no density grids are kept here; name density_archive in the configuration's"
            " diagnostics (or leave them null), or set training.save_epoch_checkpoints, and train"
            " again"
        )
    write_movie(grids, output, fps=fps, name=run.resolve().name)
    return output


def check_output(output: Path, fps: float) -> None:
    """Refuse, before any work is done, what cannot be written.

    Raises:
        BlobwatchError: See `make_movie`.
    """
    if output.suffix.lower() not in (".gif", ".mp4"):
        raise BlobwatchError(f"{output}: a movie is a .gif or an .mp4 file")
    if output.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise BlobwatchError(f"{output}: MP4 needs ffmpeg, which is not installed; try a .gif")
    if not 0.1 <= fps <= 50:
        raise BlobwatchError(f"--fps {fps:g}: accepted are 0.1 to 50 epochs per second")
    if not output.parent.is_dir():
        raise BlobwatchError(f"{output.parent}: no such folder")


def write_movie(
    grids: Sequence[ArchivedGrid], output: Path, *, fps: float = DEFAULT_FPS, name: str = ""
) -> None:
    """Draw every grid and write the movie atomically; of many grids, evenly spaced ones.

    Args:
        grids: The grids in the order of their epochs, at least one.
        output: File ending in ``.gif`` or ``.mp4``.
        fps: Frames per second; the last one stays for 2.5 s.
        name: Name of the run.

    Raises:
        BlobwatchError: The file cannot be written.
    """
    if len(grids) > MAX_FRAMES:
        chosen = np.linspace(0, len(grids) - 1, MAX_FRAMES).round().astype(int)
        grids = [grids[k] for k in chosen.tolist()]
    write = _write_gif if output.suffix.lower() == ".gif" else _write_mp4
    try:
        write(draw_frames(grids, name), output, fps)
    except OSError as error:
        raise BlobwatchError(f"{output}: cannot write: {error.strerror or error}") from None


def draw_frames(grids: Sequence[ArchivedGrid], name: str = "") -> Iterator[Frame]:
    """Yield the picture of each grid, uint8 of shape (height, width, 3)."""
    from diagnostics.contract.density_view import view_of
    from diagnostics.draw.pairs import draw_pairs
    from diagnostics.draw.paper import pixels

    view = view_of([archived.grid for archived in grids])
    for archived in grids:
        structure = find_blobs(archived.grid)
        figure = draw_pairs(archived.grid, structure, epoch=archived.epoch, name=name, view=view)
        figure.set_dpi(DPI)
        yield pixels(figure)


def _grids_of_checkpoints(run: Path) -> list[ArchivedGrid]:
    grids = []
    for file in saved_epochs(run):
        weights = load_weights(file)
        grids.append(ArchivedGrid(file.epoch or 0, build_density(weights.encoder, weights.decoder)))
    return grids


def _write_gif(frames: Iterable[Frame], output: Path, fps: float) -> None:
    from PIL import Image

    images = [_with_palette(Image.fromarray(frame)) for frame in frames]
    milliseconds = [round(1000 / fps)] * len(images)
    milliseconds[-1] = round(1000 * LAST_FRAME_S)
    with open_atomic(output, sync=False) as file:
        images[0].save(
            file, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
        )


def _with_palette(image: Any) -> Any:
    """Reduce to 256 colours without dithering, which would flicker from frame to frame."""
    from PIL import Image

    return image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _write_mp4(frames: Iterable[Frame], output: Path, fps: float) -> None:
    """Send raw frames to ffmpeg; its messages are shown only if it fails."""
    frames = iter(frames)
    first = last = next(frames)
    height, width = first.shape[:2]
    temporary = output.with_name(f"{temporary_name(output.name)}.mp4")
    command = [
        "ffmpeg", "-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt",
        "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-", "-an", "-c:v", "libx264",
        "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart", os.fspath(temporary),
    ]  # fmt: skip
    try:
        # A file for its messages: a pipe that nobody reads could block it.
        with tempfile.TemporaryFile() as messages:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages
            )
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(first.tobytes())
                for last in frames:
                    pipe.write(last.tobytes())
                for _ in range(round(fps * LAST_FRAME_S)):
                    pipe.write(last.tobytes())
            if process.wait() != 0:
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip().splitlines()
                raise BlobwatchError(
                    f"{output}: ffmpeg failed: {(said or ['no reason given'])[-1]}"
                )
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
