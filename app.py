"""Start the editor: python app.py [--model NAME_OR_FILE] [--host HOST] [--port PORT]"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is reported


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        default=os.environ.get("VAR_EDITOR_MODEL", "garden-128"),
        help="registered name or a .safetensors file",
    )
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument(
        "--port", type=int, default=None, help="default: GRADIO_SERVER_PORT, or the first free one from 7860"
    )
    args = parser.parse_args()

    cache = tempfile.TemporaryDirectory(prefix="var-editor-")  # of uploads and results: gone when the server ends
    os.environ.setdefault("GRADIO_TEMP_DIR", cache.name)
    from app import zero

    zero.ready()
    from app import ui
    from app.engines import Engines
    from var_core import find_model

    try:
        find_model(args.model)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl+C: in order, temporary files removed
    engines = Engines(args.model)
    page = ui.build(engines)
    engines.start()
    page.queue(max_size=32, default_concurrency_limit=4)
    page.launch(
        server_name=args.host,
        server_port=args.port,
        theme=ui.theme(),
        head=ui.HEAD,
        ssr_mode=False,
        run_history=False,
        show_error=False,
        max_file_size="20mb",
        footer_links=["api"],
    )
    engines.close()
    cache.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main())
