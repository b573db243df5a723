"""``manymodal samples``: the demo's media as files, to try things with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import DeployError

__all__ = ["samples"]


def samples(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to; made when it is missing.")
    ] = Path("samples"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write sample photos, a recording and a video into a folder. Files that lie there are left alone.

    The photos come with scikit-image, the speech with the platform; all may be used freely. The tutorials use them.
    """
    from deploy.demo.photos import PHOTOS, SIGN_LINES
    from deploy.demo.samples import SHOWN_IN_VIDEO, write_samples

    try:
        written = write_samples(folder)
    except OSError as error:
        raise DeployError(f"'{folder}' cannot be written: {error.strerror or error}.") from None
    shows = {photo.name: photo.shows for photo in PHOTOS} | {"sign": f"a sign: {', '.join(SIGN_LINES)}"}
    files = [(path, shows[name]) for name, path in written.pictures.items()]
    files.append((written.speech, "15 s of speech: opening hours of a museum"))
    seconds = written.stretches[-1].end_seconds
    files.append((written.video, f"{seconds:.0f} s of video with speech: {', '.join(SHOWN_IN_VIDEO)}"))
    if as_json:
        rows = [{"path": str(path), "shows": what, "bytes": path.stat().st_size} for path, what in files]
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max(len(str(path)) for path, _ in files)
    for path, what in files:
        typer.echo(f"{path!s:<{width}}  {what}")
