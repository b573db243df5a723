"""Run fuzz targets under atheris (libFuzzer, guided by coverage): ``python -m fuzz.run``, see ``make fuzz``.

Each target has a process of its own; ``together`` is all of them in one, told apart by the first byte. What breaks
a target is written to its folder of the corpus, where the tests find it from then on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fuzz.target import CORPUS, Target

__all__ = ["fuzz", "main"]

_MAX_INPUT_BYTES = 4096
_MEMORY_MIB = 2048
_SLOW_SECONDS = 10
_PACKAGES = ["encoders", "serving", "storage", "search"]
# Where the parsers are. Their coverage guides; counting that of all they import would only cost time.
_GUIDING = """
    encoders.decoding serving.access.keys serving.addresses serving.admission serving.artifact_codec
    serving.batches.lines serving.byte_range serving.engines.placeholders serving.fetch serving.ingest.manifests
    serving.json_schemas serving.protocol serving.retrieval.cursor serving.retrieval.filters serving.routes.body
    serving.sse serving.subtitles storage.checked_json storage.framing storage.links storage.vectors
"""


def fuzz(target: Target, seconds: int, findings: Path) -> None:
    """Make up inputs for so long. Never returns: libFuzzer ends the process, with another status than 0 after a
    finding, which then lies in ``findings``.
    """
    import atheris

    atheris.instrument_func(target.run)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(target.inputs()):
            (Path(corpus) / str(number)).write_bytes(data)
        options = (
            *(f"-max_total_time={seconds}", f"-max_len={_MAX_INPUT_BYTES}", f"-rss_limit_mb={_MEMORY_MIB}"),
            *(
                f"-timeout={_SLOW_SECONDS}",
                f"-artifact_prefix={findings}/",
                "-verbosity=0",
                "-print_final_stats=1",
            ),
        )
        atheris.Setup([sys.argv[0], *options, corpus], target.run)
        atheris.Fuzz()


def together(targets: Mapping[str, Target]) -> Target:
    """All of them, told apart by the first byte."""
    ordered = list(targets.values())

    def run(data: bytes) -> None:
        if data:
            ordered[data[0] % len(ordered)].run(data[1:])

    seeds = tuple(bytes([n]) + data for n, target in enumerate(ordered) for data in target.inputs())
    return Target("together", run, seeds)


def main() -> int:
    """Fuzz what the arguments name, everything without any. 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--here", action="store_true", help="in this process; one target")
    parser.add_argument("--findings", type=Path, default=CORPUS, help="folder for what breaks a target")
    wanted = parser.parse_args()
    if wanted.here:
        _here(wanted.targets[0], wanted.seconds, wanted.findings)
    from fuzz.targets import TARGETS

    broken = [name for name in wanted.targets or TARGETS if not _alone(name, wanted.seconds, wanted.findings)]
    sys.stdout.write(f"Found in: {', '.join(broken)}\n" if broken else "Nothing found.\n")
    return len(broken)


def _here(name: str, seconds: int, findings: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=_PACKAGES, exclude=_not_guiding()):
        from fuzz.targets import TARGETS
    target = together(TARGETS) if name == "together" else TARGETS[name]
    folder = findings / name
    folder.mkdir(parents=True, exist_ok=True)
    fuzz(target, seconds, folder)


def _not_guiding() -> list[str]:
    root, guiding = CORPUS.parents[2], _GUIDING.split()
    files = [file.relative_to(root) for package in _PACKAGES for file in (root / package).rglob("*.py")]
    names = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    return [name for name in names if not any(f"{name}.".startswith(f"{one}.") for one in guiding)]


def _alone(name: str, seconds: int, findings: Path) -> bool:
    command = [
        sys.executable,
        "-m",
        "fuzz.run",
        "--here",
        "--seconds",
        str(seconds),
        "--findings",
        str(findings),
        name,
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    found = ran.stderr.splitlines()
    counted = next((line.split()[-1] for line in found if "number_of_executed_units" in line), "0")
    sys.stdout.write(f"{name}: {counted} inputs, {'nothing found' if ran.returncode == 0 else 'FAILED'}\n")
    sys.stdout.flush()
    if ran.returncode != 0:
        sys.stdout.write("\n".join(found[-40:]) + "\n")
    folder = findings / name
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
