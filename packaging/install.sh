#!/bin/sh
# Builds the source distribution and the wheel, and installs the wheel with pinned dependencies into a new environment.
#   sh packaging/install.sh FOLDER
# PYTHON is the interpreter [default: python3]; TORCH_INDEX is an index for torch alone [default: that of pip].
set -eu
[ $# -eq 1 ] || { echo "usage: sh packaging/install.sh FOLDER" >&2; exit 2; }
[ ! -e "$1" ] || { echo "error: $1 is there already; name a folder that is not" >&2; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
"${PYTHON:-python3}" -m venv "$1"
target=$(cd "$1" && pwd)
install() {
  "$target/bin/python" -m pip --disable-pip-version-check install --quiet --constraint "$source/constraints.txt" "$@"
}
install build
mkdir "$target/source"
for part in harness tasks baselines pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff SECURITY.md \
  constraints.txt; do
  cp -R "$source/$part" "$target/source/"
done
"$target/bin/python" -m build --outdir "$target/dist" "$target/source" > "$target/build.log" 2>&1 || {
  cat "$target/build.log" >&2
  exit 1
}
install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
install "$target"/dist/*.whl
echo "installed: $target/bin/florence2-harness"
