"""What `flask serve` becomes: granian. The program's modules are loaded before it forks its
workers, which then share most of that memory."""

import gc
import sys
from importlib import import_module

from granian.cli import entrypoint

if __name__ == "__main__":
    import_module(sys.argv[-1].partition(":")[0])  # the factory's module; no app, so no connection
    gc.collect()
    gc.freeze()  # or each worker's hunt for garbage would write to all of it, and so copy it
    entrypoint()  # type: ignore[no-untyped-call]
