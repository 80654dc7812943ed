"""The files that a profile writes, checked before minutes are spent on them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from diagnostics.contract.errors import BlobwatchError
from trainer.config import ConfigLike, ExperimentConfig, config_path


def report_path(output_path: str | Path | None, config: ExperimentConfig) -> Path:
    """Return where the report goes: as asked, or by the network's shape in the working directory.

    Raises:
        BlobwatchError: The name would be that of another file of the report.
    """
    if output_path is None:
        return Path(f"batch_profile_d{config.data.d}_h{config.model.hidden_size}.md")
    path = Path(output_path)
    if not path.name or path.suffix.lower() not in ("", ".md", ".markdown", ".txt"):
        raise BlobwatchError(
            f"{path}: the report is Markdown; give a name such as report.md (JSON and pictures"
            " go beside it)"
        )
    return path


def check_outputs(report: Sequence[Path], source: ConfigLike | None, chosen: Path | None) -> None:
    """Say now, not after minutes of trials, that a file cannot be written, or must not be.

    Args:
        report: The files of the report.
        source: What the configuration was read from; only a file can be replaced by mistake.
        chosen: Where the chosen configuration will be written.

    Raises:
        BlobwatchError: See the message.
    """
    for path in report if chosen is None else [chosen, *report]:
        _check_folder(path)
    read = config_path(source) if isinstance(source, str | Path) else None
    for other, what in ((read, "the configuration"), (chosen, "--write-config")):
        if other is not None and other.resolve() in [path.resolve() for path in report]:
            raise BlobwatchError(
                f"{other}: is both {what} and a file of the report"
                f" ({', '.join(path.name for path in report)}); choose another --output"
                " (output_path)"
            )
    if read is not None and chosen is not None and read.resolve() == chosen.resolve():
        raise BlobwatchError(
            f"{chosen}: --write-config would replace the configuration that is read; choose"
            " another file"
        )


def _check_folder(path: Path) -> None:
    if path.is_dir():
        raise BlobwatchError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise BlobwatchError(f"{path}: there is no folder {path.parent}; create it first")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise BlobwatchError(
            f"{path}: the folder {path.parent} cannot be written ({error.strerror}); choose another"
        ) from None
