#!/usr/bin/env bash
# pyarrow 26.0.1 with pandas 3.1.1 and numpy 2.4.6, Python 3.11: the first conversion of a numpy array imports pandas where it is
# installed, although nothing of pandas is asked for. A program that uses only pyarrow and numpy pays for that import, 0.2 to 0.4 s.
# sys.modules["pandas"] = None does not prevent it, but makes the conversion fail; an import hook that raises ImportError prevents it.
#
# Output seen:
#   pandas imported before: False, after pa.array(numpy array): True
#   sys.modules["pandas"] = None: AttributeError: 'NoneType' object has no attribute '__version__'
#   an import hook that refuses pandas: [0, 1, 2], pandas imported: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
run() { "$folder/venv/bin/python" -c "$1"; }
{
    run '
import sys, numpy, pyarrow
before = "pandas" in sys.modules
pyarrow.array(numpy.arange(3))
print("pandas imported before: %s, after pa.array(numpy array): %s" % (before, "pandas" in sys.modules))'
    run '
import sys, numpy, pyarrow
sys.modules["pandas"] = None
try:
    print(pyarrow.array(numpy.arange(3)).to_pylist())
except Exception as error:
    print("sys.modules[%s] = None: %s: %s" % (chr(34) + "pandas" + chr(34), type(error).__name__, error))'
    run '
import sys, numpy, pyarrow
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
found = pyarrow.array(numpy.arange(3)).to_pylist()
print("an import hook that refuses pandas: %s, pandas imported: %s" % (found, "pandas" in sys.modules))'
} | tee "$folder/seen"
sed -n 's/^#   //p' "$0" | diff - "$folder/seen"
