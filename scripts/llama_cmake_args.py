"""Print the CMAKE_ARGS with which llama-cpp-python runs on this CPU.

Needs no environment: any Python 3.10 runs it on a bare clone. To use it with pip alone:

    CMAKE_ARGS="$(python3 scripts/llama_cmake_args.py)" pip install 'edge-alm[llm]'
"""

import runpy
from pathlib import Path

# By path: `import edge_alm` would load numpy, which is not there yet.
native = runpy.run_path(str(Path(__file__).resolve().parent.parent / "edge_alm" / "native.py"))

if __name__ == "__main__":
    print(" ".join(native["llama_cmake_args"](native["this_cpu"]())))
